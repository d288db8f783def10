/** Questions about ranges of indices. */
import type { Concrete, Level } from "../../types/type.js";
import { eqnScalars } from "../eqn.js";
import type { Eqn, IndexId, Range, Scalar } from "../graph.js";
import { printAnySize } from "../print.js";
import { children, constantOf, dtypeOf, freeIndices } from "../scalar.js";

/** Whether the ranges are exactly `0 .. shape`, axis by axis. */
export function rangesOver<L extends Level>(ranges: readonly Range<L>[], shape: readonly L["size"][]): boolean {
  return (
    ranges.length === shape.length &&
    ranges.every(
      (range, axis) => sizeText(range.low) === "0" && sizeText(range.high) === printAnySize(shape[axis] as L["size"]),
    )
  );
}

function sizeText<L extends Level>(scalar: Scalar<L>): string | null {
  if (scalar.kind === "size") return printAnySize(scalar.size);
  return scalar.kind === "constant" ? String(scalar.value) : null;
}

/** Whether the scalars are the indices of the ranges, in order. */
export function isIdentity<L extends Level>(at: readonly Scalar<L>[], ranges: readonly Range<L>[]): boolean {
  return (
    at.length === ranges.length &&
    at.every((scalar, axis) => scalar.kind === "index" && scalar.index === ranges[axis]?.index)
  );
}

/** The values an integer scalar can take, both ends included. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Intervals of the indices in scope. */
export type Bounds = ReadonlyMap<IndexId, Interval>;

/** Bounds with those of more ranges, each of which may depend on the ones before. */
export function withRanges(bounds: Bounds, ranges: readonly Range<Concrete>[]): Bounds {
  const inner = new Map(bounds);
  for (const range of ranges) {
    const low = intervalOf(range.low, inner);
    const high = intervalOf(range.high, inner);
    // an index is never negative; an empty range has no values, for which any interval is right
    const first = Math.max(low.low, 0);
    inner.set(range.index, { low: first, high: Math.max(high.high - 1, first) });
  }
  return inner;
}

/** The intervals of all indices of equations; of one that stands in several places, what holds in each. */
export function intervalsOf(eqns: readonly Eqn<Concrete>[], outer: Bounds): Bounds {
  const found = new Map<IndexId, Interval>();
  const enter = (bounds: Bounds, ranges: readonly Range<Concrete>[]): Bounds => {
    const inner = withRanges(bounds, ranges);
    for (const { index } of ranges) {
      const [one, other] = [inner.get(index)!, found.get(index)];
      found.set(
        index,
        other === undefined ? one : { low: Math.min(one.low, other.low), high: Math.max(one.high, other.high) },
      );
    }
    return inner;
  };
  const visit = (scalar: Scalar<Concrete>, bounds: Bounds, seen: Set<Scalar<Concrete>>): void => {
    if (seen.has(scalar)) return;
    seen.add(scalar);
    if (scalar.kind !== "reduce") {
      for (const child of children(scalar)) visit(child, bounds, seen);
      return;
    }
    const [inner, here] = [enter(bounds, scalar.over), new Set<Scalar<Concrete>>()];
    for (const child of children(scalar)) visit(child, inner, here);
  };
  const visitEqn = (eqn: Eqn<Concrete>, bounds: Bounds): void => {
    if (eqn.kind === "scan") {
      const inner = enter(bounds, [eqn.range]);
      for (const each of eqn.body) visitEqn(each, inner);
    } else if (eqn.kind === "map" || eqn.kind === "update") {
      const [inner, seen] = [enter(bounds, eqn.indices), new Set<Scalar<Concrete>>()];
      for (const scalar of eqnScalars(eqn)) visit(scalar, inner, seen);
    }
  };
  for (const eqn of eqns) visitEqn(eqn, outer);
  return found;
}

const anyI32: Interval = { low: -(2 ** 31), high: 2 ** 31 - 1 };

/** An index is never negative: `withRanges`. */
const anyIndex: Interval = { low: 0, high: anyI32.high };
const anyU32: Interval = { low: 0, high: 2 ** 32 - 1 };

/** All values of an integer scalar; of a scalar of any other dtype this says nothing. */
export function allValues(scalar: Scalar<Concrete>): Interval {
  return dtypeOf(scalar) === "u32" ? anyU32 : anyI32;
}

/** Whether one interval is in another. */
export function isWithin(inner: Interval, outer: Interval): boolean {
  return inner.low >= outer.low && inner.high <= outer.high;
}

/**
 * An interval that holds every value of an integer scalar (of any other dtype, no finite statement): all that it could
 * have where nothing is known or arithmetic may wrap around.
 */
export function intervalOf(scalar: Scalar<Concrete>, bounds: Bounds): Interval {
  const value = constantOf(scalar);
  if (value !== null) return { low: value, high: value };
  const all = allValues(scalar);
  switch (scalar.kind) {
    case "index":
      return bounds.get(scalar.index) ?? anyIndex;
    case "select": {
      const next = nextMultiple(scalar, bounds);
      if (next !== null) return next;
      const [a, b] = [intervalOf(scalar.then, bounds), intervalOf(scalar.otherwise, bounds)];
      return { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) };
    }
    case "cast": {
      const from = dtypeOf(scalar.a);
      if (from === "bool") return { low: 0, high: 1 };
      const inner = from === "i32" || from === "u32" ? intervalOf(scalar.a, bounds) : all;
      return isWithin(inner, all) ? inner : all;
    }
    case "reduce":
      return scalar.op === "count" ? { low: 0, high: all.high } : all;
    case "binary": {
      const exact = exactInterval(scalar.op, intervalOf(scalar.a, bounds), intervalOf(scalar.b, bounds));
      return exact !== null && isWithin(exact, all) ? exact : all;
    }
    default:
      return all;
  }
}

/**
 * `select(k % c == 0, k + c, k)`, the end of a window that begins at each multiple of c: never beyond the first
 * multiple after all k.
 */
function nextMultiple(scalar: Extract<Scalar<Concrete>, { kind: "select" }>, bounds: Bounds): Interval | null {
  const { condition, then, otherwise } = scalar;
  if (
    condition.kind !== "binary" ||
    condition.op !== "equal" ||
    constantOf(condition.b) !== 0 ||
    condition.a.kind !== "binary" ||
    condition.a.op !== "remainder"
  )
    return null;
  const step = condition.a.a;
  const width = constantOf(condition.a.b);
  const isStep = (node: Scalar<Concrete>): boolean =>
    node.kind === "index" && step.kind === "index" && node.index === step.index;
  if (
    width === null ||
    width < 1 ||
    !isStep(otherwise) ||
    then.kind !== "binary" ||
    then.op !== "add" ||
    !isStep(then.a) ||
    constantOf(then.b) !== width
  )
    return null;
  const { low, high } = intervalOf(step, bounds);
  return low < 0 ? null : { low, high: Math.max(Math.floor(high / width) * width + width, high) };
}

/** What an operation on integers gives as numbers, before it wraps around; null where that is not known. */
export function exactInterval(
  op: Extract<Scalar<Concrete>, { kind: "binary" }>["op"],
  a: Interval,
  b: Interval,
): Interval | null {
  switch (op) {
    case "add":
      return { low: a.low + b.low, high: a.high + b.high };
    case "subtract":
      return { low: a.low - b.high, high: a.high - b.low };
    case "multiply": {
      const products = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
      return { low: Math.min(...products), high: Math.max(...products) };
    }
    case "divide":
      return a.low >= 0 && b.low > 0 ? { low: Math.floor(a.low / b.high), high: Math.floor(a.high / b.low) } : null;
    case "remainder":
      if (a.low < 0 || b.low <= 0) return null;
      return a.high < b.low ? a : { low: 0, high: Math.min(a.high, b.high - 1) };
    case "min":
      return { low: Math.min(a.low, b.low), high: Math.min(a.high, b.high) };
    case "max":
      return { low: Math.max(a.low, b.low), high: Math.max(a.high, b.high) };
    default:
      return null;
  }
}

const none: Bounds = new Map();

/** The constants that a range lies between: `low .. high`, high excluded. */
export interface BoundingRange {
  readonly low: number;
  readonly high: number;
  /** Whether the range is all of it, at every step. */
  readonly exact: boolean;
}

/** The bounding range of a range. `bounds`: intervals of the indices around the equation. */
export function boundingRange(range: Range<Concrete>, bounds: Bounds = none): BoundingRange {
  const [low, high] = [intervalOf(range.low, bounds), intervalOf(range.high, bounds)];
  return { low: Math.max(0, low.low), high: high.high, exact: low.low === low.high && high.low === high.high };
}

/** The number of values of an equation's own index, at most. */
export function extent(range: Range<Concrete>, bounds: Bounds = none): number {
  const { low, high } = boundingRange(range, bounds);
  return Math.max(0, high - low);
}

/** By how much a scalar grows with an index; null where that is not a constant. */
export function coefficientOf(scalar: Scalar<Concrete>, index: IndexId): number | null {
  if (scalar.kind === "index") return scalar.index === index ? 1 : 0;
  if (!freeIndices(scalar).has(index)) return 0;
  if (scalar.kind !== "binary") return null;
  const [a, b] = [coefficientOf(scalar.a, index), coefficientOf(scalar.b, index)];
  if (a === null || b === null) return null;
  if (scalar.op === "add") return a + b;
  if (scalar.op === "multiply") {
    const [ca, cb] = [constantOf(scalar.a), constantOf(scalar.b)];
    return cb !== null ? a * cb : ca !== null ? b * ca : null;
  }
  return null;
}
