/** A result with a correction of low rank, made apart: what is corrected and both factors, each a result. */
import { withCorrection } from "../../formats/lowrank/meaning.js";
import { freeName } from "../../names.js";
import { constantSize, type Size } from "../../types/size.js";
import { full, type FormatOver, type FormatSpec, type TensorType } from "../../types/type.js";
import { removeDead } from "../eqn.js";
import type { SymbolicGraph, Value } from "../graph.js";

/** A graph whose result has a correction of low rank, which is put beside it elsewhere. */
export interface CorrectionApart {
  readonly graph: SymbolicGraph;
  /** The outputs that give the factors, packed as f16; null where the result has no correction. */
  readonly factors: { readonly left: string; readonly right: string } | null;
}

/**
 * The graph whose output of that name is what is corrected, with the factors as outputs more. Without a correction, and
 * where it stands beside an input, the graph stays the same object.
 */
export function withCorrectionApart(graph: SymbolicGraph, name: string): CorrectionApart {
  const output = graph.outputs.find((each) => each.name === name);
  const plus = graph.eqns.find((eqn) => eqn.kind === "plus" && eqn.out === output?.value);
  // what is given packed has its words already
  const given = graph.inputs.some(({ value }) => plus?.kind === "plus" && value === plus.packed);
  if (plus?.kind !== "plus" || output === undefined || given) return { graph, factors: null };
  const taken = new Set(graph.outputs.map((each) => each.name));
  const [left, right] = ["left", "right"].map((hint) => freeName(hint, (each) => taken.has(each))) as [string, string];
  const outputs = [
    ...graph.outputs.map((each) => (each === output ? { ...each, value: plus.packed } : each)),
    { value: plus.left, name: left, input: null },
    { value: plus.right, name: right, input: null },
  ];
  return { graph: removeDead({ ...graph, outputs }), factors: { left, right } };
}

/** The graph that puts a correction beside a tensor [rows, columns] in a format: inputs packed, left, right. */
export function joined(packed: FormatSpec, [rows, columns]: readonly [number, number], rank: number): SymbolicGraph {
  const sized = (spec: FormatSpec): FormatOver<Size> => ({
    name: spec.name,
    args: Object.fromEntries(
      Object.entries(spec.args).map(([name, value]) => [name, typeof value === "number" ? constantSize(value) : value]),
    ),
    of: spec.of === null ? null : sized(spec.of),
  });
  const half: FormatOver<Size> = { name: "f16", args: {}, of: null };
  const type = (shape: readonly number[], format: FormatOver<Size>): TensorType => ({
    dtype: "f32",
    shape: shape.map(constantSize),
    pattern: full,
    format,
  });
  const types: readonly (readonly [string, TensorType])[] = [
    ["packed", type([rows, columns], sized(packed))],
    ["left", type([rows, rank], half)],
    ["right", type([rank, columns], half)],
    ["weight", type([rows, columns], withCorrection(constantSize(rank), sized(packed)))],
  ];
  const values = types.map(([name, each], id): Value => ({ id, name, type: each, span: null }));
  return {
    name: "joined",
    span: null,
    values,
    inputs: values.slice(0, 3).map(({ id, name }) => ({ value: id, name, mutable: false })),
    outputs: [{ value: 3, name: "weight", input: null }],
    eqns: [{ kind: "plus", out: 3, packed: 0, left: 1, right: 2 }],
    parameters: { sizes: [], dtypes: [], formats: [] },
    constraints: [],
  };
}
