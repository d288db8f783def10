/** Bounds of reductions as sizes, for the axes of tensors that are made of what stands in reductions. */
import { constantSize, sameSize, sizeValue, type Size } from "../../types/size.js";
import type { Level } from "../../types/type.js";
import { binary, indexOf, integer, sizeScalar } from "../build.js";
import type { Range, Scalar, Value, ValueId } from "../graph.js";
import { children, type Load } from "../scalar.js";

/** Whether a scalar is a number or a size: what the ranges of equations are bounded by. */
export function isSize<L extends Level>(scalar: Scalar<L>): boolean {
  return scalar.kind === "size" || (scalar.kind === "constant" && scalar.dtype === "i32");
}

/** The size that a scalar which `isSize` is. */
export function sizeOf<L extends Level>(scalar: Scalar<L>): L["size"] | null {
  if (scalar.kind === "size") return scalar.size;
  if (scalar.kind === "constant") return scalar.value;
  return null;
}

/** Whether two sizes are the same. */
export function sameBound(a: Level["size"], b: Level["size"]): boolean {
  const size = (each: Level["size"]): Size => (typeof each === "number" ? constantSize(each) : each);
  return sameSize(size(a), size(b));
}

/** Whether a bound is 0. */
export function isZero<L extends Level>(bound: Scalar<L>): boolean {
  if (bound.kind === "constant") return bound.value === 0;
  if (bound.kind !== "size") return false;
  return typeof bound.size === "number" ? bound.size === 0 : sizeValue(bound.size as Size) === 0;
}

/** A range with bounds that are sizes, wide enough for another, and when its index is within the other. */
export interface Widened<L extends Level> {
  readonly range: Range<L>;
  readonly conditions: readonly Scalar<L>[];
}

/**
 * A range of a reduction whose bounds are sizes, with the conditions under which its index counts; null where no size
 * is known that the upper bound cannot exceed. `bodies` is what is reduced: an index that is loaded at, unguarded, is
 * within that axis.
 */
export function widen<L extends Level>(
  range: Range<L>,
  bodies: readonly Scalar<L>[],
  value: (id: ValueId) => Value<L>,
): Widened<L> | null {
  const conditions: Scalar<L>[] = [];
  let { low, high } = range;
  if (!isSize(low)) {
    conditions.push(binary("greater_equal", indexOf<L>(range), low));
    low = integer<L>(0);
  }
  if (!isSize(high)) {
    const most = upper(high) ?? axisOf(range, bodies, value);
    if (most === null) return null;
    conditions.push(binary("less", indexOf<L>(range), high));
    high = most;
  }
  return { range: { ...range, low, high }, conditions };
}

/** A size that an i32 never exceeds. */
function upper<L extends Level>(scalar: Scalar<L>): Scalar<L> | null {
  if (isSize(scalar)) return scalar;
  if (scalar.kind === "binary" && scalar.op === "min") return upper(scalar.b) ?? upper(scalar.a);
  if (scalar.kind === "select") {
    const [a, b] = [upper(scalar.then), upper(scalar.otherwise)];
    return a !== null && b !== null && sizeOf(a) === sizeOf(b) ? a : null;
  }
  return null;
}

function axisOf<L extends Level>(
  range: Range<L>,
  bodies: readonly Scalar<L>[],
  value: (id: ValueId) => Value<L>,
): Scalar<L> | null {
  for (const load of bodies.flatMap((body) => loadsAlways(body))) {
    if (load.guarded) continue;
    const axis = load.at.findIndex((at) => at.kind === "index" && at.index === range.index);
    const size = value(load.tensor).type.shape[axis];
    if (size !== undefined) return sizeScalar<L>(size);
  }
  return null;
}

/** The loads of a scalar that are made whatever its conditions are: of a branch not taken nothing need be in range. */
function loadsAlways<L extends Level>(scalar: Scalar<L>): readonly Load<L>[] {
  if (scalar.kind === "load") return [scalar];
  const made = scalar.kind === "select" ? [scalar.condition] : children(scalar);
  return made.flatMap((each) => loadsAlways(each));
}
