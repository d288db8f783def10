/** The scales of packed tensors: those that f16 may not hold. */
import { wideScales } from "../../formats/fit.js";
import { scaleElements } from "../../formats/element.js";
import { formatOfSpec } from "../../formats/registry.js";
import { freeName } from "../../names.js";
import type { Concrete } from "../../types/type.js";
import { full } from "../../types/type.js";
import { binary, constant, indexOf, load, range, sizeScalar, unary } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { ConcreteGraph, Eqn, Scalar, SymbolicGraph, Value, ValueId } from "../graph.js";

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

/** A graph whose result is packed elsewhere: scales and zero points are results more. */
export interface GridApart {
  readonly graph: SymbolicGraph;
  /** The outputs that give them; null where there are none. */
  readonly scale: string | null;
  readonly zero: string | null;
}

/** The graph with the scales and zero points of the output of that name beside it, and no longer in its `pack`. */
export function withGridApart(graph: SymbolicGraph, name: string): GridApart {
  const output = graph.outputs.find((each) => each.name === name);
  const pack = graph.eqns.find((eqn) => eqn.kind === "pack" && eqn.out === output?.value);
  if (pack?.kind !== "pack") return { graph, scale: null, zero: null };
  const taken = new Set(graph.outputs.map((each) => each.name));
  const outputs = [...graph.outputs];
  const add = (hint: string, value: ValueId | null): string | null => {
    if (value === null) return null;
    const free = freeName(hint, (each) => taken.has(each));
    outputs.push({ value, name: free, input: null });
    return free;
  };
  const [scale, zero] = [add("scales", pack.scale), add("zeros", pack.zero)];
  const eqns = graph.eqns.map((eqn) => (eqn === pack ? { ...pack, scale: null, zero: null } : eqn));
  return { graph: { ...graph, eqns, outputs }, scale, zero };
}

/**
 * Tensors that are packed on a grid and stay within the graph have their scales in f32, rounded as they would be in
 * their type: the same values, of whatever size. Those of int8 stay.
 */
export function widenScales(graph: ConcreteGraph): ConcreteGraph {
  // a correction is put beside the very words
  const corrected = graph.eqns.flatMap((eqn) => (eqn.kind === "plus" ? [eqn.packed] : []));
  const leaving = new Set([...graph.outputs.map((output) => output.value), ...corrected]);
  const values = [...graph.values];
  const fresh = freshIndices(graph);
  let changed = false;
  const eqns = graph.eqns.flatMap((eqn): readonly Eqn<Concrete>[] => {
    if (eqn.kind !== "pack" || eqn.scale === null || leaving.has(eqn.out)) return [eqn];
    const [out, scale] = [values[eqn.out], values[eqn.scale]];
    const format = out?.type.format ?? null;
    if (out === undefined || scale === undefined || format === null) return [eqn];
    const held = formatOfSpec(format).grid(format)?.scale ?? "f32";
    // what has a step for each row holds any scale
    if (held === "f32" || held === "int8") return [eqn];
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
    const body = roundedSignificand(load(scale, indices.map(indexOf)), scaleElements[held].digits);
    return [
      { kind: "map", out: rounded.id, indices, body },
      { ...eqn, scale: rounded.id },
    ];
  });
  return changed ? { ...graph, values, eqns } : graph;
}

/** To `digits` significant bits, halves to even, as `stored_scale` of the module quantize does to 11. */
function roundedSignificand(value: Scalar<Concrete>, digits: number): Scalar<Concrete> {
  const lost = 24 - digits;
  const word = (number: number): Scalar<Concrete> => constant(number, "u32");
  const bits = unary("bits", value);
  const odd = binary("bit_and", binary("shift_right", bits, word(lost)), word(1));
  const up = binary("add", bits, binary("add", odd, word(2 ** (lost - 1) - 1)));
  return unary("from_bits", binary("bit_and", up, word(2 ** 32 - 2 ** lost)));
}
