/**
 * Random scalars over the indices of an equation, each with a bound on its magnitude: what `graphs.ts` computes with.
 */
import { binary, cast, constant, indexOf, integer, load, reduce, select, unary } from "../../compiler/graph/build.js";
import type { GraphBuilder } from "../../compiler/graph/build.js";
import type { Scalar, Value } from "../../compiler/graph/graph.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import type { BinaryOp } from "../../compiler/types/scalar-ops.js";
import type { Concrete } from "../../compiler/types/type.js";

export interface GraphOptions {
  /**
   * exact: floats hold small integers, so that every device gives the same bits, whatever it reorders. Comparisons,
   * rounding and `top` are among the ops. smooth: any finite values and continuous ops only, compared with a tolerance
   * ("chain" of `tolerance.ts`).
   */
  readonly values: "exact" | "smooth";
  /** Whether some tensors are f16. Default false. */
  readonly f16?: boolean;
  /** Equations at most, without inputs. Default 6. */
  readonly equations?: number;
}

export type Node = Scalar<Concrete>;
/** A scalar with a bound on its magnitude. */
export interface Bounded {
  readonly scalar: Node;
  readonly peak: number;
}
/** A value of the graph with a bound on the magnitude of its elements. */
export interface Known {
  readonly value: Value<Concrete>;
  readonly peak: number;
}
/** An index in scope, below `extent`. */
export interface Index {
  readonly scalar: Node;
  readonly extent: number;
}

export interface State {
  readonly graph: GraphBuilder;
  choose(count: number): number;
  pick<T>(list: readonly T[]): T;
  /** Grows with each equation. */
  readonly known: Known[];
  readonly sizes: readonly number[];
  readonly options: GraphOptions;
}

export function reduction(state: State, indices: readonly Index[]): Bounded {
  const { graph, choose, pick, sizes } = state;
  const extent = pick(sizes);
  const outer = indices.at(-1);
  // to the diagonal, where there is one
  const high =
    choose(3) === 2 && outer !== undefined
      ? binary("min", binary("add", outer.scalar, integer(1)), integer(extent))
      : integer(extent);
  const first = graph.range("k", choose(4) === 3 ? Math.min(1, extent - 1) : 0, high);
  const second = choose(4) === 3 ? graph.range("l", 0, Math.min(pick(sizes), 5)) : null;
  const over = second === null ? [first] : [first, second];
  const scope = [
    ...indices,
    { scalar: indexOf(first), extent },
    ...(second === null ? [] : [{ scalar: indexOf(second), extent: 5 }]),
  ];
  const length = extent * (second === null ? 1 : 5);
  const exact = state.options.values === "exact";
  const op = pick(
    exact
      ? (["sum", "max", "count", "any", "all", "argmax", "min"] as const)
      : (["sum", "max", "mean", "min"] as const),
  );
  switch (op) {
    case "sum":
    case "mean": {
      const body = expression(state, "f32", scope, 2);
      return { scalar: reduce(op, over, body.scalar), peak: body.peak * (op === "sum" ? length : 1) };
    }
    case "max":
    case "min": {
      const body = expression(state, "f32", scope, 1);
      // a range may be empty: the result must be finite
      return { scalar: binary(op, reduce(op, over, body.scalar), constant(0)), peak: body.peak };
    }
    case "count":
      return { scalar: cast(reduce("count", over, comparison(state, scope, 1)), "f32"), peak: length };
    case "any":
    case "all":
      return { scalar: select(reduce(op, over, comparison(state, scope, 1)), constant(1), constant(0)), peak: 1 };
    case "argmax":
      return {
        scalar: cast(
          reduce("argmax", [first], expression(state, "f32", scope.slice(0, indices.length + 1), 1).scalar),
          "f32",
        ),
        peak: extent,
      };
    default:
      return op satisfies never;
  }
}

/** A scalar of the dtype over the indices. */
export function expression(state: State, dtype: Dtype, indices: readonly Index[], depth: number): Bounded {
  const { choose } = state;
  if (dtype === "bool") return { scalar: comparison(state, indices, depth), peak: 1 };
  if (depth === 0 || choose(4) === 3) return leaf(state, dtype, indices);
  const a = expression(state, dtype, indices, depth - 1);
  if (choose(3) === 2) return transformed(state, a, dtype);
  return combine(state, a, expression(state, dtype, indices, depth - 1), indices);
}

export function combine(state: State, a: Bounded, b: Bounded, indices: readonly Index[] = []): Bounded {
  const { pick } = state;
  const op = pick<BinaryOp | "select">(["multiply", "add", "subtract", "min", "max", "select"]);
  if (op === "select")
    return { scalar: select(comparison(state, indices, 0), a.scalar, b.scalar), peak: Math.max(a.peak, b.peak) };
  return {
    scalar: binary(op, a.scalar, b.scalar),
    peak:
      op === "multiply" ? a.peak * b.peak : op === "min" || op === "max" ? Math.max(a.peak, b.peak) : a.peak + b.peak,
  };
}

function transformed(state: State, a: Bounded, dtype: Dtype): Bounded {
  const { pick, options } = state;
  const magnitude = unary("abs", a.scalar);
  const one = constant<Concrete>(1, dtype);
  if (dtype === "i32") {
    return pick<() => Bounded>([
      () => ({ scalar: magnitude, peak: a.peak }),
      () => ({ scalar: binary("remainder", a.scalar, integer(3)), peak: 2 }),
      () => ({ scalar: binary("divide", a.scalar, integer(2)), peak: a.peak }),
      () => ({ scalar: binary("bit_and", a.scalar, integer(7)), peak: 7 }),
    ])();
  }
  if (options.values === "exact") {
    return pick<() => Bounded>([
      () => ({ scalar: magnitude, peak: a.peak }),
      () => ({ scalar: unary("negate", a.scalar), peak: a.peak }),
      () => ({ scalar: unary("sign", a.scalar), peak: 1 }),
      () => ({ scalar: unary("round", binary("multiply", a.scalar, constant(0.5, dtype))), peak: a.peak }),
      () => ({ scalar: cast(cast(a.scalar, "i32"), dtype), peak: a.peak }),
      () => (a.peak > 64 ? a : { scalar: binary("power", a.scalar, constant(2, dtype)), peak: a.peak * a.peak }),
    ])();
  }
  return pick<() => Bounded>([
    () => ({ scalar: magnitude, peak: a.peak }),
    () => ({ scalar: unary("exp", unary("negate", magnitude)), peak: 1 }),
    () => ({ scalar: unary("log", binary("add", magnitude, one)), peak: Math.log(a.peak + 1) }),
    () => ({ scalar: unary("sqrt", binary("add", magnitude, one)), peak: a.peak + 1 }),
    () => ({ scalar: unary("rsqrt", binary("add", magnitude, one)), peak: 1 }),
    () => ({ scalar: unary("tanh", a.scalar), peak: 1 }),
    () => ({ scalar: binary("divide", a.scalar, binary("add", magnitude, one)), peak: 1 }),
    () => ({ scalar: unary("negate", a.scalar), peak: a.peak }),
  ])();
}

/** A comparison that no rounding can turn: of indices, or of small integers. */
export function comparison(state: State, indices: readonly Index[], depth: number): Node {
  const { choose, pick, options } = state;
  const op = pick<BinaryOp>(["less", "greater_equal", "equal", "not_equal", "less_equal", "greater"]);
  const dtype = options.values === "exact" && choose(2) === 1 ? "f32" : "i32";
  const compared = binary(op, expression(state, dtype, indices, depth).scalar, leaf(state, dtype, indices).scalar);
  return choose(4) === 3 ? unary("not", compared) : compared;
}

function leaf(state: State, dtype: Dtype, indices: readonly Index[]): Bounded {
  const { choose, pick, known } = state;
  const kind = choose(6);
  if (kind === 5 || (dtype === "i32" && indices.length === 0))
    return { scalar: constant(choose(4) - 1, dtype), peak: 2 };
  if (dtype === "i32" && kind > 1)
    return { scalar: pick(indices).scalar, peak: Math.max(...indices.map((index) => index.extent)) };
  const sources = known.filter(({ value }) => value.type.dtype === dtype);
  const others = known.filter(({ value }) => isFloat(value.type.dtype) && isFloat(dtype));
  const from = sources.length > 0 ? sources : others;
  const source = (choose(2) === 1 ? from.at(-1) : from[choose(Math.max(from.length, 1))]) ?? null;
  if (source === null) return { scalar: constant(1, dtype), peak: 1 };
  let guarded = false;
  const at = source.value.type.shape.map((extent) => {
    const fitting = indices.filter((index) => index.extent === extent);
    if (fitting.length > 0 && choose(6) < 5) return pick(fitting).scalar;
    if (indices.length === 0 || choose(5) === 4) return integer(choose(extent));
    const some = pick(indices).scalar;
    const index = pick<() => Node>([
      () => binary("remainder", some, integer(extent)),
      () => {
        guarded = true;
        return some;
      },
      () => {
        guarded = true;
        return binary("subtract", some, integer(1));
      },
      () => binary("remainder", binary("add", binary("multiply", some, integer(2)), integer(1)), integer(extent)),
    ]);
    return index();
  });
  const loaded = load(source.value, at, guarded);
  return { scalar: source.value.type.dtype === dtype ? loaded : cast(loaded, dtype), peak: source.peak };
}

/** Keeps a value small enough that sums of products of such values stay exact, or finite. */
export function tame(state: State, { scalar, peak }: Bounded): Bounded {
  const dtype = "dtype" in scalar ? scalar.dtype : "i32";
  if (dtype === "bool" || peak <= 8) return { scalar, peak };
  if (state.options.values === "smooth" && dtype !== "i32")
    return { scalar: binary("multiply", scalar, constant(2 ** -Math.ceil(Math.log2(peak / 4)), dtype)), peak: 4 };
  return { scalar: binary("max", binary("min", scalar, constant(4, dtype)), constant(-4, dtype)), peak: 4 };
}

export function dtypeOf(state: State): Dtype {
  return state.pick(
    state.options.f16 === true ? (["f32", "f16", "i32", "bool"] as const) : (["f32", "i32", "bool"] as const),
  );
}

export function isFloat(dtype: Dtype): boolean {
  return dtype === "f32" || dtype === "f16";
}

export function wide(scalar: Node): Node {
  return "dtype" in scalar && scalar.dtype === "f16" ? cast(scalar, "f32") : scalar;
}
