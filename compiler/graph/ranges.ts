/** Questions about ranges of indices. */
import type { Concrete, Level } from "../types/type.js";
import type { IndexId, Range, Scalar } from "./graph.js";
import { printAnySize } from "./print.js";
import { constantOf, dtypeOf } from "./scalar.js";

/** Whether the ranges are exactly `0 .. shape`, axis by axis. */
export function rangesOver<L extends Level>(ranges: readonly Range<L>[], shape: readonly L["size"][]): boolean {
  return ranges.length === shape.length && ranges.every((range, axis) => sizeText(range.low) === "0" && sizeText(range.high) === printAnySize(shape[axis] as L["size"]));
}

function sizeText<L extends Level>(scalar: Scalar<L>): string | null {
  if (scalar.kind === "size") return printAnySize(scalar.size);
  return scalar.kind === "constant" ? String(scalar.value) : null;
}

/** Whether the scalars are the indices of the ranges, in order. */
export function isIdentity<L extends Level>(at: readonly Scalar<L>[], ranges: readonly Range<L>[]): boolean {
  return at.length === ranges.length && at.every((scalar, axis) => scalar.kind === "index" && scalar.index === ranges[axis]?.index);
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

const anyI32: Interval = { low: -(2 ** 31), high: 2 ** 31 - 1 };

/** An interval that holds every value of an i32 scalar (of any other dtype, no finite statement): all of i32 where nothing is known or arithmetic may wrap around. */
export function intervalOf(scalar: Scalar<Concrete>, bounds: Bounds): Interval {
  const value = constantOf(scalar);
  if (value !== null) return { low: value, high: value };
  switch (scalar.kind) {
    case "index": return bounds.get(scalar.index) ?? anyI32;
    case "select": {
      const next = nextMultiple(scalar, bounds);
      if (next !== null) return next;
      const [a, b] = [intervalOf(scalar.then, bounds), intervalOf(scalar.otherwise, bounds)];
      return { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) };
    }
    case "cast": return dtypeOf(scalar.a) === "bool" ? { low: 0, high: 1 } : anyI32;
    case "reduce": return scalar.op === "count" ? { low: 0, high: anyI32.high } : anyI32;
    case "binary": return intervalOfBinary(scalar.op, intervalOf(scalar.a, bounds), intervalOf(scalar.b, bounds));
    default: return anyI32;
  }
}

/** `select(k % c == 0, k + c, k)`, the end of a window that begins at each multiple of c: never beyond the first multiple after all k. */
function nextMultiple(scalar: Extract<Scalar<Concrete>, { kind: "select" }>, bounds: Bounds): Interval | null {
  const { condition, then, otherwise } = scalar;
  if (condition.kind !== "binary" || condition.op !== "equal" || constantOf(condition.b) !== 0 || condition.a.kind !== "binary" || condition.a.op !== "remainder") return null;
  const step = condition.a.a;
  const width = constantOf(condition.a.b);
  const isStep = (node: Scalar<Concrete>): boolean => node.kind === "index" && step.kind === "index" && node.index === step.index;
  if (width === null || width < 1 || !isStep(otherwise) || then.kind !== "binary" || then.op !== "add" || !isStep(then.a) || constantOf(then.b) !== width) return null;
  const { low, high } = intervalOf(step, bounds);
  return low < 0 ? null : { low, high: Math.max(Math.floor(high / width) * width + width, high) };
}

function intervalOfBinary(op: Extract<Scalar<Concrete>, { kind: "binary" }>["op"], a: Interval, b: Interval): Interval {
  switch (op) {
    case "add": return within({ low: a.low + b.low, high: a.high + b.high });
    case "subtract": return within({ low: a.low - b.high, high: a.high - b.low });
    case "multiply": {
      const products = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
      return within({ low: Math.min(...products), high: Math.max(...products) });
    }
    case "divide":
      return a.low >= 0 && b.low > 0 ? { low: Math.floor(a.low / b.high), high: Math.floor(a.high / b.low) } : anyI32;
    case "remainder":
      if (a.low < 0 || b.low <= 0) return anyI32;
      return a.high < b.low ? a : { low: 0, high: Math.min(a.high, b.high - 1) };
    case "min": return { low: Math.min(a.low, b.low), high: Math.min(a.high, b.high) };
    case "max": return { low: Math.max(a.low, b.low), high: Math.max(a.high, b.high) };
    default: return anyI32;
  }
}

function within(interval: Interval): Interval {
  return interval.low >= anyI32.low && interval.high <= anyI32.high ? interval : anyI32;
}
