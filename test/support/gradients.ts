/** Gradients held to what they mean: difference quotients over reals. */
import { differentiate } from "../../compiler/graph/gradient/differentiate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../compiler/graph/graph.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import { evaluateReals, realZeros, type RealTensor } from "./real-numbers.js";

/** A function with its sizes and dtypes bound. */
export function bound(
  graph: SymbolicGraph,
  sizes: Readonly<Record<string, number>>,
  dtypes: Readonly<Record<string, Dtype>> = {},
): ConcreteGraph {
  const formats = new Map(graph.parameters.formats.map((name) => [name, null]));
  const found = specialize(
    graph,
    { sizes: new Map(Object.entries(sizes)), dtypes: new Map(Object.entries(dtypes)), formats },
    { f16: true },
  );
  if (!("graph" in found)) throw new Error(found.map(({ message }) => message).join("\n"));
  return found.graph;
}

/** The gradient of a function; its graph is in order. */
export function gradientOf(
  graph: SymbolicGraph,
  of: string,
  by: readonly string[],
  packs: "stop" | "through" = "stop",
): SymbolicGraph {
  const found = differentiate(graph, { of, by, packs });
  if ("faults" in found) throw new Error(found.faults.map(({ message }) => message).join("\n"));
  const faults = verify(found.graph);
  if (faults.length > 0) throw new Error(`${faults.join("\n")}\n${printGraph(found.graph)}`);
  return found.graph;
}

/** A number in -1 .. 1 for a place in a tensor, the same at each run. */
export function wave(seed: number, at: number): number {
  const x = Math.sin(seed * 127.1 + at * 311.7 + 1.3) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}

/** Values for the inputs of a function: floats in -1 .. 1, integers and masks by `integers` (by name), else 0. */
export function sampleInputs(
  graph: ConcreteGraph,
  integers: Readonly<Record<string, readonly number[]>> = {},
): ReadonlyMap<string, RealTensor> {
  return new Map(
    graph.inputs.map(({ name, value }, seed) => {
      const type = graph.values[value]?.type;
      const result = realZeros(type?.shape ?? []);
      const float = type?.dtype === "f32" || type?.dtype === "f16";
      for (let at = 0; at < elementCount(result.shape); at += 1)
        result.data[at] = integers[name]?.[at] ?? (float ? wave(seed + 1, at) : 0);
      return [name, result];
    }),
  );
}

/**
 * The largest difference, relative to the largest gradient, between <gradient, v> and the difference quotient of
 * <out, seed> along some directions v.
 */
export function gradientError(
  graph: ConcreteGraph,
  gradient: ConcreteGraph,
  of: string,
  by: readonly string[],
  inputs: ReadonlyMap<string, RealTensor>,
  step = 1e-5,
): number {
  const output = graph.outputs.find(({ name }) => name === of);
  const shape = graph.values[output?.value ?? -1]?.type.shape ?? [];
  const seed = realZeros(shape);
  seed.data.forEach((_, at) => {
    seed.data[at] = wave(99, at);
  });
  const found = evaluateReals(gradient, new Map([...inputs, [`d_${of}`, seed]]));
  const loss = (given: ReadonlyMap<string, RealTensor>): number =>
    dot(evaluateReals(graph, given).get(of)?.data ?? new Float64Array(), seed.data);
  let worst = 0;
  for (const name of by) {
    const [at, slope] = [inputs.get(name) as RealTensor, found.get(`d_${name}`) as RealTensor];
    for (let turn = 0; turn < 2; turn += 1) {
      const direction = at.data.map((_, place) => wave(turn + 5, place));
      const moved = (by: number): ReadonlyMap<string, RealTensor> =>
        new Map([
          ...inputs,
          [name, { ...at, data: at.data.map((each, place) => each + by * (direction[place] ?? 0)) }],
        ]);
      const quotient = (loss(moved(step)) - loss(moved(-step))) / (2 * step);
      const size = Math.sqrt(dot(slope.data, slope.data)) * Math.sqrt(dot(direction, direction)) + 1e-3;
      const error = Math.abs(dot(slope.data, direction) - quotient) / size;
      worst = Math.max(worst, Number.isFinite(error) ? error : Infinity);
    }
  }
  return worst;
}

/** The sum of products. */
export function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, each, at) => sum + each * (b[at] ?? 0), 0);
}
