/**
 * Additions of which several may fall on one element, made into sums for each element: an update is then free of races,
 * and where it begins with zeros it is a map.
 */
import type { Concrete } from "../../types/type.js";
import { withRanges } from "../analysis/ranges.js";
import { binary, cast, indexOf, integer, load, range, reduce, selectAll } from "../build.js";
import { freshIndices, mapBody } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import { constantOf, dtypeOf, freeIndices, mapScalar, substitute } from "../scalar.js";
import { solveIndices, type Equation } from "./solve-index.js";

type Update = Extract<Eqn<Concrete>, { kind: "update" }>;
type S = Scalar<Concrete>;

/**
 * The graph with every `+=`, those in steps of scans too, such that no two of its indices have the same target:
 *
 * w[n] += x[n, k] for n, k            =  w[n] += sum[k] x[n, k] for n
 * s[k / 4] += x[k] for k in 0 .. 8    =  s[i] += sum[j in 0 .. 4] x[i * 4 + j] for i
 * h[ids[t]] += x[t] for t in 0 .. T   =  h[i] += sum[t in 0 .. T] select(ids[t] == i, x[t], 0) for i
 *
 * What is added to one number everywhere, or to what has become so, is no update but a map.
 */
export function scatterToGather(graph: ConcreteGraph): ConcreteGraph {
  const fresh = freshIndices(graph);
  const state = new Set(graph.outputs.flatMap(({ value, input }) => (input === null ? [] : [value])));
  /** Maps that updates begin with: of one number, or sums. */
  const begun = new Map<ValueId, number | "sums">();
  const inStep = (eqn: Eqn<Concrete>): Eqn<Concrete> =>
    isAddition(eqn) ? gatherAddition(graph, eqn, fresh) : mapBody(eqn, (body) => body.map(inStep));
  const gather = (eqn: Eqn<Concrete>): Eqn<Concrete> => {
    const number = eqn.kind === "map" ? constantOf(eqn.body) : null;
    if (number !== null) begun.set(eqn.out, number);
    if (!isAddition(eqn)) return inStep(eqn);
    const base = begun.get(eqn.base);
    if (base === undefined || state.has(eqn.out) || !hasConstantRanges(eqn)) return inStep(eqn);
    begun.set(eqn.out, "sums");
    return mapOfAddition(graph, eqn, base === 0, fresh);
  };
  return { ...graph, eqns: graph.eqns.map(gather) };
}

function isAddition(eqn: Eqn<Concrete>): eqn is Update {
  return eqn.kind === "update" && eqn.op === "add";
}

function hasConstantRanges({ indices }: Update): boolean {
  return indices.every(({ low, high }) => constantOf(low) !== null && constantOf(high) !== null);
}

function gatherAddition(graph: ConcreteGraph, eqn: Update, fresh: () => IndexId): Update {
  const determined = determinedIndices(eqn);
  const summed = eqn.indices.filter(({ index }) => !determined.has(index));
  if (summed.length === 0) return eqn;
  if (summed.every(({ index }) => eqn.at.every((at) => !freeIndices(at).has(index)))) {
    return {
      ...eqn,
      indices: eqn.indices.filter((each) => !summed.includes(each)),
      body: sumOf(summed, eqn.body),
    };
  }
  const gathered = gatherElements(graph, eqn, () => true, fresh);
  return { ...eqn, indices: gathered.own, at: gathered.own.map((each) => indexOf(each)), body: gathered.body };
}

function isWholeAxis(graph: ConcreteGraph, eqn: Update, { low, high }: Range<Concrete>, axis: number): boolean {
  return constantOf(low) === 0 && constantOf(high) === graph.values[eqn.out]?.type.shape[axis];
}

/** The addition to a base that nothing else changes in place. */
function mapOfAddition(graph: ConcreteGraph, eqn: Update, ofZeros: boolean, fresh: () => IndexId): Eqn<Concrete> {
  const { own, body } = gatherElements(graph, eqn, (each, axis) => isWholeAxis(graph, eqn, each, axis), fresh);
  const base = graph.values[eqn.base];
  if (ofZeros || base === undefined) return { kind: "map", out: eqn.out, indices: own, body };
  const before = load(
    base,
    own.map((each) => indexOf(each)),
  );
  // a sum in f32 is rounded once, with what it is added to
  const sum =
    body.kind === "cast" && dtypeOf(body.a) === "f32" && body.dtype === "f16"
      ? cast(binary("add", cast(before, "f32"), body.a), "f16")
      : binary("add", before, body);
  return { kind: "map", out: eqn.out, indices: own, body: sum };
}

/** What an addition adds to each element, by indices of the elements. */
interface Gathered {
  readonly own: readonly Range<Concrete>[];
  readonly body: S;
}

/** `keeps`: whether an index of the update that stands alone on an axis may stay the index of that axis. */
function gatherElements(
  graph: ConcreteGraph,
  eqn: Update,
  keeps: (range: Range<Concrete>, axis: number) => boolean,
  fresh: () => IndexId,
): Gathered {
  const shape = graph.values[eqn.out]?.type.shape ?? [];
  const kept = new Set<IndexId>();
  const equations: Equation[] = [];
  const own = eqn.at.map((at, axis) => {
    const same =
      at.kind === "index" ? eqn.indices.find(({ index }) => index === at.index && !kept.has(index)) : undefined;
    if (same !== undefined && keeps(same, axis)) {
      kept.add(same.index);
      return same;
    }
    const target = range<Concrete>(fresh(), `at${axis}`, 0, shape[axis] ?? 0);
    equations.push({ left: at, right: indexOf(target) });
    return target;
  });
  const left = eqn.indices.filter(({ index }) => !kept.has(index));
  const { values, over, conditions, leaves } = hasConstantRanges(eqn)
    ? solveIndices(equations, left, {
        bounds: withRanges(new Map(), own),
        shape: (tensor) => graph.values[tensor]?.type.shape ?? [],
        fresh,
      })
    : {
        values: new Map<IndexId, S>(),
        over: left,
        conditions: equations.map((each) => binary("equal", each.left, each.right)),
        leaves: false,
      };
  const element = substitute(leaves ? guardLoads(eqn.body, values) : eqn.body, values);
  const isInner = (condition: S): boolean => over.some(({ index }) => freeIndices(condition).has(index));
  const inner = selectAll(conditions.filter(isInner), element);
  return {
    own,
    body: selectAll(
      conditions.filter((condition) => !isInner(condition)),
      over.length === 0 ? inner : sumOf(over, inner),
    ),
  };
}

/** A scalar that may be computed where its indices are out of their ranges, if it then counts for nothing. */
function guardLoads(scalar: S, solved: ReadonlyMap<IndexId, S>): S {
  return mapScalar(scalar, (node) =>
    node.kind === "load" &&
    !node.guarded &&
    node.at.some((at) => [...freeIndices(at)].some((index) => solved.has(index)))
      ? { ...node, guarded: true }
      : node,
  );
}

/** A sum, of f16 in f32. */
function sumOf(over: readonly Range<Concrete>[], body: S): S {
  return dtypeOf(body) === "f16" ? cast(reduce("sum", over, cast(body, "f32")), "f16") : reduce("sum", over, body);
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
