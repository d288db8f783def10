/**
 * Random well-typed graphs with their inputs, for properties: the evaluator, the passes, the kernel evaluator and
 * devices
 * must agree on them. A graph is made from a list of small numbers, each a choice, so that a failing one shrinks.
 */
import fc from "fast-check";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  integer,
  load,
  reduce,
  select,
  unary,
} from "../../compiler/graph/build.js";
import type { GraphBuilder } from "../../compiler/graph/build.js";
import { eqnOperands, mapEqnScalars } from "../../compiler/graph/eqn.js";
import { tensorValue } from "../../compiler/graph/evaluate.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, Range, Scalar, Value } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { mapScalar } from "../../compiler/graph/scalar.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import type { BinaryOp } from "../../compiler/types/scalar-ops.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { Concrete } from "../../compiler/types/type.js";

/** A graph and a value for each of its inputs, by name. */
export interface GraphCase {
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
}

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

/** One, primes, powers of two and their neighbours. */
const awkwardSizes = [4, 1, 3, 2, 5, 8, 7, 16, 17, 9, 12, 33] as const;

/** Random cases. Printed as the text of the graph where a property fails. */
export function graphCases(options: GraphOptions): fc.Arbitrary<GraphCase> {
  return fc
    .record({ choices: fc.array(fc.nat(255), { minLength: 10, maxLength: 300, size: "max" }), seed: fc.nat(0xffffff) })
    .map(({ choices, seed }) => {
      const made = makeCase(choices, seed, options);
      return { ...made, [fc.toStringMethod]: () => `${printGraph(made.graph)}(seed ${seed})` };
    });
}

type Node = Scalar<Concrete>;
/** A scalar with a bound on its magnitude. */
interface Bounded {
  readonly scalar: Node;
  readonly peak: number;
}
/** A value of the graph with a bound on the magnitude of its elements. */
interface Known {
  readonly value: Value<Concrete>;
  readonly peak: number;
}
/** An index in scope, below `extent`. */
interface Index {
  readonly scalar: Node;
  readonly extent: number;
}

function makeCase(choices: readonly number[], seed: number, options: GraphOptions): GraphCase {
  let position = 0;
  const choose = (count: number): number => {
    position += 1;
    return (choices[position - 1] ?? 0) % count;
  };
  const pick = <T>(list: readonly T[]): T => list[choose(list.length)] as T;
  const random = pseudorandom(seed);
  const graph = buildGraph<Concrete>("random");
  const maker = new Map<string, TensorValue>();
  const known: Known[] = [];
  const [rows, columns, inner] = [pick(awkwardSizes), pick(awkwardSizes), pick(awkwardSizes)];
  const state = { graph, choose, pick, known, sizes: [rows, columns, inner], options };

  const input = (name: string, dtype: Dtype, shape: readonly number[], mutable = false): void => {
    const value = graph.input(name, dtype, shape, { mutable });
    const sample = (): number =>
      dtype === "bool"
        ? Math.floor(random() * 2)
        : options.values === "exact" || dtype === "i32"
          ? Math.floor(random() * 7) - 3
          : random() * 4 - 2;
    maker.set(name, tensorValue(dtype, shape, Array.from({ length: elementCount(shape) }, sample)));
    known.push({ value, peak: dtype === "bool" ? 1 : 3 });
  };
  const float = options.f16 === true && choose(2) === 1 ? "f16" : "f32";
  input("x", float, [rows, inner]);
  input("w", float, [columns, inner]);
  input("v", "f32", [inner]);
  if (choose(2) === 1) input("m", "bool", [columns, inner]);
  if (choose(2) === 1) input("p", "i32", [rows]);
  if (choose(2) === 1) input("c", "f32", []);
  const mutable = choose(3) === 2;
  if (mutable) input("cache", "f32", [rows, columns], true);

  const count = 1 + choose(options.equations ?? 6);
  for (let at = 0; at < count; at += 1) step(state, `y${at}`);

  const inputs = known.filter(({ value }) => maker.has(value.name));
  const made = known.filter(({ value }) => !maker.has(value.name)).map(({ value }) => value);
  // mostly what nothing else reads, so that little is dead
  const read = new Set(graph.graph().eqns.flatMap((eqn) => [...eqnOperands(eqn)]));
  const outputs = made.filter(
    (value, at) => at === made.length - 1 || (read.has(value.id) ? choose(6) === 5 : choose(6) < 5),
  );
  outputs.forEach((value) => graph.output(value.name, value));
  if (mutable) {
    const cache = inputs.find(({ value }) => value.name === "cache")?.value as Value<Concrete>;
    const states = made.filter(
      (value) =>
        value.type.dtype === "f32" && value.type.shape.join() === cache.type.shape.join() && !outputs.includes(value),
    );
    graph.output("cache", states.at(-1) ?? cache, cache);
  }
  return { graph: choose(2) === 1 ? withLocalIndices(graph.graph()) : graph.graph(), inputs: maker };
}

/** The graph with the indices of each equation counted from 0: ids need only be unique within an equation. */
function withLocalIndices(graph: ConcreteGraph): ConcreteGraph {
  const eqns = graph.eqns.map((eqn) => {
    if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
    const ids = new Map<number, number>();
    const local = (index: number): number => {
      const id = ids.get(index) ?? ids.size;
      ids.set(index, id);
      return id;
    };
    const ranges = (list: readonly Range<Concrete>[]): Range<Concrete>[] =>
      list.map((each) => ({ ...each, index: local(each.index) }));
    const indices = ranges(eqn.indices);
    const renamed = mapEqnScalars(eqn, (scalar) =>
      mapScalar(scalar, (node) => {
        if (node.kind === "index") return { ...node, index: local(node.index) };
        return node.kind === "reduce" ? { ...node, over: ranges(node.over) } : node;
      }),
    );
    return { ...renamed, indices } as typeof eqn;
  });
  return { ...graph, eqns };
}

interface State {
  readonly graph: GraphBuilder;
  choose(count: number): number;
  pick<T>(list: readonly T[]): T;
  /** Grows with each equation. */
  readonly known: Known[];
  readonly sizes: readonly number[];
  readonly options: GraphOptions;
}

function step(state: State, name: string): void {
  const { graph, choose, pick, known, sizes } = state;
  const floats = known.filter(({ value }) => isFloat(value.type.dtype) && value.type.shape.length > 0);
  const define = (shape: readonly number[], body: (indices: readonly Index[]) => Bounded): void => {
    let peak = 1;
    const value = graph.map(name, shape, (...indices) => {
      const made = body(indices.map((scalar, axis) => ({ scalar, extent: shape[axis] ?? 1 })));
      peak = made.peak;
      return made.scalar;
    });
    known.push({ value, peak });
  };
  const anyShape = (): readonly number[] =>
    pick([
      [...sizes.slice(0, 2)],
      [...sizes.slice(1)],
      [sizes[0] ?? 1, sizes[2] ?? 1],
      [sizes[0] ?? 1],
      [sizes[2] ?? 1],
      [],
      [...sizes],
    ]);

  switch (choose(9)) {
    case 0:
      return define(anyShape(), (indices) => tame(state, expression(state, dtypeOf(state), indices, 2)));
    // a product, as a linear layer has it
    case 1: {
      const [x, w] = [known[0] as Known, known[1] as Known];
      const k = graph.range("k", 0, sizes[2] ?? 1);
      return define(sizes.slice(0, 2), ([t, n]) => {
        const factor = (of: Known, row: Index | undefined): Node =>
          wide(load(of.value, [row?.scalar ?? integer(0), indexOf(k)]));
        const product = binary("multiply", factor(x, t), factor(w, n));
        return tame(state, { scalar: reduce("sum", [k], product), peak: x.peak * w.peak * (sizes[2] ?? 1) });
      });
    }
    case 2:
    case 3:
      return define(anyShape(), (indices) => tame(state, reduction(state, indices)));
    // goes on with the last value, element by element
    case 4: {
      const last = floats.at(-1) as Known;
      return define(last.value.type.shape, (indices) => {
        const element = {
          scalar: load(
            last.value,
            indices.map((index) => index.scalar),
          ),
          peak: last.peak,
        };
        return tame(state, combine(state, element, expression(state, last.value.type.dtype, indices, 1)));
      });
    }
    case 5:
      return update(state, name);
    case 6: {
      if (state.options.values === "smooth")
        return define(anyShape(), (indices) => tame(state, expression(state, "f32", indices, 2)));
      const score = pick(floats).value;
      const m = pick([2, 4, 3, 8]);
      known.push({ value: graph.top(name, score, 1 + choose(m), m, choose(score.type.shape.length)), peak: 1 });
      return;
    }
    // what a mask keeps
    case 7: {
      const mask = known.findLast(({ value }) => value.type.dtype === "bool");
      const shape = mask?.value.type.shape ?? anyShape();
      return define(shape, (indices) => {
        const kept = tame(state, expression(state, "f32", indices, 1));
        const condition =
          mask === undefined
            ? comparison(state, indices, 1)
            : load(
                mask.value,
                indices.map((index) => index.scalar),
              );
        return { scalar: select(condition, kept.scalar, constant(0)), peak: kept.peak };
      });
    }
    default:
      return define(anyShape(), (indices) => tame(state, expression(state, "i32", indices, 2)));
  }
}

function update(state: State, name: string): void {
  const { graph, choose, pick, known } = state;
  const base = known.findLast(({ value }) => value.name === "cache" || graphMade(value)) ?? (known[0] as Known);
  const { shape, dtype } = base.value.type;
  const ranges: Range<Concrete>[] = shape.map((extent, axis) => {
    const low = choose(2) === 1 ? choose(extent) : 0;
    return graph.range(
      ["i", "j", "k"][axis] ?? "l",
      low,
      choose(2) === 1 ? extent : Math.min(low + 1 + choose(extent), extent + 1),
    );
  });
  const indices = ranges.map((range, axis) => ({ scalar: indexOf(range), extent: (shape[axis] ?? 1) + 1 }));
  // each index once, so that no two write to one place
  const at = indices.map((index) =>
    pick([index.scalar, binary("subtract", index.scalar, integer(1)), binary("add", index.scalar, integer(1))]),
  );
  const op = dtype === "bool" ? "set" : pick(["set", "add"] as const);
  const body = tame(state, expression(state, dtype, indices, 1));
  known.push({ value: graph.update(name, base.value, ranges, at, body.scalar, op), peak: base.peak + body.peak });
}

function graphMade(value: Value<Concrete>): boolean {
  return /^y\d/.test(value.name) && value.type.shape.length > 0;
}

function reduction(state: State, indices: readonly Index[]): Bounded {
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
function expression(state: State, dtype: Dtype, indices: readonly Index[], depth: number): Bounded {
  const { choose } = state;
  if (dtype === "bool") return { scalar: comparison(state, indices, depth), peak: 1 };
  if (depth === 0 || choose(4) === 3) return leaf(state, dtype, indices);
  const a = expression(state, dtype, indices, depth - 1);
  if (choose(3) === 2) return transformed(state, a, dtype);
  return combine(state, a, expression(state, dtype, indices, depth - 1), indices);
}

function combine(state: State, a: Bounded, b: Bounded, indices: readonly Index[] = []): Bounded {
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
function comparison(state: State, indices: readonly Index[], depth: number): Node {
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
function tame(state: State, { scalar, peak }: Bounded): Bounded {
  const dtype = "dtype" in scalar ? scalar.dtype : "i32";
  if (dtype === "bool" || peak <= 8) return { scalar, peak };
  if (state.options.values === "smooth" && dtype !== "i32")
    return { scalar: binary("multiply", scalar, constant(2 ** -Math.ceil(Math.log2(peak / 4)), dtype)), peak: 4 };
  return { scalar: binary("max", binary("min", scalar, constant(4, dtype)), constant(-4, dtype)), peak: 4 };
}

function dtypeOf(state: State): Dtype {
  return state.pick(
    state.options.f16 === true ? (["f32", "f16", "i32", "bool"] as const) : (["f32", "i32", "bool"] as const),
  );
}

function isFloat(dtype: Dtype): boolean {
  return dtype === "f32" || dtype === "f16";
}

function wide(scalar: Node): Node {
  return "dtype" in scalar && scalar.dtype === "f16" ? cast(scalar, "f32") : scalar;
}

/** Numbers in 0 .. 1 from a seed (mulberry32). */
function pseudorandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
