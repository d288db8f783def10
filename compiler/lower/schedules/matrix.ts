import type { Product } from "../../graph/analysis/product.js";
import { hasSymmetricBody } from "../../graph/analysis/symmetric.js";
import type { Eqn } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { run, type MatrixProduct, type MatrixSide } from "../product/matrix-sides.js";
import { stagingOf, vectorAt, vectorOf, type Staged } from "../product/matrix-staging.js";
import { summedColumns, type SummedColumns } from "../product/summed-columns.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { isWanted, spread, workgroupPosition } from "../toolkit/dispatch.js";
import { bindPosition, boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerRange, lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { fixedSubgroup } from "../toolkit/team.js";

import {
  matricesOf,
  slicesHeld,
  stripMatrices,
  stripStride,
  workgroupVectors,
  type MatrixTile,
} from "./matrix-tile.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Tokens from which on a tile that is mostly padding costs less than reading the activations again for every row. */
const leastTokens = 9;

/** Products of fewer tokens are bound by memory, and of fewer outputs or columns by their start. */
export function matrixPays(product: Product): boolean {
  return (
    product.sizes.m >= leastTokens &&
    product.sizes.n >= 32 &&
    product.sizes.m * product.sizes.n >= 4096 &&
    (constantOf(product.terms[0]!.reduce.over[0]!.high) ?? Infinity) >= 32
  );
}

/**
 * A product by matrices of 16 x 16: slices of both sides are staged in workgroup memory as they lie, packed ones
 * unpacked to f16, and each subgroup keeps a few result matrices. Where the result is symmetric, tiles above the diagonal are left to those below it.
 */
export function matrix(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  sides: MatrixProduct,
  tile: MatrixTile,
): Kernel {
  const build = lowering.builder();
  const bounds = boundsOf(lowering, eqn);
  const lanes = fixedSubgroup(lowering.target)!;
  const [subgroupsM, subgroupsN, subgroupsK] = tile.subgroups;
  const size = lanes * subgroupsM * subgroupsN * subgroupsK;
  const [rowsM, rowsN] = [tile.tokens, tile.rows];
  const { m, n, batch } = product.sizes;
  const counts = [batch, Math.ceil(m / rowsM), Math.ceil(n / rowsN)];
  const count = counts.reduce((a, b) => a * b, 1);
  const workgroups = spread(count);
  const position = build.bind("tile", workgroupPosition(workgroups));
  const symmetric =
    rowsM === rowsN && product.terms.length === 1 && eqn.indices.length === 2 && batch === 1 && hasSymmetricBody(eqn);

  const body = (): void => {
    const [batchAt, tileM, tileN] = tileAt(build, position, counts);
    const work = (): void => {
      const batched = bindPosition(
        lowering.environment(build),
        product.batch.map((axis) => eqn.indices[axis]!),
        bounds,
        batchAt,
      );
      const firstM = build.bind("first_m", k.mul(tileM, rowsM));
      const firstN = build.bind("first_n", k.mul(tileN, rowsN));
      const group = build.bind("group", k.builtin("subgroup_index"));
      const inPart = subgroupsK === 1 ? group : build.bind("in_part", k.rem(group, subgroupsM * subgroupsN));
      const context: TileContext = {
        lowering,
        build,
        array: build.array(
          "tiles",
          "vec4<u32>",
          workgroupVectors(tile, sides, { slice: tile.slice, size, distance: sides.distance }),
        ),
        tile,
        size,
        lanes,
        firstM,
        firstN,
        ownM: build.bind("own_m", k.mul(k.div(inPart, subgroupsN), rowsM / subgroupsM)),
        ownN: build.bind("own_n", k.mul(k.rem(inPart, subgroupsN), rowsN / subgroupsN)),
        partOfK: subgroupsK === 1 ? null : build.bind("part", k.div(group, subgroupsM * subgroupsN)),
      };
      const tokenEnvironment = (m: Expr): Environment =>
        bindPosition(
          batched,
          product.m.map((axis) => eqn.indices[axis]!),
          bounds,
          m,
        );
      const summed =
        sides.bound === null
          ? null
          : summedColumns(lowering, eqn, product, sides.bound, {
              first: firstM,
              count: rowsM,
              around: batched,
              at: tokenEnvironment,
            });
      const results = accumulate(context, batched, sides, summed, tokenEnvironment);
      const environmentAt = (m: Expr, n: Expr): Environment =>
        withIndices(tokenEnvironment(m), [[eqn.indices[product.n]!.index, n]]);
      const finish = (sums: readonly Expr[], m: Expr, n: Expr): void => {
        const environment = withKnown(
          environmentAt(m, n),
          product.terms.map((term, at) => [term.reduce, sums[at]!] as const),
        );
        storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
      };
      const mirrored = symmetric ? k.notEqual(tileM, tileN) : null;
      writeResults(context, results, { m, n, group, mirrored, finish });
    };
    if (symmetric) build.when(k.lessEqual(tileN, tileM), work);
    else work();
  };
  const wanted = isWanted(workgroups, count, position);
  if (wanted === null) body();
  else build.when(wanted, body);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [size, 1, 1],
    workgroups,
    schedule: "matrix",
    values: lowering.valuesOf(eqn),
  });
}

/** Tile rows that are walked together, so that what workgroups under way at one time read stays in a cache. */
const bandRows = 8;

/**
 * The batch, and the tile along m and n, of a position: in bands of a few tile rows, column by column within a band.
 */
function tileAt(
  build: KernelBuilder,
  position: Expr,
  [, rows = 1, columns = 1]: readonly number[],
): readonly [Expr, Expr, Expr] {
  const inBatch = rows * columns;
  const at = build.bind("at", k.rem(position, inBatch));
  const band = build.bind("band", k.div(at, bandRows * columns));
  const inBand = build.bind("in_band", k.rem(at, bandRows * columns));
  const height =
    rows % bandRows === 0
      ? k.u32(bandRows)
      : build.bind("height", k.min(k.sub(k.u32(rows), k.mul(band, bandRows)), bandRows));
  return [
    build.bind("batch", k.div(position, inBatch)),
    build.bind("tile_m", k.add(k.mul(band, bandRows), k.rem(inBand, height))),
    build.bind("tile_n", k.div(inBand, height)),
  ];
}

/** Where the kernel is: its tile, the first row and column of the subgroup's matrices in it, and its part of k. */
interface TileContext {
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  /** Workgroup memory of vec4<u32>: the slices, and after them the results. */
  readonly array: string;
  readonly tile: MatrixTile;
  readonly size: number;
  readonly lanes: number;
  readonly firstM: Expr;
  readonly firstN: Expr;
  readonly ownM: Expr;
  readonly ownN: Expr;
  /** Null where each subgroup takes all of k. */
  readonly partOfK: Expr | null;
}

/** Names of result matrices by term, along m, along n. */
type Results = readonly (readonly (readonly string[])[])[];

/** The walk over k, up to the end of the columns that the tile sums over. */
function accumulate(
  context: TileContext,
  environment: Environment,
  sides: MatrixProduct,
  summed: SummedColumns | null,
  tokenEnvironment: (m: Expr) => Environment,
): Results {
  const { lowering, build, array, tile, size, firstM, firstN, ownM, ownN, partOfK } = context;
  const { slice, subgroups } = tile;
  const { bound } = sides;
  const end = summed === null ? k.u32(sides.left.inner) : build.bind("end", k.min(summed.to, sides.left.inner));
  const endOf = (m: Expr): Expr =>
    k.min(lowerRange(tokenEnvironment(k.min(m, sides.left.outer - 1)), bound!).to, sides.left.inner);
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
  const left = stagedOf(sides.left, tile.tokens, firstM);
  const right = sides.right.map((side) => stagedOf(side, tile.rows, firstN));
  const all = [left, ...right];
  const [matricesM, matricesN] = matricesOf(tile);
  const results = right.map(() =>
    upTo(matricesM).map(() =>
      upTo(matricesN).map(() => {
        const name = build.fresh("sum");
        build.add({ kind: "matrix", name });
        return name;
      }),
    ),
  );
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
  /** The slice in workgroup memory; of two, that whose vectors come so far after the first's. */
  const multiply = (offsetOf: (staged: Staged) => Expr): void => {
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
      const lefts = upTo(matricesM).map((i) => load(left, "left", i));
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
  if (tile.ahead > 0) {
    store(k.u32(0), load(k.u32(0)), atFirst);
    if (tile.ahead === 2)
      held = loadFrom(k.u32(slice)).map((some) => some.map((value) => build.variable("held", value)));
    build.barrier();
  }
  build.loop(
    "slice",
    k.u32(0),
    end,
    (from) => {
      if (tile.ahead === 0) {
        store(from, load(from), atFirst);
        build.barrier();
        multiply(atFirst);
      } else {
        const odd = build.bind("odd", k.rem(k.div(from, slice), 2));
        const next = build.bind("next", k.add(from, slice));
        const storeNext = (loaded: readonly (readonly Expr[])[]): void =>
          build.when(k.less(next, end), () =>
            store(next, loaded, (staged) => build.bind("other", k.mul(k.sub(k.u32(1), odd), staged.vectors))),
          );
        const here = (staged: Staged): Expr => k.mul(odd, staged.vectors);
        if (tile.ahead === 1) {
          const loaded = loadFrom(next);
          multiply(here);
          storeNext(loaded);
        } else {
          storeNext(held);
          const loaded = loadFrom(k.add(next, slice));
          multiply(here);
          held.forEach((some, side) => some.forEach((value, at) => build.assign(value, loaded[side]![at]!)));
        }
      }
      build.barrier();
    },
    slice,
  );
  return results;
}

/** First column of the last slice. */
const lastSlice = (inner: number, slice: number): number => (Math.ceil(inner / slice) - 1) * slice;

interface Writing {
  readonly m: number;
  readonly n: number;
  /** Index of the subgroup. */
  readonly group: Expr;
  /** Whether each element stands at its mirror place, too; null for never. */
  readonly mirrored: Expr | null;
  /** Stores the element of row m and column n, given the sums of all terms. */
  readonly finish: (sums: readonly Expr[], m: Expr, n: Expr) => void;
}

/**
 * The results through workgroup memory, a strip of each subgroup's matrices at a time, and from there to their places.
 * Subgroups that took parts of k share the strip that they all add to.
 */
function writeResults(
  { build, array, tile, size, lanes, firstM, firstN, ownM, ownN, partOfK }: TileContext,
  results: Results,
  writing: Writing,
): void {
  const { m, n, group, mirrored, finish } = writing;
  const together = stripMatrices(tile);
  const width = together * matrixSize;
  const stride = stripStride(tile);
  const parts = tile.subgroups[2];
  const alike = tile.subgroups[0] * tile.subgroups[1];
  const [matricesM, matricesN] = matricesOf(tile);
  const strips = upTo(results.length).map((term) => term * (size / lanes) * matrixSize * stride);
  const strip = build.bind("strip_start", k.mul(group, matrixSize * stride));
  const shared = partOfK === null ? strip : build.bind("shared_strip", k.mul(k.rem(group, alike), matrixSize * stride));
  const lane = build.bind("lane", k.builtin("subgroup_lane"));
  const first = partOfK === null ? lane : build.bind("first", k.add(lane, k.mul(partOfK, lanes)));
  for (const i of upTo(matricesM))
    for (let j = 0; j < matricesN; j += together) {
      results.forEach((term, t) =>
        upTo(together).forEach((next) =>
          build.add({
            kind: "store_matrix",
            name: term[i]![j + next]!,
            array,
            index: build.bind("at", k.add(strip, strips[t]! + (next * matrixSize) / 4)),
            stride: k.u32(stride),
          }),
        ),
      );
      build.barrier();
      const top = build.bind("top", k.add(k.add(firstM, ownM), i * matrixSize));
      const side = build.bind("side", k.add(k.add(firstN, ownN), j * matrixSize));
      const each = (rowOf: (element: Expr) => Expr, columnOf: (element: Expr) => Expr, swap: boolean): void => {
        build.loop(
          "element",
          first,
          k.u32(matrixSize * width),
          (element) => {
            const [row, column] = [build.bind("row", rowOf(element)), build.bind("column", columnOf(element))];
            const [atM, atN] = [build.bind("m", k.add(top, row)), build.bind("n", k.add(side, column))];
            build.when(k.and(k.less(atM, m), k.less(atN, n)), () => {
              const at = build.bind("at", k.add(shared, k.add(k.mul(row, stride), k.div(column, 4))));
              const which = build.bind("which", k.rem(column, 4));
              const sums = strips.map((start) =>
                build.bind(
                  "sum",
                  upTo(parts)
                    .map((part) => {
                      const index = k.add(at, start + part * alike * matrixSize * stride);
                      const four = build.bind("four", k.loadShared(array, "vec4<u32>", index));
                      const [a, b, c, d] = upTo(4).map((at) => k.component(four, at)) as [Expr, Expr, Expr, Expr];
                      const low = k.select(k.equal(which, 0), a, b);
                      const high = k.select(k.equal(which, 2), c, d);
                      return k.bitcast("f32", k.select(k.less(which, 2), low, high));
                    })
                    .reduce((a, b) => k.add(a, b)),
                ),
              );
              if (swap) finish(sums, atN, atM);
              else finish(sums, atM, atN);
            });
          },
          lanes * parts,
        );
      };
      each(
        (element) => k.div(element, width),
        (element) => k.rem(element, width),
        false,
      );
      // neighbours write neighbours there, too
      if (mirrored !== null)
        build.when(mirrored, () =>
          each(
            (element) => k.rem(element, matrixSize),
            (element) => k.div(element, matrixSize),
            true,
          ),
        );
      build.barrier();
    }
}
