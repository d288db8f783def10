/** Reductions whose terms count up to a bound alone, made to end there. */
import type { Concrete } from "../../types/type.js";
import { binary, select } from "../build.js";
import { mapBody, mapEqnScalars } from "../eqn.js";
import type { ConcreteGraph, Eqn, Range, Scalar } from "../graph.js";
import { constantOf, freeIndices, mapScalar, type Reduce } from "../scalar.js";

type S = Scalar<Concrete>;

/** What a term has where it does not count. */
const neutral: Readonly<Record<string, number>> = { sum: 0, max: -Infinity, min: Infinity };

/**
 * The graph with bounds in the place of conditions, in sums, maxima and minima:
 *
 * sum[c in 0 .. C] select(c < n, f(c), 0)  =  sum[c in 0 .. min(n, C)] f(c), where n is the same for every c
 */
export function shortenSums(graph: ConcreteGraph): ConcreteGraph {
  const shorten = (eqn: Eqn<Concrete>): Eqn<Concrete> =>
    eqn.kind === "scan"
      ? mapBody(eqn, (body) => body.map(shorten))
      : mapEqnScalars(eqn, (scalar) => mapScalar(scalar, (node) => (node.kind === "reduce" ? shortened(node) : node)));
  return { ...graph, eqns: graph.eqns.map(shorten) };
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
  const [first, ...rest] = left;
  return {
    ...node,
    over,
    body:
      first === undefined
        ? body.then
        : select(
            rest.reduce((all, each) => binary("and", all, each), first),
            body.then,
            body.otherwise,
          ),
  };
}

function conjuncts(condition: S): readonly S[] {
  return condition.kind === "binary" && condition.op === "and"
    ? [...conjuncts(condition.a), ...conjuncts(condition.b)]
    : [condition];
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
