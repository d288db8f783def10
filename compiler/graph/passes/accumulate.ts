import { full, type Level, type TensorType } from "../../types/type.js";
import { freshIndices } from "../eqn.js";
import type { Graph, Range, Scalar, Value } from "../graph.js";
import { indexOf, sizeScalar } from "../build.js";
import { InternalError } from "../../diagnostic.js";
import type { Combination } from "../analysis/combination.js";

/** The name of the tensor that a graph made by `accumulating` adds to, an input and its final state. */
export const totalName = "total";

/**
 * From a graph that computes a tensor, the one that adds it to another in place:
 *
 * f(x) -> s   =>   f(x, var total) with total[i...] += s[i...]
 *
 * Fused, a sum is then added where it belongs, and s itself is never stored. The result must be the graph's only one.
 * What combines by max or min becomes total[i...] = max(total[i...], s[i...]).
 */
export function accumulating<L extends Level>(graph: Graph<L>, by: Combination = "sum"): Graph<L> {
  const [output, ...more] = graph.outputs;
  if (output === undefined || more.length > 0 || graph.inputs.some((input) => input.mutable))
    throw new InternalError(`${graph.name} does not give one tensor`);
  return addingOne(graph, output.name, totalName, by);
}

/** The same for some of a graph's results: each of `totals`, by the name of what it is added to. */
export function adding<L extends Level>(graph: Graph<L>, totals: ReadonlyMap<string, string>): Graph<L> {
  return [...totals].reduce((whole, [output, total]) => addingOne(whole, output, total, "sum"), graph);
}

function addingOne<L extends Level>(graph: Graph<L>, name: string, totalName: string, by: Combination): Graph<L> {
  const output = graph.outputs.find((each) => each.name === name);
  const result = output === undefined ? undefined : graph.values[output.value];
  if (result === undefined || output?.input !== null || graph.inputs.some((input) => input.name === totalName))
    throw new InternalError(`${graph.name} gives no ${name} that could be added to ${totalName}`);
  const type: TensorType<L> = { ...result.type, pattern: full, format: null };
  const total: Value<L> = { id: graph.values.length, name: totalName, type, span: null };
  const sum: Value<L> = { ...total, id: total.id + 1 };
  const fresh = freshIndices(graph);
  const indices = type.shape.map(
    (size, axis): Range<L> => ({
      index: fresh(),
      name: `i${axis}`,
      low: { kind: "constant", value: 0, dtype: "i32" },
      high: sizeScalar<L>(size),
    }),
  );
  const at = indices.map((range) => indexOf(range));
  const load = (tensor: number): Scalar<L> => ({ kind: "load", tensor, at, dtype: type.dtype, guarded: false });
  const [a, b] = [load(total.id), load(result.id)];
  const [op, body] =
    by === "sum" ? (["add", b] as const) : (["set", { kind: "binary", op: by, a, b, dtype: type.dtype }] as const);
  return {
    ...graph,
    values: [...graph.values, total, sum],
    inputs: [...graph.inputs, { value: total.id, name: totalName, mutable: true }],
    eqns: [...graph.eqns, { kind: "update", out: sum.id, base: total.id, indices, at, body, op }],
    outputs: graph.outputs.map((each) =>
      each === output ? { value: sum.id, name: totalName, input: total.id } : each,
    ),
  };
}
