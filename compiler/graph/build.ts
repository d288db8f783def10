/** Small constructors of scalars and graphs, for passes and tests. Types follow from `ops.ts`. */
import { InternalError } from "../diagnostic.js";
import type { Span } from "../diagnostic.js";
import { binaryOps, unaryOps, type BinaryOp, type UnaryOp } from "../types/scalar-ops.js";
import type { Concrete, Level, Pattern, TensorType } from "../types/type.js";
import { full } from "../types/type.js";
import type { Constraint, Eqn, Graph, IndexId, Input, Output, Range, Scalar, Value } from "./graph.js";
import { reduceOps } from "./ops.js";
import type { FactorizationOp, ReduceOp } from "./ops.js";
import { dtypeOf } from "./scalar.js";

/** A literal; bool is 0 or 1. */
export function constant<L extends Level = Concrete>(
  value: number,
  dtype: L["dtype"] = "f32" as L["dtype"],
): Scalar<L> {
  return { kind: "constant", value, dtype };
}

/** An i32 literal. */
export function integer<L extends Level = Concrete>(value: number): Scalar<L> {
  return constant<L>(value, "i32" as L["dtype"]);
}

/** A size as an i32: a literal where it is a number. */
export function sizeScalar<L extends Level>(size: L["size"]): Scalar<L> {
  return typeof size === "number" ? integer<L>(size) : { kind: "size", size };
}

/** The current value of the index of a range. */
export function indexOf<L extends Level>(range: Range<L>): Scalar<L> {
  return { kind: "index", index: range.index, name: range.name };
}

/** A range of an index, `low .. high`; numbers are i32 literals. */
export function range<L extends Level = Concrete>(
  index: IndexId,
  name: string,
  low: Scalar<L> | number,
  high: Scalar<L> | number,
): Range<L> {
  const bound = (value: Scalar<L> | number): Scalar<L> => (typeof value === "number" ? integer<L>(value) : value);
  return { index, name, low: bound(low), high: bound(high) };
}

/** An element of a tensor, `guarded` where an index may be out of range. */
export function load<L extends Level>(tensor: Value<L>, at: readonly Scalar<L>[] = [], guarded = false): Scalar<L> {
  return { kind: "load", tensor: tensor.id, at, dtype: tensor.type.dtype, guarded };
}

/** A unary op; its dtype follows from the operand's. */
export function unary<L extends Level>(op: UnaryOp, a: Scalar<L>): Scalar<L> {
  const rule = unaryOps[op];
  const dtype = (rule === "bits" ? "u32" : rule === "from-bits" ? "f32" : dtypeOf(a)) as L["dtype"];
  return { kind: "unary", op, a, dtype };
}

/** A binary op; bool for comparisons, else the dtype of the operands. */
export function binary<L extends Level>(op: BinaryOp, a: Scalar<L>, b: Scalar<L>): Scalar<L> {
  const dtype = (binaryOps[op] === "compare" ? "bool" : dtypeOf(a)) as L["dtype"];
  return { kind: "binary", op, a, b, dtype };
}

/** `then` where the condition holds, else `otherwise`. */
export function select<L extends Level>(condition: Scalar<L>, then: Scalar<L>, otherwise: Scalar<L>): Scalar<L> {
  return { kind: "select", condition, then, otherwise, dtype: dtypeOf(then) as L["dtype"] };
}

/** `then` where all conditions hold, else `otherwise`, 0 unless given; without a condition `then`. */
export function selectAll<L extends Level>(
  conditions: readonly Scalar<L>[],
  then: Scalar<L>,
  otherwise: Scalar<L> = constant<L>(0, dtypeOf(then) as L["dtype"]),
): Scalar<L> {
  const [first, ...rest] = conditions;
  if (first === undefined) return then;
  return select(
    rest.reduce((all, each) => binary("and", all, each), first),
    then,
    otherwise,
  );
}

/** A conversion of the value. */
export function cast<L extends Level>(a: Scalar<L>, dtype: L["dtype"]): Scalar<L> {
  return { kind: "cast", a, dtype };
}

/** A reduction; i32 for count and argmax, else the dtype of the body. */
export function reduce<L extends Level>(
  op: Exclude<ReduceOp, "softmax_mean">,
  over: readonly Range<L>[],
  body: Scalar<L>,
): Scalar<L> {
  const dtype = (reduceOps[op] === "i32" ? "i32" : dtypeOf(body)) as L["dtype"];
  return { kind: "reduce", op, over, score: null, body, dtype };
}

/** The mean of `body` weighted by exp(score), both f32. */
export function softmaxMean<L extends Level>(over: readonly Range<L>[], score: Scalar<L>, body: Scalar<L>): Scalar<L> {
  return { kind: "reduce", op: "softmax_mean", over, score, body, dtype: "f32" };
}

/** What a tensor type has beside its dtype and shape; dense and full unless given. */
export interface TypeExtra<L extends Level> {
  readonly pattern?: Pattern<L>;
  readonly format?: L["format"] | null;
}

/** A tensor type; shape `[]` is a scalar. */
export function tensorType<L extends Level = Concrete>(
  dtype: L["dtype"],
  shape: readonly L["size"][],
  extra: TypeExtra<L> = {},
): TensorType<L> {
  return { dtype, shape, pattern: extra.pattern ?? full, format: extra.format ?? null };
}

/** Builds a graph equation by equation. Each call adds one and returns its value; `graph()` ends it. */
export interface GraphBuilder<L extends Level = Concrete> {
  /** A parameter; rank 0 is a scalar given at each run. */
  input(
    name: string,
    dtype: L["dtype"],
    shape: readonly L["size"][],
    extra?: TypeExtra<L> & { readonly mutable?: boolean },
  ): Value<L>;
  /** A fresh index with its range, for reductions. */
  range(name: string, low: Scalar<L> | number, high: Scalar<L> | number): Range<L>;
  /** out[i...] = body(i...), over the shape. Index names are given by `names`, else i, j, k, l. */
  map(
    name: string,
    shape: readonly L["size"][],
    body: (...indices: readonly Scalar<L>[]) => Scalar<L>,
    extra?: { readonly pattern?: Pattern<L>; readonly names?: readonly string[] },
  ): Value<L>;
  /** base with base[at] set to (or increased by) body, for every index in the ranges. */
  update(
    name: string,
    base: Value<L>,
    ranges: readonly Range<L>[],
    at: readonly Scalar<L>[],
    body: Scalar<L>,
    op?: "set" | "add",
  ): Value<L>;
  /**
   * Sequential steps over states: `body` is called once, with the index of the step and the states at its start, adds
   * the
   * equations of a step by this builder, and returns the states at its end. Gives the states after the last step.
   */
  scan(
    range: Range<L>,
    initial: readonly Value<L>[],
    body: (step: Scalar<L>, before: readonly Value<L>[]) => readonly Value<L>[],
  ): readonly Value<L>[];
  factorize(name: string, source: Value<L>, op: FactorizationOp): Value<L>;
  top(name: string, score: Value<L>, n: L["size"], m: L["size"], axis: number): Value<L>;
  pack(
    name: string,
    source: Value<L>,
    format: L["format"],
    grid?: { readonly scale: Value<L>; readonly zero?: Value<L> },
  ): Value<L>;
  /** A result; `input` is the mutable input whose storage it replaces. */
  output(name: string, value: Value<L>, input?: Value<L>): void;
  constraint(constraint: Omit<Constraint, "span"> & { readonly span?: Span }): void;
  graph(parameters?: Graph<L>["parameters"]): Graph<L>;
}

/** A new graph with nothing in it. */
export function buildGraph<L extends Level = Concrete>(name: string): GraphBuilder<L> {
  const values: Value<L>[] = [];
  const inputs: Input[] = [];
  const outputs: Output[] = [];
  let eqns: Eqn<L>[] = [];
  const constraints: Constraint[] = [];
  let nextIndex = 0;

  const define = (valueName: string, type: TensorType<L>): Value<L> => {
    const value: Value<L> = { id: values.length, name: valueName, type, span: null };
    values.push(value);
    return value;
  };
  const fresh = (indexName: string, low: Scalar<L> | number, high: Scalar<L> | number): Range<L> => {
    nextIndex += 1;
    return range<L>(nextIndex - 1, indexName, low, high);
  };

  return {
    input(inputName, dtype, shape, extra = {}) {
      const value = define(inputName, tensorType<L>(dtype, shape, extra));
      inputs.push({ value: value.id, name: inputName, mutable: extra.mutable ?? false });
      return value;
    },
    range: fresh,
    map(valueName, shape, body, extra = {}) {
      const names = extra.names ?? ["i", "j", "k", "l"];
      const indices = shape.map((size, axis) => fresh(names[axis] ?? `i${axis}`, 0, sizeScalar<L>(size)));
      const scalar = body(...indices.map((each) => indexOf<L>(each)));
      const value = define(
        valueName,
        tensorType<L>(dtypeOf(scalar) as L["dtype"], shape, { pattern: extra.pattern ?? full }),
      );
      eqns.push({ kind: "map", out: value.id, indices, body: scalar });
      return value;
    },
    update(valueName, base, ranges, at, body, op = "set") {
      const value = define(valueName, { ...base.type, pattern: full });
      eqns.push({ kind: "update", out: value.id, base: base.id, indices: ranges, at, body, op });
      return value;
    },
    scan(over, initial, body) {
      const outer = eqns;
      eqns = [];
      const before = initial.map((state) => define(state.name, { ...state.type, pattern: full }));
      const after = body(indexOf(over), before);
      const inside = eqns;
      eqns = outer;
      const out = initial.map((state) => define(state.name, { ...state.type, pattern: full }));
      const states = initial.map((state, at) => ({
        initial: state.id,
        before: before[at]?.id ?? -1,
        after: after[at]?.id ?? -1,
        out: out[at]?.id ?? -1,
      }));
      eqns.push({ kind: "scan", out: states[0]?.out ?? -1, range: over, states, body: inside });
      return out;
    },
    factorize(valueName, source, op) {
      const value = define(valueName, { ...source.type, pattern: full });
      eqns.push({ kind: "factorize", out: value.id, source: source.id, op });
      return value;
    },
    top(valueName, score, n, m, axis) {
      const value = define(
        valueName,
        tensorType<L>("bool" as L["dtype"], score.type.shape, {
          pattern: { kind: "nm", n, m, axis, mask: values.length },
        }),
      );
      eqns.push({ kind: "top", out: value.id, score: score.id, n, m, axis });
      return value;
    },
    pack(valueName, source, format, grid) {
      const value = define(valueName, { ...source.type, format });
      eqns.push({
        kind: "pack",
        out: value.id,
        source: source.id,
        scale: grid?.scale.id ?? null,
        zero: grid?.zero?.id ?? null,
      });
      return value;
    },
    output(outputName, value, input) {
      if (values[value.id] !== value) throw new InternalError(`output ${outputName} is not a value of this graph`);
      outputs.push({ value: value.id, name: outputName, input: input?.id ?? null });
    },
    constraint(constraint) {
      constraints.push({ span: null, ...constraint });
    },
    graph: (parameters = { sizes: [], dtypes: [], formats: [] }) => ({
      name,
      span: null,
      values,
      inputs,
      outputs,
      eqns,
      parameters,
      constraints,
    }),
  };
}
