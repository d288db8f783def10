/**
 * Integers wrap around, the numbers of a proof do not. The checker proves indices in range for sizes that it does not
 * know; once they are numbers, this finds the proofs that arithmetic of 32 bits may break.
 */
import type { Concrete } from "../../types/type.js";
import { mapBody, mapEqnScalars } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar } from "../graph.js";
import { allValues, intervalOf, isWithin, reachOf, withRanges, type Bounds } from "../analysis/ranges.js";
import { children, constantOf, dtypeOf, mapChildren } from "../scalar.js";

type S = Scalar<Concrete>;

interface Scope {
  readonly bounds: Bounds;
  /** Indices whose ranges are not what they are as numbers. */
  readonly astray: ReadonlySet<IndexId>;
}

/**
 * The graph with the loads guarded whose index may wrap around where it matters. Sums, differences and products that
 * wrap
 * are right again once the whole is in range; what divides, compares or picks by size after a wrap is not:
 *
 * x[k * 65536 / 65536] for k in 0 .. 40000   =  x[k * 65536 / 65536]?
 */
export function guardWraps(graph: ConcreteGraph): ConcreteGraph {
  const guardEqn = (eqn: Eqn<Concrete>, outer: Scope): Eqn<Concrete> => {
    if (eqn.kind === "scan") {
      const inner = inside(outer, [eqn.range]);
      return mapBody(eqn, (body) => body.map((each) => guardEqn(each, inner)));
    }
    if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
    const inner = inside(outer, eqn.indices);
    return mapEqnScalars(eqn, (scalar) => guardScalar(scalar, inner));
  };
  const nothing: Scope = { bounds: new Map(), astray: new Set() };
  return { ...graph, eqns: graph.eqns.map((eqn) => guardEqn(eqn, nothing)) };
}

function guardScalar(scalar: S, scope: Scope): S {
  const own = scalar.kind === "reduce" ? inside(scope, scalar.over) : scope;
  const mapped = mapChildren(scalar, (child) => guardScalar(child, own));
  if (mapped.kind !== "load" || mapped.guarded || !mapped.at.some((at) => isAstray(at, own))) return mapped;
  return { ...mapped, guarded: true };
}

function inside(outer: Scope, ranges: readonly Range<Concrete>[]): Scope {
  let scope = outer;
  for (const range of ranges) {
    const wrong = [range.low, range.high].some((bound) => wraps(bound, scope) || isAstray(bound, scope));
    scope = {
      bounds: withRanges(scope.bounds, [range]),
      astray: wrong ? new Set([...scope.astray, range.index]) : scope.astray,
    };
  }
  return scope;
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
function wraps(scalar: S, scope: Scope): boolean {
  const value = constantOf(scalar);
  if (value !== null) return !isWithin({ low: value, high: value }, allValues(scalar));
  if (!isRing(scalar)) return false;
  if (integers(scalar).some((operand) => wraps(operand, scope))) return true;
  const of = (operand: S) => intervalOf(operand, scope.bounds);
  switch (scalar.kind) {
    case "binary": {
      const reach = reachOf(scalar.op, of(scalar.a), of(scalar.b));
      return reach === null || !isWithin(reach, allValues(scalar));
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
function isAstray(scalar: S, scope: Scope): boolean {
  if (scalar.kind === "index") return scope.astray.has(scalar.index);
  // of a reduction the checker's proofs use only that it counts, or which of its indices it names
  if (scalar.kind === "reduce") return inside(scope, scalar.over).astray.size > scope.astray.size;
  const operands = integers(scalar);
  return (
    operands.some((operand) => isAstray(operand, scope)) ||
    (!isRing(scalar) && operands.some((operand) => wraps(operand, scope)))
  );
}
