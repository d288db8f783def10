/** The scales of packed tensors: those that f16 may not hold. */
import { wideScales } from "../../formats/fit.js";
import { formatOfSpec } from "../../formats/registry.js";
import { freeName } from "../../names.js";
import type { Concrete } from "../../types/type.js";
import { full } from "../../types/type.js";
import { binary, constant, indexOf, load, range, sizeScalar, unary } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { ConcreteGraph, Eqn, Scalar, SymbolicGraph, Value } from "../graph.js";

/** A graph whose result is packed, and the output that reports its scales. */
export interface ScaledGraph {
  readonly graph: SymbolicGraph;
  /** The output that gives them, as they were given to `pack`; null where the result has none. */
  readonly scales: string | null;
}

/**
 * The graph with the scales of the output of that name as an output more: the format of a result is fixed before they
 * are known, so whoever runs it looks whether they fit (`formats/fit.ts`). Without scales the graph stays the same
 * object.
 */
export function withScales(graph: SymbolicGraph, name: string): ScaledGraph {
  const output = graph.outputs.find((each) => each.name === name);
  const pack = graph.eqns.find((eqn) => eqn.kind === "pack" && eqn.out === output?.value);
  if (pack?.kind !== "pack" || pack.scale === null) return { graph, scales: null };
  const taken = new Set(graph.outputs.map((each) => each.name));
  const scales = freeName("scales", (name) => taken.has(name));
  return {
    graph: { ...graph, outputs: [...graph.outputs, { value: pack.scale, name: scales, input: null }] },
    scales,
  };
}

/**
 * Tensors that are packed on a grid and stay within the graph have their scales in f32, rounded as they would be in
 * f16: the same values, of whatever size.
 */
export function widenScales(graph: ConcreteGraph): ConcreteGraph {
  const leaving = new Set(graph.outputs.map((output) => output.value));
  const values = [...graph.values];
  const fresh = freshIndices(graph);
  let changed = false;
  const eqns = graph.eqns.flatMap((eqn): readonly Eqn<Concrete>[] => {
    if (eqn.kind !== "pack" || eqn.scale === null || leaving.has(eqn.out)) return [eqn];
    const [out, scale] = [values[eqn.out], values[eqn.scale]];
    const format = out?.type.format ?? null;
    if (out === undefined || scale === undefined || format === null) return [eqn];
    if (formatOfSpec(format).grid(format)?.scale !== "f16") return [eqn];
    changed = true;
    values[out.id] = { ...out, type: { ...out.type, format: wideScales(format) } };
    const indices = scale.type.shape.map((size, axis) =>
      range<Concrete>(fresh(), `i${axis}`, 0, sizeScalar<Concrete>(size)),
    );
    const rounded: Value<Concrete> = {
      ...scale,
      id: values.length,
      name: `${scale.name}_rounded`,
      type: { ...scale.type, pattern: full },
    };
    values.push(rounded);
    const body = roundedSignificand(load(scale, indices.map(indexOf)));
    return [
      { kind: "map", out: rounded.id, indices, body },
      { ...eqn, scale: rounded.id },
    ];
  });
  return changed ? { ...graph, values, eqns } : graph;
}

/** To 11 significant bits, halves to even, as `stored_scale` of the module quantize does. */
function roundedSignificand(value: Scalar<Concrete>): Scalar<Concrete> {
  const word = (number: number): Scalar<Concrete> => constant(number, "u32");
  const bits = unary("bits", value);
  const odd = binary("bit_and", binary("shift_right", bits, word(13)), word(1));
  const up = binary("add", bits, binary("add", odd, word(0xfff)));
  return unary("from_bits", binary("bit_and", up, word(0xffffe000)));
}
