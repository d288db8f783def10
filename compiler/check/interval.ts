import type { Constraint, Range, Scalar } from "../graph/graph.js";
import { dtypeOf } from "../graph/scalar.js";
import {
  addSizes,
  constantSize,
  divideSizes,
  multiplySizes,
  sameSize,
  subtractSizes,
  type Size,
} from "../types/size.js";
import { equalSizes, notNegative } from "./sizes.js";

/**
 * Bounds that are known of an integer scalar, inclusive, as of a number that does not wrap around
 * (graph/passes/wrap.ts sees to that); each of several holds. Empty: nothing is known.
 */
export interface Interval {
  readonly low: readonly Size[];
  readonly high: readonly Size[];
}

/** What an interval is worked out from: the ranges of the indices by id, and what is known of the sizes. */
export interface Knowledge {
  readonly ranges: readonly Range[];
  readonly constraints: readonly Constraint[];
}

const unknown: Interval = { low: [], high: [] };
const one = constantSize(1);
const zero = constantSize(0);

/** Whether an index is proved to lie in 0 .. size. */
export function inRange(at: Scalar, size: Size, known: Knowledge): boolean {
  if (at.kind === "index") {
    const range = known.ranges[at.index];
    if (range !== undefined && isSize(range.low, zero) && range.high.kind === "size" && sameSize(range.high.size, size))
      return true;
  }
  const { low, high } = intervalOf(at, known);
  const last = subtractSizes(size, one);
  return (
    low.some((bound) => notNegative(bound, known.constraints)) &&
    high.some((bound) => notNegative(subtractSizes(last, bound), known.constraints))
  );
}

/** Whether an index is proved to lie outside 0 .. size. */
export function outOfRange(at: Scalar, size: Size, known: Knowledge): boolean {
  const { low, high } = intervalOf(at, known);
  return (
    low.some((bound) => notNegative(subtractSizes(bound, size), known.constraints)) ||
    high.some((bound) => notNegative(subtractSizes(constantSize(-1), bound), known.constraints))
  );
}

/** The bounds of an integer scalar. */
export function intervalOf(scalar: Scalar, known: Knowledge): Interval {
  const exact = exactSize(scalar);
  if (exact !== null) return { low: [exact], high: [exact] };
  switch (scalar.kind) {
    case "index": {
      const range = known.ranges[scalar.index];
      if (range === undefined) return unknown;
      return {
        low: intervalOf(range.low, known).low,
        high: intervalOf(range.high, known).high.map((bound) => subtractSizes(bound, one)),
      };
    }
    case "load":
      return scalar.dtype === "u32" ? { low: [zero], high: [] } : unknown;
    // a sum of integers not negative, or a count, is not negative; an argmax lies in the range of its index
    case "reduce": {
      const [range] = scalar.over;
      if (scalar.op === "count") return { low: [zero], high: [] };
      if (scalar.op === "argmax" && range !== undefined)
        return { low: [zero], high: intervalOf({ kind: "index", index: range.index, name: range.name }, known).high };
      return unknown;
    }
    case "select": {
      const [a, b] = [intervalOf(scalar.then, known), intervalOf(scalar.otherwise, known)];
      return {
        low: common(a.low, b.low, known, (x, y) => subtractSizes(y, x)),
        high: common(a.high, b.high, known, (x, y) => subtractSizes(x, y)),
      };
    }
    case "cast": {
      const inner = intervalOf(scalar.a, known);
      // from 2^31 on a u32 becomes negative
      if (scalar.dtype === "i32" && dtypeOf(scalar.a) === "u32" && inner.high.length === 0) return unknown;
      return isIntegerScalar(scalar.a) && inner.low.some((bound) => notNegative(bound, known.constraints))
        ? inner
        : scalar.dtype === "u32"
          ? { low: [zero], high: [] }
          : unknown;
    }
    case "binary":
      return binaryInterval(scalar, known);
    case "constant":
    case "size":
    case "unary":
      return unknown;
    default:
      return scalar satisfies never;
  }
}

function binaryInterval(scalar: Extract<Scalar, { kind: "binary" }>, known: Knowledge): Interval {
  const a = intervalOf(scalar.a, known);
  const b = intervalOf(scalar.b, known);
  const positive = (bounds: readonly Size[]): boolean => bounds.some((bound) => notNegative(bound, known.constraints));
  switch (scalar.op) {
    case "add":
      return { low: pairs(a.low, b.low, addSizes), high: pairs(a.high, b.high, addSizes) };
    case "subtract": {
      const low = pairs(a.low, b.high, subtractSizes);
      // below zero a u32 wraps around to large numbers
      if (scalar.dtype === "u32" && !positive(low)) return { low: [zero], high: [] };
      return { low, high: pairs(a.high, b.low, subtractSizes) };
    }
    case "multiply":
      return positive(a.low) && positive(b.low)
        ? {
            low: pairs(
              a.low.filter((x) => notNegative(x, known.constraints)),
              b.low.filter((x) => notNegative(x, known.constraints)),
              multiplySizes,
            ),
            high: pairs(a.high, b.high, multiplySizes),
          }
        : unknown;
    case "divide": {
      const divisor = exactSize(scalar.b);
      if (divisor === null || !positive(a.low) || !notNegative(subtractSizes(divisor, one), known.constraints))
        return unknown;
      return { low: [zero], high: a.high.map((bound) => floorOf(bound, divisor, known.constraints)) };
    }
    case "remainder": {
      if (!positive(a.low)) return unknown;
      const divisor = exactSize(scalar.b);
      const below =
        divisor !== null && notNegative(subtractSizes(divisor, one), known.constraints)
          ? [subtractSizes(divisor, one)]
          : [];
      return { low: [zero], high: [...below, ...a.high] };
    }
    case "min":
      return { low: common(a.low, b.low, known, (x, y) => subtractSizes(y, x)), high: [...a.high, ...b.high] };
    case "max":
      return { low: [...a.low, ...b.low], high: common(a.high, b.high, known, (x, y) => subtractSizes(x, y)) };
    case "bit_and":
      return positive(a.low) && positive(b.low) ? { low: [zero], high: [...a.high, ...b.high] } : unknown;
    default:
      return unknown;
  }
}

/** The floor of a bound by a divisor; K - 1 by G is K / G - 1 where K % G == 0 is known. */
function floorOf(bound: Size, divisor: Size, constraints: readonly Constraint[]): Size {
  const plain = divideSizes(bound, divisor);
  const next = divideSizes(addSizes(bound, one), divisor);
  // bound + 1 = divisor * next, so that bound / divisor = next - 1
  return equalSizes(multiplySizes(divisor, next), addSizes(bound, one), constraints) ? subtractSizes(next, one) : plain;
}

/** The size that a scalar is whatever the indices are, or null. */
function exactSize(scalar: Scalar): Size | null {
  if (scalar.kind === "size") return scalar.size;
  return scalar.kind === "constant" &&
    Number.isInteger(scalar.value) &&
    (scalar.dtype === "i32" || scalar.dtype === "u32")
    ? constantSize(scalar.value)
    : null;
}

function isIntegerScalar(scalar: Scalar): boolean {
  return scalar.kind === "index" || scalar.kind === "size" || scalar.dtype === "i32" || scalar.dtype === "u32";
}

function isSize(scalar: Scalar, size: Size): boolean {
  const exact = exactSize(scalar);
  return exact !== null && sameSize(exact, size);
}

/**
 * A bound of either of two: those of each that the other's are provably not beyond. `beyond` is not negative where x
 * may stand for both.
 */
function common(
  a: readonly Size[],
  b: readonly Size[],
  known: Knowledge,
  beyond: (x: Size, y: Size) => Size,
): readonly Size[] {
  const covers = (x: Size, others: readonly Size[]): boolean =>
    others.some((y) => notNegative(beyond(x, y), known.constraints));
  return [...a.filter((x) => covers(x, b)), ...b.filter((x) => covers(x, a))].slice(0, 3);
}

/** Every pairing of bounds; a few are enough. */
function pairs(a: readonly Size[], b: readonly Size[], combine: (x: Size, y: Size) => Size): readonly Size[] {
  return a
    .slice(0, 3)
    .flatMap((x) => b.slice(0, 3).map((y) => combine(x, y)))
    .slice(0, 4);
}
