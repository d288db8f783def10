/**
 * Additions of which several may fall on one element, made into sums for each element: an update is then free of races.
 */
import type { Concrete } from "../../types/type.js";
import { binary, constant, indexOf, integer, range, reduce, select } from "../build.js";
import { freshIndices, mapBody } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar } from "../graph.js";
import { constantOf, dtypeOf, freeIndices } from "../scalar.js";

type Update = Extract<Eqn<Concrete>, { kind: "update" }>;

/**
 * The graph with every `+=`, those in steps of scans too, such that no two of its indices have the same target:
 *
 * w[n] += x[n, k] for n, k            =  w[n] += sum[k] x[n, k] for n
 * h[ids[t]] += x[t] for t in 0 .. T   =  h[i] += sum[t in 0 .. T] select(ids[t] == i, x[t], 0) for i
 */
export function scatterToGather(graph: ConcreteGraph): ConcreteGraph {
  const fresh = freshIndices(graph);
  const gather = (eqn: Eqn<Concrete>): Eqn<Concrete> =>
    isAddition(eqn) ? gatherAddition(graph, eqn, fresh) : mapBody(eqn, (body) => body.map(gather));
  return { ...graph, eqns: graph.eqns.map(gather) };
}

function isAddition(eqn: Eqn<Concrete>): eqn is Update {
  return eqn.kind === "update" && eqn.op === "add";
}

function gatherAddition(graph: ConcreteGraph, eqn: Update, fresh: () => IndexId): Update {
  const determined = determinedIndices(eqn);
  const summed = eqn.indices.filter(({ index }) => !determined.has(index));
  if (summed.length === 0) return eqn;
  if (summed.every(({ index }) => eqn.at.every((at) => !freeIndices(at).has(index)))) {
    return {
      ...eqn,
      indices: eqn.indices.filter((each) => !summed.includes(each)),
      body: reduce("sum", summed, eqn.body),
    };
  }
  const shape = graph.values[eqn.out]?.type.shape ?? [];
  const kept = new Map<IndexId, Range<Concrete>>();
  const conditions: Scalar<Concrete>[] = [];
  const own = eqn.at.map((at, axis) => {
    const same =
      at.kind === "index" ? eqn.indices.find(({ index }) => index === at.index && !kept.has(index)) : undefined;
    if (same !== undefined) {
      kept.set(same.index, same);
      return same;
    }
    const target = range<Concrete>(fresh(), `at${axis}`, 0, shape[axis] ?? 0);
    conditions.push(binary("equal", at, indexOf(target)));
    return target;
  });
  const over = eqn.indices.filter(({ index }) => !kept.has(index));
  const here = conditions.reduce((all, each) => binary("and", all, each));
  return {
    ...eqn,
    indices: own,
    at: own.map((each) => indexOf(each)),
    body: reduce("sum", over, select(here, eqn.body, constant(0, dtypeOf(eqn.body)))),
  };
}

/** The indices of an update that its target determines: two of different value never have the same target. */
function determinedIndices(eqn: Update): ReadonlySet<IndexId> {
  const extents = new Map(
    eqn.indices.map(({ index, low, high }) => [index, (constantOf(high) ?? Infinity) - (constantOf(low) ?? 0)]),
  );
  const determined = new Set([...extents].filter(([, extent]) => extent <= 1).map(([index]) => index));
  for (let before = -1; before < determined.size; ) {
    before = determined.size;
    for (const at of eqn.at) {
      const terms = linearTerms(at, (index) => extents.has(index) && !determined.has(index));
      // as digits of a number: each coefficient is beyond what all smaller ones reach together
      let largest = 0;
      const digits = [...(terms ?? [])]
        .map(([index, coefficient]) => ({ index, step: Math.abs(coefficient) }))
        .sort((a, b) => a.step - b.step);
      const distinct = digits.every(({ index, step }) => {
        const beyond = step > largest;
        largest += step * ((extents.get(index) ?? Infinity) - 1);
        return beyond;
      });
      if (distinct) for (const { index } of digits) determined.add(index);
    }
  }
  return determined;
}

/** The coefficients of the indices that count in an i32 scalar; null where it is not linear in them. */
function linearTerms(
  scalar: Scalar<Concrete>,
  counts: (index: IndexId) => boolean,
): ReadonlyMap<IndexId, number> | null {
  if (![...freeIndices(scalar)].some(counts)) return new Map();
  if (scalar.kind === "index") return new Map([[scalar.index, 1]]);
  if (scalar.kind === "unary" && scalar.op === "negate")
    return linearTerms(binary("subtract", integer(0), scalar.a), counts);
  if (scalar.kind !== "binary") return null;
  const [a, b] = [linearTerms(scalar.a, counts), linearTerms(scalar.b, counts)];
  if (a === null || b === null) return null;
  switch (scalar.op) {
    case "add":
    case "subtract": {
      const sum = new Map(a);
      for (const [index, coefficient] of b)
        sum.set(index, (sum.get(index) ?? 0) + (scalar.op === "add" ? coefficient : -coefficient));
      return sum;
    }
    case "multiply": {
      const [terms, factor] = a.size === 0 ? [b, constantOf(scalar.a)] : [a, constantOf(scalar.b)];
      return factor === null ? null : new Map([...terms].map(([index, coefficient]) => [index, coefficient * factor]));
    }
    default:
      return null;
  }
}
