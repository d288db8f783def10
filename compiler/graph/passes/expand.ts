/** `top` in terms of maps, so that lowering has one kind fewer. */
import type { Concrete } from "../../types/type.js";
import { binary, cast, constant, indexOf, integer, load, range, reduce, select, unary } from "../build.js";
import { allEqns, freshIndices, mapBody } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Scalar } from "../graph.js";

type Node = Scalar<Concrete>;
type Top = Extract<Eqn<Concrete>, { kind: "top" }>;

/**
 * The graph with every `top` a map: an element is kept if fewer than n of its group come before it, which are those
 * with
 * a greater score, and those with an equal one and a lower index. NaN comes after all numbers.
 */
export function expandTop(graph: ConcreteGraph): ConcreteGraph {
  if (!allEqns(graph.eqns).some((eqn) => eqn.kind === "top")) return graph;
  const fresh = freshIndices(graph);
  const all = (eqns: readonly Eqn<Concrete>[]): readonly Eqn<Concrete>[] =>
    eqns.map((eqn) => (eqn.kind === "top" ? expand(graph, eqn, fresh) : mapBody(eqn, all)));
  return { ...graph, eqns: all(graph.eqns) };
}

function expand(graph: ConcreteGraph, eqn: Top, fresh: () => IndexId): Eqn<Concrete> {
  const score = graph.values[eqn.score];
  if (score === undefined) return eqn;
  const { shape } = score.type;
  const extent = shape[eqn.axis] ?? 1;
  const indices = shape.map((size, axis) => range(fresh(), axis === eqn.axis ? "k" : `i${axis}`, 0, size));
  const at = indices.map((each) => indexOf(each));
  const k = at[eqn.axis] ?? integer(0);

  const start = binary("multiply", binary("divide", k, integer(eqn.m)), integer(eqn.m));
  const end = binary("add", start, integer(eqn.m));
  // the last group is shorter where m does not divide the axis
  const other = range(fresh(), "j", start, extent % eqn.m === 0 ? end : binary("min", end, integer(extent)));
  const j = indexOf(other);
  const mine = load(score, at);
  const its = load(
    score,
    at.map((index, axis) => (axis === eqn.axis ? j : index)),
  );
  const lower = binary("less", j, k);
  const larger = binary("or", binary("greater", its, mine), binary("and", binary("equal", its, mine), lower));
  const isFloat = score.type.dtype === "f32" || score.type.dtype === "f16";
  const before = isFloat
    ? select(isNaNScalar(mine), binary("or", unary("not", isNaNScalar(its)), lower), larger)
    : larger;
  return { kind: "map", out: eqn.out, indices, body: binary("less", reduce("count", [other], before), integer(eqn.n)) };
}

/** Whether a float is NaN, by its bits: devices may assume that `x == x`. */
function isNaNScalar(value: Node): Node {
  const bits = unary("bits", "dtype" in value && value.dtype === "f16" ? cast(value, "f32") : value);
  return binary("greater", binary("bit_and", bits, constant(0x7fffffff, "u32")), constant(0x7f800000, "u32"));
}
