import { InternalError } from "../diagnostic.js";
import type { Eqn, IndexId, OwnAdjoint, Range, Scalar, SymbolicGraph, ValueId } from "../graph/graph.js";
import { mapChildren } from "../graph/scalar.js";
import type { DtypeRef } from "../types/dtype.js";
import { substituteSize, type Size } from "../types/size.js";
import { bindFormats, mapFormat, type FormatRef, type SymbolicFormat, type TensorType } from "../types/type.js";
import { divisibilityFacts } from "../graph/graph.js";
import { full } from "../types/type.js";
import {
  addAdjoint,
  addEqn,
  addScan,
  addState,
  inferAnew,
  keepsPattern,
  newIndex,
  sharedPattern,
  typeOf,
  valueOf,
  type Builder,
} from "./builder.js";

/** What the parameters of a function are at a call. A format of null: dense. */
export interface CallBinding {
  readonly sizes: ReadonlyMap<string, Size>;
  readonly dtypes: ReadonlyMap<string, DtypeRef>;
  readonly formats: ReadonlyMap<string, FormatRef | null>;
  /** By input: a tensor of the caller, or for a scalar input any scalar. */
  readonly inputs: ReadonlyMap<ValueId, ValueId | Scalar>;
}

/** A size of the callee in terms of the caller. */
export function bindSize(size: Size, binding: Pick<CallBinding, "sizes">, builder: Builder): Size {
  return substituteSize(size, (symbol) => binding.sizes.get(symbol) ?? null, divisibilityFacts(builder));
}

/** A dtype of the callee in terms of the caller. */
export function bindDtype(dtype: DtypeRef, binding: Pick<CallBinding, "dtypes">): DtypeRef {
  return typeof dtype === "string" ? dtype : (binding.dtypes.get(dtype.parameter) ?? dtype);
}

/** Adds the equations of a function to the caller's; gives the callee's outputs in order. */
export function inlineGraph(graph: SymbolicGraph, binding: CallBinding, builder: Builder): readonly ValueId[] {
  const rename = renaming(binding, builder);
  for (const eqn of graph.eqns) inlineEqn(graph, eqn, rename, binding, builder);
  return graph.outputs.map((output) => tensorOf(rename, output.value));
}

function inlineEqn(graph: SymbolicGraph, eqn: Eqn, rename: Renaming, binding: CallBinding, builder: Builder): void {
  if (eqn.kind === "scan") return inlineScan(graph, eqn, rename, binding, builder);
  rename.begin();
  const value = graph.values[eqn.out];
  if (value === undefined) throw new InternalError(`${graph.name} has no value ${eqn.out}`);
  const made = addEqn(builder, value.name, value.span, bindType(value.type, binding, builder), (out) =>
    bindEqn(eqn, out, rename, binding, builder),
  );
  rename.values.set(eqn.out, made);
  // there is no gradient of what is in a step
  if (eqn.kind !== "map" || eqn.adjoint === undefined || builder.steps.size > 0) return;
  const { adjoint } = eqn;
  const gradients = (): OwnAdjoint["gradients"] => {
    for (const each of adjoint.body) inlineEqn(graph, each, rename, binding, builder);
    return adjoint.gradients.map(({ by, value: own }) => ({ by: tensorOf(rename, by), value: tensorOf(rename, own) }));
  };
  addAdjoint(builder, made, (seed) => {
    rename.values.set(adjoint.seed, seed);
    return gradients();
  });
}

/** Like `checkScan`, but that nothing in a step depends on a pattern, so that patterns are settled afterwards. */
function inlineScan(
  graph: SymbolicGraph,
  scan: Extract<Eqn, { kind: "scan" }>,
  rename: Renaming,
  binding: CallBinding,
  builder: Builder,
): void {
  const range = rename.range(scan.range);
  const before = scan.states.map((state) => {
    const initial = tensorOf(rename, state.initial);
    const { name, span } = graph.values[state.before] ?? valueOf(builder, initial);
    const value = addState(builder, name, initial, sharedPattern(builder, initial), span);
    rename.values.set(state.before, value);
    return value;
  });
  const mark = builder.eqns.length;
  for (const eqn of scan.body) inlineEqn(graph, eqn, rename, binding, builder);
  const body = builder.eqns.splice(mark);
  const open = scan.states.map((state, at) => ({
    initial: tensorOf(rename, state.initial),
    before: before[at] ?? tensorOf(rename, state.before),
    after: tensorOf(rename, state.after),
  }));
  for (;;) {
    const lost = open.filter((state) => !keepsPattern(builder, state));
    if (lost.length === 0) break;
    for (const { before: id } of lost)
      builder.values[id] = { ...valueOf(builder, id), type: { ...typeOf(builder, id), pattern: full } };
    inferAnew(builder, body);
  }
  const outs = addScan(builder, range, open, body, graph.values[scan.out]?.span ?? null, scan.writtenIn ?? graph.name);
  scan.states.forEach((state, at) => {
    const out = outs[at];
    if (out === undefined) throw new InternalError(`${graph.name} lost a state`);
    rename.values.set(state.out, out);
  });
}

/**
 * The result of a function of scalars as one scalar: its equations put into each other. Null where it computes on
 * tensors on the way.
 */
export function inlineScalar(graph: SymbolicGraph, binding: CallBinding, builder: Builder): Scalar | null {
  const [output, ...rest] = graph.outputs;
  if (output === undefined || rest.length > 0 || !isScalarFunction(graph)) return null;
  const rename = renaming(binding, builder);
  for (const eqn of graph.eqns) if (eqn.kind === "map") rename.values.set(eqn.out, rename.scalar(eqn.body));
  const result = rename.values.get(output.value);
  if (typeof result !== "number") return result ?? null;
  const type = builder.values[result]?.type;
  return type === undefined ? null : { kind: "load", tensor: result, at: [], dtype: type.dtype, guarded: false };
}

/** Whether every equation of a graph makes one scalar. */
export function isScalarFunction(graph: SymbolicGraph): boolean {
  return graph.eqns.every((eqn) => eqn.kind === "map" && eqn.indices.length === 0);
}

interface Renaming {
  readonly values: Map<ValueId, ValueId | Scalar>;
  readonly scalar: (scalar: Scalar) => Scalar;
  readonly range: (range: Range) => Range;
  /** Before each equation: two that have an index in common each get their own. */
  readonly begin: () => void;
}

function renaming(binding: CallBinding, builder: Builder): Renaming {
  const values = new Map<ValueId, ValueId | Scalar>(binding.inputs);
  const indices = new Map<IndexId, Range>();
  // a shared subtree stays shared
  const done = new Map<Scalar, Scalar>();
  const range = (old: Range): Range => {
    const made = newIndex(builder, old.name, visit(old.low), visit(old.high));
    indices.set(old.index, made);
    return made;
  };
  const visit = (node: Scalar): Scalar => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const result = rewrite(node);
    done.set(node, result);
    return result;
  };
  const rewrite = (node: Scalar): Scalar => {
    switch (node.kind) {
      case "index": {
        const found = indices.get(node.index);
        if (found === undefined) throw new InternalError(`index ${node.name} is used outside its range`);
        return { kind: "index", index: found.index, name: found.name };
      }
      case "size":
        return { kind: "size", size: bindSize(node.size, binding, builder) };
      case "constant":
        return { ...node, dtype: bindDtype(node.dtype, binding) };
      case "load": {
        const target = values.get(node.tensor);
        if (target === undefined) throw new InternalError(`value ${node.tensor} is read before it is defined`);
        if (typeof target !== "number") return target;
        return { ...node, tensor: target, at: node.at.map(visit), dtype: bindDtype(node.dtype, binding) };
      }
      case "reduce": {
        const over = node.over.map(range);
        const score = node.score === null ? null : visit(node.score);
        return { ...node, over, score, body: visit(node.body), dtype: bindDtype(node.dtype, binding) };
      }
      case "unary":
      case "binary":
      case "select":
      case "cast": {
        const mapped = mapChildren(node, visit);
        return "dtype" in mapped ? { ...mapped, dtype: bindDtype(mapped.dtype, binding) } : mapped;
      }
      default:
        return node satisfies never;
    }
  };
  return { values, scalar: visit, range, begin: () => done.clear() };
}

function bindType(type: TensorType, binding: CallBinding, builder: Builder): TensorType {
  const { format } = type;
  const bound =
    format === null
      ? null
      : "parameter" in format
        ? (binding.formats.get(format.parameter) ?? null)
        : bindFormats(
            mapFormat(format, (size) => bindSize(size, binding, builder)),
            (parameter) => correctable(binding.formats.get(parameter) ?? null),
          );
  return {
    dtype: bindDtype(type.dtype, binding),
    shape: type.shape.map((size) => bindSize(size, binding, builder)),
    pattern: { kind: "full" },
    format: bound,
  };
}

function tensorOf(rename: Renaming, value: ValueId): ValueId {
  const found = rename.values.get(value);
  if (typeof found !== "number") throw new InternalError(`value ${value} of a call is no tensor`);
  return found;
}

function bindEqn(
  eqn: Exclude<Eqn, { kind: "scan" }>,
  out: ValueId,
  rename: Renaming,
  binding: CallBinding,
  builder: Builder,
): Eqn {
  switch (eqn.kind) {
    case "map":
      return { kind: "map", out, indices: eqn.indices.map(rename.range), body: rename.scalar(eqn.body) };
    case "update":
      return {
        kind: "update",
        out,
        base: tensorOf(rename, eqn.base),
        indices: eqn.indices.map(rename.range),
        at: eqn.at.map(rename.scalar),
        body: rename.scalar(eqn.body),
        op: eqn.op,
      };
    case "top":
      return {
        kind: "top",
        out,
        score: tensorOf(rename, eqn.score),
        n: bindSize(eqn.n, binding, builder),
        m: bindSize(eqn.m, binding, builder),
        axis: eqn.axis,
      };
    case "factorize":
      return { kind: "factorize", out, source: tensorOf(rename, eqn.source), op: eqn.op };
    case "pack":
      return {
        kind: "pack",
        out,
        source: tensorOf(rename, eqn.source),
        scale: eqn.scale === null ? null : tensorOf(rename, eqn.scale),
        zero: eqn.zero === null ? null : tensorOf(rename, eqn.zero),
      };
    case "plus":
      return {
        kind: "plus",
        out,
        packed: tensorOf(rename, eqn.packed),
        left: tensorOf(rename, eqn.left),
        right: tensorOf(rename, eqn.right),
      };
    default:
      return eqn satisfies never;
  }
}

/** What a correction may be beside: a format, or the name of a parameter; dense floats are f32. */
function correctable(format: FormatRef | null): SymbolicFormat {
  if (format === null) return { name: "f32", args: {}, of: null };
  return "parameter" in format ? { name: format.parameter, args: {}, of: null } : format;
}
