import { InternalError, type Span } from "../diagnostic.js";
import type {
  Constraint,
  Eqn,
  IndexId,
  Input,
  Output,
  OwnAdjoint,
  Range,
  Scalar,
  SymbolicGraph,
  Value,
  ValueId,
} from "../graph/graph.js";
import { adjointLocals, allEqns, definedBy, neededEqns, renameValues } from "../graph/eqn.js";
import { constantSize, type Size } from "../types/size.js";
import { full, type Pattern, type TensorType } from "../types/type.js";
import type { DtypeRef } from "../types/dtype.js";
import { inferPattern } from "./pattern.js";

/** A Graph while it is being built; local to the checking of one function. */
export interface Builder {
  readonly values: Value[];
  readonly inputs: Input[];
  readonly eqns: Eqn[];
  readonly constraints: Constraint[];
  /** Ranges of every index made so far, by id. */
  readonly ranges: Range[];
  /** The equation that defines a value. The scan itself for its states at the start of a step and after it. */
  readonly producer: Map<ValueId, Eqn>;
  /** The index of the scan whose body is being checked, at most one, with the first value that belongs to its body. */
  readonly steps: Map<IndexId, ValueId>;
}

/** An empty graph to build on. */
export function newBuilder(): Builder {
  return { values: [], inputs: [], eqns: [], constraints: [], ranges: [], producer: new Map(), steps: new Map() };
}

/** The type of a value. */
export function typeOf(builder: Builder, value: ValueId): TensorType {
  return valueOf(builder, value).type;
}

/** A value by its id. */
export function valueOf(builder: Builder, value: ValueId): Value {
  const found = builder.values[value];
  if (found === undefined) throw new InternalError(`the graph has no value ${value}`);
  return found;
}

/** A fresh index. */
export function newIndex(builder: Builder, name: string, low: Scalar, high: Scalar): Range {
  const range: Range = { index: builder.ranges.length, name, low, high };
  builder.ranges.push(range);
  return range;
}

/** A constant size as a scalar. */
export function sizeScalar(size: Size): Scalar {
  return { kind: "size", size };
}

/** A fresh index over 0 .. size. */
export function newAxis(builder: Builder, name: string, size: Size): Range {
  return newIndex(builder, name, sizeScalar(constantSize(0)), sizeScalar(size));
}

/** The use of an index. */
export function indexScalar(range: Range): Scalar {
  return { kind: "index", index: range.index, name: range.name };
}

/** Adds a parameter. A mask is zero where it is false: its own id is its mask. */
export function addInput(
  builder: Builder,
  name: string,
  type: TensorType,
  span: Span | null,
  mutable = false,
): ValueId {
  const id = builder.values.length;
  const pattern: Pattern =
    type.dtype === "bool" && type.pattern.kind !== "full" ? { ...type.pattern, mask: id } : type.pattern;
  builder.values.push({ id, name, type: { ...type, pattern }, span });
  builder.inputs.push({ value: id, name, mutable });
  return id;
}

/** Adds `name[indices] = body`. */
export function addMap(
  builder: Builder,
  name: string,
  span: Span | null,
  dtype: DtypeRef,
  indices: readonly Range[],
  body: Scalar,
): ValueId {
  const shape = indices.map((range) => (range.high.kind === "size" ? range.high.size : constantSize(0)));
  return addEqn(builder, name, span, { dtype, shape, pattern: full, format: null }, (out) => ({
    kind: "map",
    out,
    indices,
    body,
  }));
}

/** Adds an equation and the value that it defines, whose pattern is inferred. */
export function addEqn(
  builder: Builder,
  name: string,
  span: Span | null,
  type: TensorType,
  make: (out: ValueId) => Eqn,
): ValueId {
  const id = builder.values.length;
  const eqn = make(id);
  const pattern = inferPattern(eqn, builder.values, type, builder.producer);
  builder.values.push({ id, name, type: { ...type, pattern }, span });
  builder.eqns.push(eqn);
  builder.producer.set(id, eqn);
  return id;
}

/**
 * Gives a value that an equation by element defines an adjoint of its own: `build` adds the equations for what stands for
 * its adjoint, and gives the adjoints.
 */
export function addAdjoint(
  builder: Builder,
  value: ValueId,
  build: (seed: ValueId) => OwnAdjoint["gradients"] | null,
): boolean {
  const { name, type, span } = valueOf(builder, value);
  const seed = builder.values.length;
  builder.values.push({ id: seed, name: `d_${name}`, type: { ...type, pattern: full }, span });
  const mark = builder.eqns.length;
  const gradients = build(seed);
  const body = builder.eqns.splice(mark);
  const at = builder.eqns.findIndex((eqn) => eqn.out === value);
  const eqn = builder.eqns[at];
  if (gradients === null || eqn?.kind !== "map") return false;
  const own: Eqn = { ...eqn, adjoint: { seed, body, gradients } };
  builder.eqns[at] = own;
  builder.producer.set(value, own);
  return true;
}

/** A state while its scan is being built. */
export interface OpenState {
  readonly initial: ValueId;
  readonly before: ValueId;
  readonly after: ValueId;
}

/** Adds a scan, and a value for each state after the last step; those values in order. `writtenIn` as in `Eqn`. */
export function addScan(
  builder: Builder,
  range: Range,
  open: readonly OpenState[],
  body: readonly Eqn[],
  span: Span | null,
  writtenIn?: string,
): readonly ValueId[] {
  const states = open.map((state) => ({
    ...state,
    out: addState(
      builder,
      valueOf(builder, state.before).name,
      state.initial,
      typeOf(builder, state.before).pattern,
      span,
    ),
  }));
  const out = states[0]?.out;
  if (out === undefined) return [];
  const scan: Eqn = { kind: "scan", out, ...(writtenIn === undefined ? {} : { writtenIn }), range, states, body };
  builder.eqns.push(scan);
  for (const state of states) {
    builder.producer.set(state.before, scan);
    builder.producer.set(state.out, scan);
  }
  return states.map((state) => state.out);
}

/** Adds a value for a state, of the type of its first. */
export function addState(
  builder: Builder,
  name: string,
  initial: ValueId,
  pattern: Pattern,
  span: Span | null,
): ValueId {
  const { type } = valueOf(builder, initial);
  const id = builder.values.length;
  builder.values.push({ id, name, type: { ...type, pattern }, span });
  return id;
}

/** The pattern that a state begins with and may keep: one whose mask is known. */
export function sharedPattern(builder: Builder, initial: ValueId): Pattern {
  const { pattern } = typeOf(builder, initial);
  return pattern.kind === "full" || pattern.mask === null ? full : pattern;
}

/** Whether a state has at the end of a step the pattern that it has at its start. */
export function keepsPattern(builder: Builder, state: OpenState): boolean {
  const [before, after] = [typeOf(builder, state.before).pattern, typeOf(builder, state.after).pattern];
  if (before.kind === "full") return true;
  return after.kind === before.kind && after.mask === before.mask;
}

/** The patterns of equations that are there already, inferred anew after those of what they read have changed. */
export function inferAnew(builder: Builder, eqns: readonly Eqn[]): void {
  for (const id of eqns.flatMap(definedBy)) {
    const eqn = builder.producer.get(id);
    const value = valueOf(builder, id);
    if (eqn !== undefined)
      builder.values[id] = {
        ...value,
        type: {
          ...value.type,
          pattern: inferPattern(eqn, builder.values, { ...value.type, pattern: full }, builder.producer),
        },
      };
  }
}

/** An element of a tensor at the given indices, proved in range. */
export function loadAt(builder: Builder, tensor: ValueId, at: readonly Scalar[]): Scalar {
  return { kind: "load", tensor, at, dtype: typeOf(builder, tensor).dtype, guarded: false };
}

/**
 * The finished graph: equations that nothing needs are left out, inputs come first and values are numbered in order.
 */
export function finish(
  builder: Builder,
  name: string,
  span: Span | null,
  outputs: readonly Output[],
  parameters: SymbolicGraph["parameters"],
  constraints: readonly Constraint[],
): SymbolicGraph {
  const eqns = neededEqns(builder.eqns, new Set<ValueId>(outputs.map((output) => output.value)));
  const order = [...builder.inputs.map((input) => input.value), ...eqns.flatMap(valuesOf)];
  const number = new Map(order.map((old, at) => [old, at]));
  const renamed = (old: ValueId): ValueId => {
    const found = number.get(old);
    if (found === undefined) throw new InternalError(`value ${old} of ${name} is used but never defined`);
    return found;
  };
  const values = order.map((old, id) => {
    const value = valueOf(builder, old);
    const pattern = value.type.pattern;
    const mask = pattern.kind === "full" || pattern.mask === null ? null : (number.get(pattern.mask) ?? null);
    return { ...value, id, type: { ...value.type, pattern: pattern.kind === "full" ? pattern : { ...pattern, mask } } };
  });
  return {
    name,
    span,
    values,
    parameters,
    constraints,
    inputs: builder.inputs.map((input) => ({ ...input, value: renamed(input.value) })),
    outputs: outputs.map((output) => ({
      ...output,
      value: renamed(output.value),
      input: output.input === null ? null : renamed(output.input),
    })),
    eqns: eqns.map((eqn) => renameValues(eqn, renamed)),
  };
}

/** The values that an equation defines, those of the body of a scan first. */
function valuesOf(eqn: Eqn): readonly ValueId[] {
  if (eqn.kind !== "scan") return [...definedBy(eqn), ...adjointLocals(eqn)];
  return [...eqn.states.map((state) => state.before), ...allEqns(eqn.body).flatMap(definedBy), ...definedBy(eqn)];
}
