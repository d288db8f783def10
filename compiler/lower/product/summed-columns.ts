/** Which columns the tokens of a tile sum over, all together. */
import type { Product } from "../../graph/analysis/product.js";
import { coefficientOf, extent, boundingRange } from "../../graph/analysis/ranges.js";
import type { Eqn, Range, Scalar } from "../../graph/graph.js";
import { constantOf, freeIndices } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerRange, type Environment } from "../toolkit/scalar.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * Columns `from` .. `to`, u32, the same for the whole tile; `from` null: 0. What lies outside of them no token of the
 * tile sums over, and it may be memory that nobody wrote: neither side may be taken from there, for 0 * NaN is NaN.
 */
export interface SummedColumns {
  readonly from: Expr | null;
  readonly to: Expr;
}

/** Tokens of a tile: `count` positions of the product's axes m, from `first` on. */
export interface Tokens {
  readonly first: Expr;
  readonly count: number;
  /** The environment around the tile. */
  readonly around: Environment;
  /** The environment of the token at a position. */
  readonly at: (position: Expr) => Environment;
}

/** Whether a bound is another one for other tokens. */
export function dependsOnToken(eqn: Elements, product: Product, bound: Scalar<Concrete>): boolean {
  const free = freeIndices(bound);
  return product.m.some((axis) => free.has(eqn.indices[axis]!.index));
}

/** The columns that a tile sums over `range`. */
export function summedColumns(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  range: Range<Concrete>,
  tokens: Tokens,
): SummedColumns {
  const { build } = tokens.around;
  const { count, first } = tokens;
  const bounds = boundsOf(lowering, eqn);
  const [sole = null, ...others] = product.m.map((axis) => eqn.indices[axis]!).filter((own) => extent(own, bounds) > 1);
  /** The position itself, or the nearest of a token that there is. */
  const there = (position: Expr): Expr => {
    const last = k.min(position, product.sizes.m - 1);
    if (sole === null || others.length > 0 || boundingRange(sole, bounds).exact) return last;
    const { low } = boundingRange(sole, bounds);
    const { from, to } = lowerRange(tokens.around, sole);
    return k.sub(k.max(k.min(k.add(last, low), k.sub(to, 1)), from), low);
  };
  const boundAt = (position: Expr, end: "from" | "to"): Expr =>
    lowerRange(tokens.at(build.bind("m", there(position))), range)[end];
  /** The least or the greatest bound of the tokens. */
  const extreme = (bound: Scalar<Concrete>, end: "from" | "to"): Expr => {
    if (!dependsOnToken(eqn, product, bound)) return build.bind(end, boundAt(first, end));
    const growth = sole === null || others.length > 0 ? null : coefficientOf(bound, sole.index);
    if (growth !== null) {
      const atLast = growth >= 0 === (end === "to");
      return build.bind(end, boundAt(atLast ? k.add(first, count - 1) : first, end));
    }
    const found = build.variable(end, k.u32(end === "to" ? 0 : 0xffffffff));
    build.loop("token", k.u32(0), k.u32(count), (token) => {
      const bound = boundAt(k.add(first, token), end);
      build.assign(found, end === "to" ? k.max(found, bound) : k.min(found, bound));
    });
    return found;
  };
  const [low, high] = [constantOf(range.low), constantOf(range.high)];
  return {
    from: low === 0 ? null : low === null ? extreme(range.low, "from") : k.u32(Math.max(0, low)),
    to: high === null ? extreme(range.high, "to") : k.u32(Math.max(0, high)),
  };
}

/** Whether a column is among those summed. */
export function isSummed({ from, to }: SummedColumns, column: Expr): Expr {
  return from === null ? k.less(column, to) : k.and(k.greaterEqual(column, from), k.less(column, to));
}
