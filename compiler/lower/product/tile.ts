import type { Product } from "../../graph/analysis/product.js";
import { boundingRange, type Bounds } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { isWanted, spread, unflatten, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { atPosition, axisBinder, boundsOf } from "../toolkit/positions.js";
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

/** A kernel whose workgroups have a tile of a product each, and its invocations a place in it. */
export interface TilePlace extends Tile {
  readonly tileM: Expr;
  readonly tileN: Expr;
  readonly local: Expr;
  readonly threadM: Expr;
  readonly threadN: Expr;
  /** The environment of the batch. */
  readonly batched: Environment;
  readonly bindAxes: ReturnType<typeof axisBinder>;
  /** The kernel of what `body` adds where the tile is one of the product's, under these conditions, null for always. */
  finish(schedule: string, conditions: readonly (Expr | null)[], body: () => void): Kernel;
}

/** Begins a kernel of tiles of `rowsM` x `rowsN` by `threads` invocations along n and m. */
export function tilePlace(
  lowering: Lowering,
  build: KernelBuilder,
  eqn: Eqn<Concrete> & { readonly kind: "map" | "update" },
  product: Product,
  {
    threads,
    rowsM,
    rowsN,
  }: { readonly threads: readonly [number, number]; readonly rowsM: number; readonly rowsN: number },
): TilePlace {
  const { sizes } = product;
  const counts = [sizes.batch, Math.ceil(sizes.m / rowsM), Math.ceil(sizes.n / rowsN)];
  const count = counts.reduce((a, b) => a * b);
  const workgroups = spread(count);
  const local = k.builtin("local_index");
  const position = build.bind("tile", workgroupPosition(workgroups));
  const [batchAt, tileM, tileN] = unflatten(build, position, counts, ["batch", "tile_m", "tile_n"]) as [
    Expr,
    Expr,
    Expr,
  ];
  const firstM = build.bind("first_m", k.mul(tileM, rowsM));
  const firstN = build.bind("first_n", k.mul(tileN, rowsN));
  const threadN = build.bind("thread_n", k.rem(local, threads[0]));
  const threadM = build.bind("thread_m", k.div(local, threads[0]));
  const bindAxes = axisBinder(eqn, boundsOf(lowering, eqn));
  const batched = bindAxes(lowering.environment(build), batchAt, product.batch);
  return {
    tileM,
    tileN,
    firstM,
    rowsM,
    firstN,
    rowsN,
    local,
    threadM,
    threadN,
    batched,
    bindAxes,
    finish(schedule, conditions, body) {
      const all = [isWanted(workgroups, count, position), ...conditions].filter((condition) => condition !== null);
      if (all.length === 0) body();
      else build.when(all.reduce(k.and), body);
      return build.finish({
        name: lowering.nameOf(eqn),
        workgroupSize: [threads[0] * threads[1], 1, 1],
        workgroups,
        schedule,
        values: lowering.valuesOf(eqn),
      });
    },
  };
}
