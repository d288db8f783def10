/** Reductions whose terms count up to a bound alone, made to end there. */
import type { Concrete } from "../../types/type.js";
import { binary, selectAll } from "../build.js";
import { mapBody, mapEqnScalars } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import { conjuncts, constantOf, freeIndices, mapScalar, substitute, withoutCasts, type Reduce } from "../scalar.js";

type S = Scalar<Concrete>;

/** What a term has where it does not count. */
const neutral: Readonly<Record<string, number>> = { sum: 0, max: -Infinity, min: Infinity };

/**
 * The graph with bounds in the place of conditions, in sums, maxima and minima:
 *
 * sum[c in 0 .. C] select(c < n, f(c), 0)  =  sum[c in 0 .. min(n, C)] f(c), where n is the same for every c
 *
 * and in sums of products with rows that are zero from such an n on: p[t, c] = select(c < n[t], ..., 0).
 */
export function shortenSums(graph: ConcreteGraph): ConcreteGraph {
  const tails = new Map<ValueId, Tail>();
  const shorten = (eqn: Eqn<Concrete>): Eqn<Concrete> => {
    if (eqn.kind === "scan") return mapBody(eqn, (body) => body.map(shorten));
    const last = eqn.kind === "map" || eqn.kind === "update" ? (eqn.indices.at(-1)?.index ?? null) : null;
    const next = mapEqnScalars(eqn, (scalar) =>
      mapScalar(scalar, (node) => (node.kind === "reduce" ? withoutTails(shortened(node), tails, last) : node)),
    );
    const tail = next.kind === "map" ? tailOf(next) : null;
    if (tail !== null) tails.set(next.out, tail);
    return next;
  };
  return { ...graph, eqns: graph.eqns.map(shorten) };
}

/** Where the rows of a map end, by the indices of the map: beyond, its elements are zero. */
interface Tail {
  readonly indices: readonly Range<Concrete>[];
  readonly end: S;
}

function tailOf({ indices, body }: Extract<Eqn<Concrete>, { kind: "map" }>): Tail | null {
  const own = indices.at(-1);
  const whole = body.kind === "cast" ? body.a : body;
  if (own === undefined || whole.kind !== "select" || constantOf(whole.otherwise) !== 0) return null;
  for (const condition of conjuncts(whole.condition)) {
    if (condition.kind !== "binary" || condition.op !== "less") continue;
    const { a, b } = condition;
    if (a.kind === "index" && a.index === own.index && !freeIndices(b).has(own.index)) return { indices, end: b };
  }
  return null;
}

/** A sum that ends where a row does that its terms are multiples of. `last`: the index that a tile has in common. */
function withoutTails(
  node: Reduce<Concrete>,
  tails: ReadonlyMap<ValueId, Tail>,
  last: IndexId | null,
): Reduce<Concrete> {
  if (node.op !== "sum") return node;
  let { over } = node;
  for (const factor of factorsOf(node.body)) {
    const tail = factor.kind === "load" && !factor.guarded ? tails.get(factor.tensor) : undefined;
    const column = factor.kind === "load" ? factor.at.at(-1) : undefined;
    if (tail === undefined || factor.kind !== "load" || column === undefined) continue;
    const end = substitute(
      tail.end,
      new Map(tail.indices.map(({ index }, axis) => [index, factor.at[axis] ?? column])),
    );
    // an end of its own for each output is no row of a product
    if (last === null || freeIndices(end).has(last)) continue;
    over = bounded(over, binary("less", column, end)) ?? over;
  }
  return over === node.over ? node : { ...node, over };
}

function factorsOf(scalar: S): readonly S[] {
  const whole = withoutCasts(scalar);
  return whole.kind === "binary" && whole.op === "multiply" ? [...factorsOf(whole.a), ...factorsOf(whole.b)] : [whole];
}

function shortened(node: Reduce<Concrete>): Reduce<Concrete> {
  const { body } = node;
  if (body.kind !== "select" || constantOf(body.otherwise) !== neutral[node.op]) return node;
  let over = node.over;
  const left = conjuncts(body.condition).filter((condition) => {
    const next = bounded(over, condition);
    over = next ?? over;
    return next === null;
  });
  if (over === node.over) return node;
  return {
    ...node,
    over,
    body: selectAll(left, body.then, body.otherwise),
  };
}

/** The ranges within a condition; null where it says nothing that a bound can. */
function bounded(over: readonly Range<Concrete>[], condition: S): readonly Range<Concrete>[] | null {
  if (condition.kind !== "binary" || condition.a.kind !== "index") return null;
  const { op, a, b } = condition;
  const at = over.findIndex(({ index }) => index === a.index);
  const range = over[at];
  if (range === undefined || (op !== "less" && op !== "greater_equal")) return null;
  const free = freeIndices(b);
  if (over.slice(at).some(({ index }) => free.has(index))) return null;
  const within: Range<Concrete> =
    op === "less" ? { ...range, high: binary("min", b, range.high) } : { ...range, low: binary("max", b, range.low) };
  return over.map((each) => (each === range ? within : each));
}
