import type { Product } from "../../graph/analysis/product.js";
import { boundingRange, type Bounds } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { atPosition } from "../toolkit/positions.js";
import { lowerRange, withIndices, type Environment } from "../toolkit/scalar.js";

/** A tile of a product: positions from `firstM` and `firstN` on, of the bounding ranges of its axes. */
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
  environment: Environment,
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
  const at = (position: Expr): Environment =>
    mRange === null ? environment : withIndices(environment, [[mRange.index, atPosition(mRange, bounds, position)]]);
  if (mRange !== null && !boundingRange(mRange, bounds).exact) {
    const { from, to } = lowerRange(environment, mRange);
    conditions.push(
      k.greaterEqual(atPosition(mRange, bounds, lastM), from),
      k.less(atPosition(mRange, bounds, tile.firstM), to),
    );
  }
  if (!boundingRange(nRange, bounds).exact) {
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
