/**
 * Integers wrap around, the numbers of a proof do not. The checker proves indices in range for sizes that it does not
 * know; once they are numbers, this finds the proofs that arithmetic of 32 bits may break.
 */
import type { Concrete } from "../../types/type.js";
import { mapBody, mapEqnScalars } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar } from "../graph.js";
import { allValues, intervalOf, isWithin, exactInterval, withRanges, type Bounds } from "../analysis/ranges.js";
import { children, constantOf, dtypeOf, mapChildren } from "../scalar.js";

type S = Scalar<Concrete>;

interface IndexFacts {
  readonly bounds: Bounds;
  /** Indices whose ranges are not what they are as numbers. */
  readonly incongruent: ReadonlySet<IndexId>;
}

/**
 * The graph with the loads guarded whose index may wrap around where it matters. Sums, differences and products that
 * wrap
 * are right again once the whole is in range; what divides, compares or picks by size after a wrap is not:
 *
 * x[k * 65536 / 65536] for k in 0 .. 40000   =  x[k * 65536 / 65536]?
 */
export function guardWraps(graph: ConcreteGraph): ConcreteGraph {
  const guardEqn = (eqn: Eqn<Concrete>, outer: IndexFacts): Eqn<Concrete> => {
    if (eqn.kind === "scan") {
      const inner = inside(outer, [eqn.range]);
      return mapBody(eqn, (body) => body.map((each) => guardEqn(each, inner)));
    }
    if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
    const inner = inside(outer, eqn.indices);
    return mapEqnScalars(eqn, (scalar) => guardScalar(scalar, inner));
  };
  const nothing: IndexFacts = { bounds: new Map(), incongruent: new Set() };
  return { ...graph, eqns: graph.eqns.map((eqn) => guardEqn(eqn, nothing)) };
}

function guardScalar(scalar: S, facts: IndexFacts): S {
  const own = scalar.kind === "reduce" ? inside(facts, scalar.over) : facts;
  const mapped = mapChildren(scalar, (child) => guardScalar(child, own));
  if (mapped.kind !== "load" || mapped.guarded || !mapped.at.some((at) => isIncongruent(at, own))) return mapped;
  return { ...mapped, guarded: true };
}

function inside(outer: IndexFacts, ranges: readonly Range<Concrete>[]): IndexFacts {
  let facts = outer;
  for (const range of ranges) {
    const wrong = [range.low, range.high].some((bound) => wraps(bound, facts) || isIncongruent(bound, facts));
    facts = {
      bounds: withRanges(facts.bounds, [range]),
      incongruent: wrong ? new Set([...facts.incongruent, range.index]) : facts.incongruent,
    };
  }
  return facts;
}

/** Whether the operands of an operation and its result are the same modulo 2^32 as those of the numbers. */
function isRing(scalar: S): boolean {
  switch (scalar.kind) {
    case "binary":
      return scalar.op === "add" || scalar.op === "subtract" || scalar.op === "multiply";
    case "unary":
      return scalar.op === "negate";
    case "cast":
      return isInteger(scalar.a);
    case "select":
      return true;
    default:
      return false;
  }
}

/** The operands that are integers; of a selection those it chooses from. */
function integers(scalar: S): readonly S[] {
  if (scalar.kind === "load") return [];
  if (scalar.kind === "select") return [scalar.then, scalar.otherwise];
  return children(scalar).filter(isInteger);
}

function isInteger(scalar: S): boolean {
  const dtype = dtypeOf(scalar);
  return dtype === "i32" || dtype === "u32";
}

/** Whether the value of an integer scalar may be another than that of the numbers, though the same modulo 2^32. */
function wraps(scalar: S, facts: IndexFacts): boolean {
  const value = constantOf(scalar);
  if (value !== null) return !isWithin({ low: value, high: value }, allValues(scalar));
  if (!isRing(scalar)) return false;
  if (integers(scalar).some((operand) => wraps(operand, facts))) return true;
  const of = (operand: S) => intervalOf(operand, facts.bounds);
  switch (scalar.kind) {
    case "binary": {
      const exact = exactInterval(scalar.op, of(scalar.a), of(scalar.b));
      return exact === null || !isWithin(exact, allValues(scalar));
    }
    case "unary": {
      const { low, high } = of(scalar.a);
      return !isWithin({ low: -high, high: -low }, allValues(scalar));
    }
    case "cast":
      return !isWithin(of(scalar.a), allValues(scalar));
    default:
      return false;
  }
}

/** Whether the value of an integer scalar may be another than that of the numbers, even modulo 2^32. */
function isIncongruent(scalar: S, facts: IndexFacts): boolean {
  if (scalar.kind === "index") return facts.incongruent.has(scalar.index);
  // of a reduction the checker's proofs use only that it counts, or which of its indices it names
  if (scalar.kind === "reduce") return inside(facts, scalar.over).incongruent.size > facts.incongruent.size;
  const operands = integers(scalar);
  return (
    operands.some((operand) => isIncongruent(operand, facts)) ||
    (!isRing(scalar) && operands.some((operand) => wraps(operand, facts)))
  );
}
