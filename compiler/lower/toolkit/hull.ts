/** Ranges of an equation's own indices: constant, or decided by the step of a scan around it. */
import type { Eqn, Range } from "../../graph/graph.js";
import { intervalOf, withRanges, type Bounds } from "../../graph/analysis/ranges.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { unflatten } from "./dispatch.js";
import type { Lowering } from "./lowering.js";
import type { Product } from "../../graph/analysis/product.js";
import { lowerIndex, lowerRange, withIndices, type Scope } from "./scalar.js";

/** The constants that a range lies between: `low .. high`, high excluded. */
export interface Hull {
  readonly low: number;
  readonly high: number;
  /** Whether the range is all of it, at every step. */
  readonly exact: boolean;
}

const none: Bounds = new Map();

/** The hull of a range. `bounds`: intervals of the indices around the equation. */
export function hullOf(range: Range<Concrete>, bounds: Bounds = none): Hull {
  const [low, high] = [intervalOf(range.low, bounds), intervalOf(range.high, bounds)];
  return { low: Math.max(0, low.low), high: high.high, exact: low.low === low.high && high.low === high.high };
}

/** The number of values of an equation's own index, at most. */
export function extent(range: Range<Concrete>, bounds: Bounds = none): number {
  const { low, high } = hullOf(range, bounds);
  return Math.max(0, high - low);
}

/** The value of an index at a u32 position of its hull. */
export function atPosition(range: Range<Concrete>, bounds: Bounds, position: Expr): Expr {
  return k.add(position, hullOf(range, bounds).low);
}

/** The scope with the indices of some ranges at a flat u32 position of their hulls, the last the fastest. */
export function bindPosition(scope: Scope, ranges: readonly Range<Concrete>[], bounds: Bounds, position: Expr): Scope {
  const at = unflatten(
    scope.build,
    position,
    ranges.map((range) => extent(range, bounds)),
    ranges.map((range) => range.name),
  );
  return withIndices(
    scope,
    ranges.map((range, axis) => [range.index, atPosition(range, bounds, at[axis]!)] as const),
  );
}

/** Whether the indices of a scope are in the ranges that are not their whole hull; null where all are. */
export function insideRanges(scope: Scope, ranges: readonly Range<Concrete>[], bounds: Bounds): Expr | null {
  let inside: Expr | null = null;
  for (const range of ranges) {
    if (hullOf(range, bounds).exact) continue;
    const index = lowerIndex(scope, { kind: "index", index: range.index, name: range.name });
    const { from, to } = lowerRange(scope, range);
    const within = k.and(k.greaterEqual(index, from), k.less(index, to));
    inside = inside === null ? within : k.and(inside, within);
  }
  return inside;
}

/** The intervals of an equation's own indices and of those around it. */
export function boundsOf(lowering: Lowering, eqn: Eqn<Concrete> & { readonly kind: "map" | "update" }): Bounds {
  return withRanges(lowering.bounds, eqn.indices);
}

/** A tile of a product: positions from `firstM` and `firstN` on, of the hulls of its axes. */
export interface Tile {
  readonly firstM: Expr;
  readonly rowsM: number;
  readonly firstN: Expr;
  readonly rowsN: number;
}

/**
 * Whether a tile has an element that is in the ranges, for products of which a step computes a part; null where all
 * tiles have. A bound of n may depend on m, and then grows with it.
 */
export function tileInside(
  scope: Scope,
  eqn: Eqn<Concrete> & { readonly kind: "map" | "update" },
  product: Product,
  bounds: Bounds,
  tile: Tile,
): Expr | null {
  const [mAxis, ...others] = product.m;
  if (others.length > 0 || product.batch.length > 0) return null;
  const nRange = eqn.indices[product.n]!;
  const mRange = mAxis === undefined ? null : eqn.indices[mAxis]!;
  const conditions: Expr[] = [];
  const lastM = k.add(tile.firstM, tile.rowsM - 1);
  const at = (position: Expr): Scope =>
    mRange === null ? scope : withIndices(scope, [[mRange.index, atPosition(mRange, bounds, position)]]);
  if (mRange !== null && !hullOf(mRange, bounds).exact) {
    const { from, to } = lowerRange(scope, mRange);
    conditions.push(
      k.greaterEqual(atPosition(mRange, bounds, lastM), from),
      k.less(atPosition(mRange, bounds, tile.firstM), to),
    );
  }
  if (!hullOf(nRange, bounds).exact) {
    conditions.push(
      k.greaterEqual(
        atPosition(nRange, bounds, k.add(tile.firstN, tile.rowsN - 1)),
        lowerRange(at(tile.firstM), nRange).from,
      ),
    );
    conditions.push(k.less(atPosition(nRange, bounds, tile.firstN), lowerRange(at(lastM), nRange).to));
  }
  return conditions.length === 0 ? null : conditions.reduce(k.and);
}
