/** The walk of a product by matrices over its columns: slices staged, and multiplied into the results. */
import type { SummedColumns } from "../product/summed-columns.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { eachAround } from "../product/around.js";
import { run, type MatrixProduct, type MatrixSide } from "../product/matrix-sides.js";
import { stagingOf, vectorAt, vectorOf, type Staged } from "../product/matrix-staging.js";
import { lowerRange, type Environment } from "../toolkit/scalar.js";
import { leftInMemory } from "./matrix-left.js";
import { matricesOf, slicesHeld, stepOf, takesTrips } from "./matrix-tile.js";
import type { Results, TileContext } from "./matrix-context.js";
import { walkTrips } from "./matrix-trips.js";

/** Result matrices of a tile's subgroup, zero. */
export function resultsOf({ build, tile }: TileContext, terms: number): Results {
  const [matricesM, matricesN] = matricesOf(tile);
  return upTo(terms).map(() =>
    upTo(matricesM).map(() =>
      upTo(matricesN).map(() => {
        const name = build.fresh("sum");
        build.add({ kind: "matrix", name });
        return name;
      }),
    ),
  );
}

/** What a walk adds to, and where it ends. */
export interface Walk {
  /** Made when first asked for. */
  readonly results: () => Results;
  /** The columns that the tile sums over; null: all. */
  readonly summed: SummedColumns | null;
  readonly tokenEnvironment: (m: Expr) => Environment;
}

/** The walks over k, one for each value of the indices around it. */
export function accumulate(context: TileContext, environment: Environment, sides: MatrixProduct, walk: Walk): void {
  const { build, partOfTile, tile } = context;
  const { inner } = sides.left;
  const columns = Math.ceil(inner / stepOf(tile) / tile.parts) * stepOf(tile);
  const begin = partOfTile === null ? k.u32(0) : build.bind("begin", k.mul(partOfTile, columns));
  const end =
    partOfTile !== null
      ? build.bind("end", k.min(k.add(begin, columns), inner))
      : walk.summed === null
        ? k.u32(inner)
        : build.bind("end", k.min(walk.summed.to, inner));
  const terms = sides.right.map(({ term }) => term);
  // the sums of all walks: outside of their loops
  if (terms.some(({ around }) => around.length > 0)) walk.results();
  eachAround(environment, terms, (around) =>
    takesTrips(tile)
      ? walkTrips(context, tile, around, sides, walk.results(), { begin, end })
      : walkColumns(context, around, sides, walk, { begin, end }),
  );
}

/** The walk over k, along the columns that the tile sums over. */
function walkColumns(
  context: TileContext,
  environment: Environment,
  sides: MatrixProduct,
  walk: Walk,
  { begin, end }: { readonly begin: Expr; readonly end: Expr },
): void {
  const { lowering, build, array, tile, size, firstM, firstN, ownM, ownN, partOfK } = context;
  const { slice, subgroups } = tile;
  const { bound } = sides;
  const endOf = (m: Expr): Expr =>
    k.min(lowerRange(walk.tokenEnvironment(k.min(m, sides.left.outer - 1)), bound!).to, sides.left.inner);
  let base = 0;
  const stagedOf = (side: MatrixSide, rows: number, first: Expr): Staged => {
    const staged = stagingOf(
      { lowering, build, array, size, slice, distance: sides.distance, rows, first, environment },
      side,
      base,
      bound === null ? null : { tile: end, row: side === sides.left ? endOf : () => end },
    );
    base += slicesHeld(tile) * staged.vectors;
    return staged;
  };
  const left = tile.left === "memory" ? null : stagedOf(sides.left, tile.tokens, firstM);
  const right = sides.right.map((side) => stagedOf(side, tile.rows, firstN));
  const all = left === null ? right : [left, ...right];
  const [matricesM, matricesN] = matricesOf(tile);
  const results = walk.results();
  // where the subgroup's part of a slice begins, and its first row of each side, in vectors
  const part = slice / subgroups[2];
  const startOf = (staged: Staged, own: Expr): Expr => {
    const column = partOfK === null ? k.u32(0) : build.bind("own_k", k.mul(partOfK, part));
    return build.bind(
      "own",
      k.add(
        staged.side.along === "k"
          ? k.add(k.mul(own, staged.stride), vectorAt(column))
          : k.add(k.mul(column, staged.stride), k.div(own, run)),
        staged.base,
      ),
    );
  };
  const starts = new Map(all.map((staged) => [staged, startOf(staged, staged === left ? ownM : ownN)]));
  const inMemory =
    left === null
      ? leftInMemory(
          context,
          environment,
          sides.left,
          partOfK === null ? null : k.div(build.bind("own_k", k.mul(partOfK, part)), run),
        )
      : null;
  /** Left matrices that come straight from memory, by column: of the slice from column `from` on. */
  const early = (from: Expr): ReadonlyMap<number, readonly string[]> =>
    new Map(
      inMemory === null
        ? []
        : upTo(part / matrixSize).map((step) => [
            step * matrixSize,
            inMemory(k.add(k.div(from, run), (step * matrixSize) / run)),
          ]),
    );
  /** The slice in workgroup memory; of two, that whose vectors come so far after the first's. */
  const multiply = (offsetOf: (staged: Staged) => Expr, before: ReturnType<typeof early> = new Map()): void => {
    const here = new Map(
      all.map((staged) => [staged, build.bind("from", k.add(starts.get(staged)!, offsetOf(staged)))]),
    );
    for (let column = 0; column < part; column += matrixSize) {
      const load = (staged: Staged, role: "left" | "right", matrix: number): string => {
        const name = build.fresh(role);
        const byColumn = staged.side.along === "k";
        const offset = byColumn
          ? matrix * matrixSize * staged.stride + vectorOf(column)
          : column * staged.stride + (matrix * matrixSize) / run;
        // a left matrix has m for its rows and k for its columns, a right one k for its rows and n for its columns
        build.add({
          kind: "load_matrix",
          name,
          role,
          array,
          index: k.add(here.get(staged)!, offset),
          stride: k.u32(staged.stride),
          columns: (role === "left") !== byColumn,
        });
        return name;
      };
      const lefts = before.get(column) ?? upTo(matricesM).map((i) => load(left!, "left", i));
      right.forEach((side, term) =>
        upTo(matricesN).forEach((j) => {
          const name = load(side, "right", j);
          lefts.forEach((each, i) =>
            build.add({ kind: "multiply_matrices", result: results[term]![i]![j]!, left: each, right: name }),
          );
        }),
      );
    }
  };
  // all loads first, so that they are under way together
  const load = (from: Expr): readonly (readonly Expr[])[] => all.map((staged) => staged.load(from));
  const store = (from: Expr, loaded: readonly (readonly Expr[])[], offsetOf: (staged: Staged) => Expr): void =>
    all.forEach((staged, at) => staged.store(from, loaded[at]!, offsetOf(staged)));
  const atFirst = (): Expr => k.u32(0);
  // beyond the last slice it is loaded again, and not stored
  const loadFrom = (from: Expr): readonly (readonly Expr[])[] =>
    load(build.bind("there", k.min(from, lastSlice(sides.left.inner, slice))));
  let held: readonly (readonly Expr[])[] = [];
  const hold = (loaded: readonly (readonly Expr[])[]): readonly (readonly Expr[])[] =>
    loaded.map((some) => some.map((value) => build.variable("held", value)));
  const move = (to: readonly (readonly Expr[])[], from: readonly (readonly Expr[])[]): void =>
    to.forEach((some, side) => some.forEach((value, at) => build.assign(value, from[side]![at]!)));
  const inRegisters = Math.max(0, tile.ahead - 2);
  const queue = upTo(inRegisters).map((at) =>
    hold(at === 0 && tile.parts === 1 ? load(begin) : loadFrom(k.add(begin, at * slice))),
  );
  if (tile.ahead === 1 || tile.ahead === 2) {
    store(k.u32(0), load(k.u32(0)), atFirst);
    if (tile.ahead === 2) held = hold(loadFrom(k.u32(slice)));
    build.barrier();
  }
  build.loop(
    "slice",
    begin,
    end,
    (from) => {
      if (tile.ahead === 0) {
        const lefts = early(from);
        store(from, load(from), atFirst);
        build.barrier();
        multiply(atFirst, lefts);
      } else if (inRegisters > 0) {
        const lefts = early(from);
        store(from, queue[0]!, atFirst);
        build.barrier();
        const loaded = loadFrom(k.add(from, inRegisters * slice));
        queue.forEach((some, at) => move(some, queue[at + 1] ?? loaded));
        multiply(atFirst, lefts);
      } else {
        const odd = build.bind("odd", k.rem(k.div(from, slice), 2));
        const next = build.bind("next", k.add(from, slice));
        const storeNext = (loaded: readonly (readonly Expr[])[]): void =>
          build.when(k.less(next, end), () =>
            store(next, loaded, (staged) => build.bind("other", k.mul(k.sub(k.u32(1), odd), staged.vectors))),
          );
        const here = (staged: Staged): Expr => k.mul(odd, staged.vectors);
        const lefts = early(from);
        if (tile.ahead === 1) {
          const loaded = loadFrom(next);
          multiply(here, lefts);
          storeNext(loaded);
        } else {
          storeNext(held);
          const loaded = loadFrom(k.add(next, slice));
          multiply(here, lefts);
          move(held, loaded);
        }
      }
      build.barrier();
    },
    slice,
  );
}

/** First column of the last slice. */
const lastSlice = (inner: number, slice: number): number => (Math.ceil(inner / slice) - 1) * slice;
