/** Whether what is packed on a grid of integers is finite; the codes do not show it. */
import { freeName } from "../../names.js";
import { full, type Symbolic } from "../../types/type.js";
import { binary, constant, indexOf, load, range, reduce, sizeScalar, unary } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { Eqn, SymbolicGraph, Value } from "../graph.js";

/** A graph whose result is packed, and the output that counts values that are not finite. */
export interface WatchedPack {
  readonly graph: SymbolicGraph;
  /** The output that counts them, i32 by row; null where the result itself would show them, or none can come about. */
  readonly notFinite: string | null;
}

/** The exponent of NaN and of the infinities. */
const allOnes = 0x7f800000;

/**
 * The graph with an output more that counts, for each row, the values that are NaN or infinite and go into the codes of
 * the output of that name. A format of floats keeps such values, and a tensor that is given was looked at: then the
 * graph stays the same object.
 */
export function withFinite(graph: SymbolicGraph, name: string): WatchedPack {
  const output = graph.outputs.find((each) => each.name === name);
  const at = graph.eqns.findIndex((eqn) => eqn.kind === "pack" && eqn.out === output?.value);
  const pack = graph.eqns[at];
  if (pack?.kind !== "pack" || pack.scale === null) return { graph, notFinite: null };
  const source = graph.values[pack.source];
  const [rows, columns] = source?.type.shape ?? [];
  if (
    source === undefined ||
    rows === undefined ||
    columns === undefined ||
    source.type.shape.length !== 2 ||
    graph.inputs.some((input) => input.value === source.id)
  )
    return { graph, notFinite: null };
  const taken = new Set(graph.outputs.map((each) => each.name));
  const notFinite = freeName("not_finite", (name) => taken.has(name));
  const fresh = freshIndices(graph);
  const [n, k] = [
    range<Symbolic>(fresh(), "n", 0, sizeScalar<Symbolic>(rows)),
    range<Symbolic>(fresh(), "k", 0, sizeScalar<Symbolic>(columns)),
  ];
  const exponent = binary<Symbolic>(
    "bit_and",
    unary<Symbolic>("bits", load<Symbolic>(source, [indexOf(n), indexOf(k)])),
    constant<Symbolic>(allOnes, "u32"),
  );
  const counted: Value = {
    id: graph.values.length,
    name: notFinite,
    span: null,
    type: { dtype: "i32", shape: [rows], pattern: full, format: null },
  };
  const count: Eqn = {
    kind: "map",
    out: counted.id,
    indices: [n],
    body: reduce<Symbolic>("count", [k], binary<Symbolic>("equal", exponent, constant<Symbolic>(allOnes, "u32"))),
  };
  return {
    notFinite,
    graph: {
      ...graph,
      values: [...graph.values, counted],
      // where the codes are made, so that the values live no longer
      eqns: [...graph.eqns.slice(0, at), count, ...graph.eqns.slice(at)],
      outputs: [...graph.outputs, { value: counted.id, name: notFinite, input: null }],
    },
  };
}
