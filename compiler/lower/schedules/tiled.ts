import { readsAnywhere, type Product, type ProductTerm } from "../../graph/analysis/product.js";
import type { Eqn, IndexId } from "../../graph/graph.js";
import { constantOf, withoutCasts } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { eachAround } from "../product/around.js";
import { leftValue } from "../product/left.js";
import { dependsOnToken, isSummed, summedColumns, type SummedColumns, type Tokens } from "../product/summed-columns.js";
import { rowAt, storedUnit } from "../product/right.js";
import { tileInside, tilePlace } from "../product/tile.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { atPosition, boundsOf, insideRanges } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerRange, lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * A tile of m x n results a workgroup, held in registers of `tm` x `tn` an invocation, over slices of `k` columns
 * staged in workgroup memory as f32, where a packed weight is unpacked once for the whole tile.
 */
export interface TileShape {
  readonly kind: "tiled";
  readonly threads: readonly [number, number];
  readonly tm: number;
  readonly tn: number;
  readonly k: number;
}

/** Whether it applies: where the range of k is not all from 0 to a constant, slices reach beyond it. */
export function tiledApplies(lowering: Lowering, product: Product, eqn: Elements): boolean {
  return product.terms.every((term) => {
    const { index, low, high } = term.column;
    if (constantOf(low) === 0 && constantOf(high) !== null) return true;
    const perToken = [low, high].some((bound) => dependsOnToken(eqn, product, bound));
    return readsAnywhere(term.right, index) && (!perToken || axisExtents(lowering, term) !== null);
  });
}

/** What may be tried for a product on a device, the best guess first. */
export function tiledCuts(product: Product, target: Target): readonly TileShape[] {
  const columns = Math.max(...product.terms.map((term) => term.rows?.unit?.columns ?? 1));
  const pair = product.terms.length > 1;
  const { m, n } = product.sizes;
  // few tokens: all of them in one tile, so that a weight is unpacked once; many: 64 sums an invocation, and slices as
  // short as a unit allows, for workgroup memory decides how many tiles are under way (bench/h100.md)
  const few: readonly TileShape[] = [
    { kind: "tiled", threads: [32, 4], tm: 4, tn: 2, k: 64 },
    { kind: "tiled", threads: [64, 2], tm: 8, tn: 2, k: 32 },
  ];
  const k = Math.max(16, columns);
  const narrow: TileShape = { kind: "tiled", threads: [8, 16], tm: 4, tn: 4, k };
  const wide: TileShape = { kind: "tiled", threads: [16, 8], tm: 8, tn: pair ? 4 : 8, k };
  const others: readonly TileShape[] = [
    { ...wide, threads: [8, 8] },
    { ...wide, threads: [16, 16] },
    { ...wide, threads: [16, 16], tm: 4, tn: 4 },
    { ...wide, tm: 4 },
  ];
  const wanted =
    m <= 16
      ? [...(columns > 32 ? few : few.toReversed()), narrow]
      : n <= 32
        ? [narrow, wide]
        : [wide, ...others, narrow];
  const words = (tile: TileShape): number =>
    tile.k * (tile.threads[1] * tile.tm + product.terms.length * tile.threads[0] * tile.tn);
  return wanted.map((each) => {
    let tile = each;
    while (4 * words(tile) > target.maxWorkgroupMemory && tile.tm * tile.tn > 1)
      tile = tile.tm >= tile.tn ? { ...tile, tm: tile.tm / 2 } : { ...tile, tn: tile.tn / 2 };
    return tile;
  });
}

/** A product for many tokens. */
export function tiled(lowering: Lowering, eqn: Elements, product: Product, tile: TileShape): Kernel {
  const build = lowering.builder();
  const bounds = boundsOf(lowering, eqn);
  const size = tile.threads[0] * tile.threads[1];
  const rowsM = tile.threads[1] * tile.tm;
  const rowsN = tile.threads[0] * tile.tn;
  const place = tilePlace(lowering, build, eqn, product, { threads: tile.threads, rowsM, rowsN });
  const { firstM, firstN, local, threadM, threadN, bindAxes, batched } = place;
  const tokenEnvironment = (m: Expr, around = batched): Environment => bindAxes(around, m, product.m);

  const accumulators = new Map<ProductTerm, Expr[][]>(
    product.terms.map((term) => [
      term,
      Array.from({ length: tile.tm }, () => Array.from({ length: tile.tn }, () => build.variable("acc", k.f32(0)))),
    ]),
  );
  const leftTile = build.array("left_tile", "f32", tile.k * rowsM);
  const rightTiles = product.terms.map((_, at) => build.array(`right_tile_${at}`, "f32", tile.k * rowsN));

  const wanted = tileInside(batched, eqn, product, bounds, place);
  const body = (): void => {
    // terms that share their left side and range are summed in one pass over k
    for (const group of passes(lowering, product.terms)) {
      const range = group[0]!.column;
      const summed = termColumns(lowering, eqn, product, group[0]!, {
        first: firstM,
        count: rowsM,
        around: batched,
        at: (m) => tokenEnvironment(m),
      });
      const perToken = [range.low, range.high].some((bound) => dependsOnToken(eqn, product, bound));
      const walk = (around: Environment): void =>
        build.loop(
          "slice",
          summed.from === null ? k.u32(0) : k.mul(k.div(summed.from, tile.k), tile.k),
          summed.to,
          (slice) => {
            // left[kk][m]
            build.loop(
              "at",
              local,
              k.u32(tile.k * rowsM),
              (at) => {
                const kk = build.bind("kk", k.rem(at, tile.k));
                const m = build.bind("m", k.div(at, tile.k));
                const column = build.bind("column", k.add(slice, kk));
                const token = build.bind("token", k.add(firstM, m));
                const value = build.variable("left", k.f32(0));
                build.when(k.and(k.less(token, product.sizes.m), isSummed(summed, column)), () => {
                  const environment = withIndices(tokenEnvironment(token, around), [[range.index, column]]);
                  if (!perToken) build.assign(value, leftValue(environment, group[0]!));
                  else {
                    const own = lowerRange(environment, range);
                    build.when(isSummed({ from: summed.from === null ? null : own.from, to: own.to }, column), () =>
                      build.assign(value, leftValue(environment, group[0]!)),
                    );
                  }
                });
                build.add(k.storeShared(leftTile, k.add(k.mul(kk, rowsM), m), value));
              },
              size,
            );
            group.forEach((term) =>
              stageRight(lowering, build, product, term, {
                tile,
                rowsN,
                size,
                slice,
                summed,
                firstN,
                array: rightTiles[product.terms.indexOf(term)]!,
                columnEnvironment: (n) => bindAxes(around, n, [product.n]),
                local,
              }),
            );
            build.barrier();
            build.loop("kk", k.u32(0), k.u32(tile.k), (kk) => {
              const left = Array.from({ length: tile.tm }, (_, i) =>
                build.bind(
                  "a",
                  k.loadShared(leftTile, "f32", k.add(k.mul(kk, rowsM), k.add(k.mul(threadM, tile.tm), i))),
                ),
              );
              for (const term of group) {
                const array = rightTiles[product.terms.indexOf(term)]!;
                const right = Array.from({ length: tile.tn }, (_, j) =>
                  build.bind(
                    "b",
                    k.loadShared(array, "f32", k.add(k.mul(kk, rowsN), k.add(threadN, j * tile.threads[0]))),
                  ),
                );
                accumulators
                  .get(term)!
                  .forEach((row, i) =>
                    row.forEach((accumulator, j) => build.assign(accumulator, k.fma(left[i]!, right[j]!, accumulator))),
                  );
              }
            });
            build.barrier();
          },
          tile.k,
        );
      eachAround(batched, group, walk);
    }

    for (let i = 0; i < tile.tm; i++) {
      for (let j = 0; j < tile.tn; j++) {
        const m = build.bind("m", k.add(firstM, k.add(k.mul(threadM, tile.tm), i)));
        const n = build.bind("n", k.add(firstN, k.add(threadN, j * tile.threads[0])));
        build.when(k.and(k.less(m, product.sizes.m), k.less(n, product.sizes.n)), () => {
          const environment = withIndices(tokenEnvironment(m), [
            [eqn.indices[product.n]!.index, atPosition(eqn.indices[product.n]!, bounds, n)],
          ]);
          const known = withKnown(
            environment,
            product.terms.map(
              (term) => [term.reduce, k.convert(term.reduce.dtype, accumulators.get(term)![i]![j]!)] as const,
            ),
          );
          const store = (): void => storeElement(lowering, known, eqn, lowerScalar(known, eqn.body));
          const inside = insideRanges(environment, eqn.indices, bounds);
          if (inside === null) store();
          else build.when(inside, store);
        });
      }
    }
  };
  return place.finish("tiled", [wanted], body);
}

/** Terms grouped by left side and range, and by where their axes end. */
export function passes(lowering: Lowering, terms: readonly ProductTerm[]): readonly (readonly ProductTerm[])[] {
  const groups = new Map<string, ProductTerm[]>();
  for (const term of terms) {
    const bounds = [term.column, ...term.around].flatMap(({ low, high }) => [low, high]);
    const key = `${term.leftKey} ${JSON.stringify(bounds)} ${axisExtents(lowering, term)}`;
    groups.set(key, [...(groups.get(key) ?? []), term]);
  }
  return [...groups.values()];
}

/** The columns that a tile sums over for a term, which end with the axes that its k stands on alone. */
function termColumns(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  term: ProductTerm,
  tokens: Tokens,
): SummedColumns {
  const range = term.column;
  const summed = summedColumns(lowering, eqn, product, range, tokens);
  const size = constantOf(range.high) === null ? axisExtents(lowering, term) : null;
  return size === null ? summed : { ...summed, to: tokens.around.build.bind("end", k.min(summed.to, size)) };
}

/** The smallest extent of an axis on which the term's k stands alone, or null: past it, every product is zero. */
export function axisExtents(lowering: Lowering, term: ProductTerm): number | null {
  const index: IndexId = term.column.index;
  let smallest: number | null = null;
  for (const factor of [...term.left, ...term.right]) {
    const load = withoutCasts(factor);
    if (load.kind !== "load") continue;
    load.at.forEach((at, axis) => {
      if (at.kind !== "index" || at.index !== index) return;
      const size = lowering.graph.values[load.tensor]!.type.shape[axis]!;
      smallest = smallest === null ? size : Math.min(smallest, size);
    });
  }
  return smallest;
}

interface RightStage {
  readonly tile: TileShape;
  readonly rowsN: number;
  readonly size: number;
  readonly slice: Expr;
  readonly summed: SummedColumns;
  readonly firstN: Expr;
  readonly array: string;
  readonly columnEnvironment: (n: Expr) => Environment;
  readonly local: Expr;
}

/** right[kk][n]: through stored units where the format has them, else element by element. */
function stageRight(
  lowering: Lowering,
  build: KernelBuilder,
  product: Product,
  term: ProductTerm,
  stage: RightStage,
): void {
  const { tile, rowsN, size, slice, summed, firstN, array, columnEnvironment, local } = stage;
  const rows = term.rows;
  const unit = rows?.unit ?? null;
  const range = term.column;
  if (
    rows !== null &&
    unit !== null &&
    !rows.load.guarded &&
    tile.k % unit.columns === 0 &&
    constantOf(range.high) === rows.shape.columns &&
    constantOf(range.low) === 0
  ) {
    const units = tile.k / unit.columns;
    build.loop(
      "at",
      local,
      k.u32(units * rowsN),
      (at) => {
        // neighbours read neighbouring units of a row
        const n = build.bind("n", k.div(at, units));
        const u = build.bind("u", k.rem(at, units));
        const offset = (column: number | Expr): Expr => k.add(k.mul(k.add(k.mul(u, unit.columns), column), rowsN), n);
        for (let column = 0; column < unit.columns; column++)
          if (unit.entries !== unit.columns) build.add(k.storeShared(array, offset(column), k.f32(0)));
        const inside = k.and(
          k.less(k.add(firstN, n), product.sizes.n),
          k.less(k.add(slice, k.mul(u, unit.columns)), summed.to),
        );
        const zero = (): void => {
          for (let column = 0; column < unit.columns; column++)
            build.add(k.storeShared(array, offset(column), k.f32(0)));
        };
        build.when(
          build.bind("inside", inside),
          () => {
            const environment = columnEnvironment(k.add(firstN, n));
            const row = rowAt(lowering.graph, rows, environment);
            const stored = storedUnit(
              lowering,
              build,
              rows,
              row,
              build.bind("unit", k.add(k.div(slice, unit.columns), u)),
            );
            const scale = stored.scale === null ? null : build.bind("scale", stored.scale);
            for (const entry of stored.entries) {
              const shifted = stored.zero === null ? entry.value : k.sub(entry.value, stored.zero);
              build.add(k.storeShared(array, offset(entry.column), scale === null ? shifted : k.mul(shifted, scale)));
            }
          },
          unit.entries === unit.columns ? zero : undefined,
        );
      },
      size,
    );
    return;
  }
  const contiguous = rows !== null;
  build.loop(
    "at",
    local,
    k.u32(tile.k * rowsN),
    (at) => {
      // neighbours read neighbours: along k where right is read along k, else along n
      const kk = build.bind("kk", contiguous ? k.rem(at, tile.k) : k.div(at, rowsN));
      const n = build.bind("n", contiguous ? k.div(at, tile.k) : k.rem(at, rowsN));
      const column = build.bind("column", k.add(slice, kk));
      const value = build.variable("right", k.f32(0));
      build.when(k.and(k.less(k.add(firstN, n), product.sizes.n), isSummed(summed, column)), () => {
        const environment = withIndices(columnEnvironment(k.add(firstN, n)), [[range.index, column]]);
        build.assign(
          value,
          term.right.map((factor) => k.convert("f32", lowerScalar(environment, factor))).reduce((a, b) => k.mul(a, b)),
        );
      });
      build.add(k.storeShared(array, k.add(k.mul(kk, rowsN), n), value));
    },
    size,
  );
}
