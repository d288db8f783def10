/**
 * Random well-typed graphs with their inputs, for properties: the evaluator, the passes, the kernel evaluator and
 * devices
 * must agree on them. A graph is made from a list of small numbers, each a choice, so that a failing one shrinks.
 */
import fc from "fast-check";
import { binary, buildGraph, constant, indexOf, integer, load, reduce, select } from "../../compiler/graph/build.js";
import { eqnOperands, mapEqnScalars } from "../../compiler/graph/eqn.js";
import { tensorValue } from "../../compiler/graph/evaluate.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, Range, Value } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { mapScalar } from "../../compiler/graph/scalar.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { Concrete } from "../../compiler/types/type.js";
import {
  combine,
  comparison,
  dtypeOf,
  expression,
  isFloat,
  reduction,
  tame,
  wide,
  type Node,
  type Bounded,
  type Known,
  type Index,
  type State,
  type GraphOptions,
} from "./graph-scalars.js";

export type { GraphOptions } from "./graph-scalars.js";

/** A graph and a value for each of its inputs, by name. */
export interface GraphCase {
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
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
