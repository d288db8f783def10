import type { Product } from "../../graph/analysis/product.js";
import { hasSymmetricBody } from "../../graph/analysis/symmetric.js";
import type { Eqn } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { matrixSize, type Target } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { run, type MatrixProduct, type Operand } from "../product/matrix-sides.js";
import { summedColumns, type SummedColumns } from "../product/summed-columns.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { isWanted, spread, workgroupPosition } from "../toolkit/dispatch.js";
import { bindPosition, boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerRange, lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { fixedSubgroup } from "../toolkit/team.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Subgroups of a workgroup along m and n, and matrices of each along m and, for each term, n. */
interface MatrixTile {
  readonly subgroups: readonly [number, number];
  readonly matrices: readonly [number, number];
}

/** Columns of a slice that is staged at once. */
const slice = 32;

/** Elements between the ends of staged rows, so that neighbours of a column lie in different banks. */
const pad = 8;

/** Tiles that are enough to fill a large GPU: with fewer, smaller tiles are worth their reads. */
const enoughTiles = 96;

/** Products of fewer tokens are bound by memory, and of fewer outputs or columns by their start. */
export function matrixPays(product: Product): boolean {
  return (
    product.sizes.m >= 32 &&
    product.sizes.n >= 32 &&
    product.sizes.m * product.sizes.n >= 4096 &&
    (constantOf(product.terms[0]!.reduce.over[0]!.high) ?? Infinity) >= 32
  );
}

/** The largest tile that the device has memory for and of which there are enough. */
function tileOf(product: Product, sides: MatrixProduct, target: Target): MatrixTile {
  const pair = product.terms.length > 1;
  const tiles = (tile: MatrixTile): number =>
    product.sizes.batch * Math.ceil(product.sizes.m / rowsOf(tile, 0)) * Math.ceil(product.sizes.n / rowsOf(tile, 1));
  const least: MatrixTile = { subgroups: [2, 2], matrices: [1, 1] };
  const small: MatrixTile = { subgroups: [2, 2], matrices: pair ? [2, 1] : [2, 2] };
  const large: MatrixTile = { subgroups: [2, 2], matrices: pair ? [4, 2] : [4, 4] };
  const wanted = product.terms.length <= 2 && tiles(large) >= enoughTiles ? [large, small, least] : [small, least];
  return wanted.find((tile) => workgroupBytes(tile, sides) <= target.maxWorkgroupMemory) ?? least;
}

/** Bytes of workgroup memory that a tile takes: slices of each side, and a strip of results a subgroup and term. */
function workgroupBytes(tile: MatrixTile, { left, right }: MatrixProduct): number {
  const sliceBytes = (side: Operand, rows: number): number =>
    2 * (side.along === "k" ? rows * (slice + pad) : slice * (rows + pad));
  const stripBytes = 4 * tile.subgroups[0] * tile.subgroups[1] * matrixSize * stripStride(tile);
  return (
    sliceBytes(left, rowsOf(tile, 0)) +
    right.reduce((sum, side) => sum + sliceBytes(side, rowsOf(tile, 1)) + stripBytes, 0)
  );
}

/** Elements between the rows of a strip of results: padded to whole vectors of 16 bytes in other banks. */
const stripStride = (tile: MatrixTile): number => tile.matrices[1] * matrixSize + 4;

const rowsOf = (tile: MatrixTile, axis: 0 | 1): number => tile.subgroups[axis] * tile.matrices[axis] * matrixSize;

/**
 * A product by matrices of 16 x 16: slices of both sides are staged in workgroup memory as they lie, each subgroup
 * keeps
 * a few result matrices. Where the result is symmetric, tiles above the diagonal are left to those below it.
 */
export function matrix(lowering: Lowering, eqn: Elements, product: Product, sides: MatrixProduct): Kernel {
  const build = lowering.builder();
  const tile = tileOf(product, sides, lowering.target);
  const bounds = boundsOf(lowering, eqn);
  const lanes = fixedSubgroup(lowering.target)!;
  const size = lanes * tile.subgroups[0] * tile.subgroups[1];
  const [rowsM, rowsN] = [rowsOf(tile, 0), rowsOf(tile, 1)];
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
      const context: TileContext = {
        build,
        tile,
        size,
        lanes,
        firstM,
        firstN,
        ownM: build.bind("own_m", k.mul(k.div(group, tile.subgroups[1]), tile.matrices[0] * matrixSize)),
        ownN: build.bind("own_n", k.mul(k.rem(group, tile.subgroups[1]), tile.matrices[1] * matrixSize)),
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

/** Where the kernel is: its tile, and the first row and column of the subgroup's matrices in it. */
interface TileContext {
  readonly build: KernelBuilder;
  readonly tile: MatrixTile;
  readonly size: number;
  readonly lanes: number;
  readonly firstM: Expr;
  readonly firstN: Expr;
  readonly ownM: Expr;
  readonly ownN: Expr;
}

/** A side's slice in workgroup memory: rows of `along` neighbours, `stride` apart. */
interface Staged {
  readonly side: Operand;
  readonly array: string;
  readonly stride: number;
  readonly rows: number;
  /** Position of the tile's first element, and its first row in the tensor. */
  readonly start: Expr;
  readonly first: Expr;
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
  const { build, tile, firstM, firstN, ownM, ownN } = context;
  const stagedOf = (side: Operand, hint: string, rows: number, first: Expr): Staged => {
    const stride = (side.along === "k" ? slice : rows) + pad;
    const array = build.array(hint, "f16", (side.along === "k" ? rows : slice) * stride);
    const step = side.along === "k" ? k.mul(first, side.pitch) : first;
    return {
      side,
      array,
      stride,
      rows,
      start: build.bind("start", k.div(k.add(side.start(environment), step), run)),
      first,
    };
  };
  const left = stagedOf(sides.left, "left_tile", rowsOf(tile, 0), firstM);
  const right = sides.right.map((side) => stagedOf(side, "right_tile", rowsOf(tile, 1), firstN));
  const results = right.map(() =>
    upTo(tile.matrices[0]).map(() =>
      upTo(tile.matrices[1]).map(() => {
        const name = build.fresh("sum");
        build.add({ kind: "matrix", name });
        return name;
      }),
    ),
  );
  const { bound } = sides;
  const endOf = (m: Expr): Expr =>
    k.min(lowerRange(tokenEnvironment(k.min(m, sides.left.outer - 1)), bound!).to, sides.left.inner);
  const end = summed === null ? k.u32(sides.left.inner) : build.bind("end", k.min(summed.to, sides.left.inner));
  build.loop(
    "slice",
    k.u32(0),
    end,
    (from) => {
      // all loads first, so that they are under way together
      const stores = [left, ...right].map((side) =>
        stage(context, side, from, bound === null ? null : { tile: end, row: side === left ? endOf : () => end }),
      );
      for (const store of stores) store();
      build.barrier();
      for (let column = 0; column < slice; column += matrixSize) {
        const load = (staged: Staged, role: "left" | "right", row: Expr): string => {
          const name = build.fresh(role);
          const byColumn = staged.side.along === "k";
          const index = byColumn ? k.add(k.mul(row, staged.stride), column) : k.add(row, column * staged.stride);
          // a left matrix has m for its rows and k for its columns, a right one k for its rows and n for its columns
          build.add({
            kind: "load_matrix",
            name,
            role,
            array: staged.array,
            index: build.bind("at", index),
            stride: k.u32(staged.stride),
            columns: (role === "left") !== byColumn,
          });
          return name;
        };
        const lefts = upTo(tile.matrices[0]).map((i) => load(left, "left", k.add(ownM, i * matrixSize)));
        right.forEach((side, term) =>
          upTo(tile.matrices[1]).forEach((j) => {
            const name = load(side, "right", k.add(ownN, j * matrixSize));
            lefts.forEach((each, i) =>
              build.add({ kind: "multiply_matrices", result: results[term]![i]![j]!, left: each, right: name }),
            );
          }),
        );
      }
      build.barrier();
    },
    slice,
  );
  return results;
}

/** Where k ends before its axis does: for all of a tile, and for each row of a side. */
interface Ends {
  readonly tile: Expr;
  readonly row: (outer: Expr) => Expr;
}

/**
 * Loads an invocation's share of a slice, of each row up to its end; the function returned puts it into workgroup
 * memory.
 */
function stage({ build, size }: TileContext, staged: Staged, from: Expr, ends: Ends | null): () => void {
  const { side, array, stride, rows, start, first } = staged;
  const local = k.builtin("local_index");
  const [lines, runs] = side.along === "k" ? [rows, slice / run] : [slice, rows / run];
  const buffer = build.view(side.storage, "vec4<u32>", "read");
  const pieces: { readonly value: Expr; readonly at: Expr; readonly last: Expr | null; readonly left: Expr | null }[] =
    [];
  for (let piece = 0; piece * size < lines * runs; piece++) {
    const element = build.bind("element", k.add(local, piece * size));
    const last = (piece + 1) * size > lines * runs ? k.less(element, lines * runs) : null;
    const line = build.bind("line", k.div(element, runs));
    const at = build.bind("run", k.rem(element, runs));
    const [outer, column] =
      side.along === "k"
        ? [k.add(first, line), k.add(from, k.mul(at, run))]
        : [k.add(first, k.mul(at, run)), k.add(from, line)];
    const inside = [
      ...(last === null ? [] : [last]),
      ...(side.outer % rows === 0 ? [] : [k.less(outer, side.outer)]),
      ...(ends !== null ? [k.less(column, ends.tile)] : side.inner % slice === 0 ? [] : [k.less(column, side.inner)]),
    ];
    const address =
      side.along === "k"
        ? k.add(k.add(start, k.mul(line, side.pitch / run)), k.add(k.div(from, run), at))
        : k.add(k.add(start, k.mul(k.add(from, line), side.pitch / run)), at);
    let value: Expr;
    if (inside.length === 0) value = build.bind("values", k.loadBuffer(buffer, "vec4<u32>", address));
    else {
      const some = build.bind("inside", inside.reduce(k.and));
      const loaded = build.bind("values", k.loadBuffer(buffer, "vec4<u32>", k.select(some, address, 0)));
      value = build.bind("values", k.select(some, loaded, k.constant("vec4<u32>", 0)));
    }
    // columns of the run that are before the row's end, counted so that a run past it has none
    const left =
      ends === null || side.along !== "k" ? null : build.bind("left", k.sub(k.max(ends.row(outer), column), column));
    pieces.push({ value, left, at: build.bind("at", k.add(k.mul(line, stride), k.mul(at, run))), last });
  }
  return () => {
    for (const { value, at, last, left } of pieces) {
      const store = (): void =>
        upTo(run / 2).forEach((pair) => {
          const halves = build.bind("halves", k.bitcast("vec2<f16>", k.component(value, pair)));
          for (const half of [0, 1]) {
            const one = k.component(halves, half);
            build.add(
              k.storeShared(
                array,
                k.add(at, 2 * pair + half),
                left === null ? one : k.select(k.greater(left, 2 * pair + half), one, k.f16(0)),
              ),
            );
          }
        });
      if (last === null) store();
      else build.when(last, store);
    }
  };
}

interface Writing {
  readonly m: number;
  readonly n: number;
  /** Index of the subgroup. */
  readonly group: Expr;
  /** Whether each element stands at its mirrored position, too; null for never. */
  readonly mirrored: Expr | null;
  /** Stores the element of row m and column n, given the sums of all terms. */
  readonly finish: (sums: readonly Expr[], m: Expr, n: Expr) => void;
}

/**
 * The results through workgroup memory, a row of each subgroup's matrices at a time, and from there to their places.
 */
function writeResults(
  { build, tile, size, lanes, firstM, firstN, ownM, ownN }: TileContext,
  results: Results,
  writing: Writing,
): void {
  const { m, n, group, mirrored, finish } = writing;
  const width = tile.matrices[1] * matrixSize;
  const stride = stripStride(tile);
  const arrays = results.map(() => build.array("strip", "f32", (size / lanes) * matrixSize * stride));
  const strip = build.bind("strip_start", k.mul(group, matrixSize * stride));
  const lane = build.bind("lane", k.builtin("subgroup_lane"));
  upTo(tile.matrices[0]).forEach((i) => {
    results.forEach((term, t) =>
      term[i]!.forEach((name, j) =>
        build.add({
          kind: "store_matrix",
          name,
          array: arrays[t]!,
          index: build.bind("at", k.add(strip, j * matrixSize)),
          stride: k.u32(stride),
        }),
      ),
    );
    build.barrier();
    const top = build.bind("top", k.add(k.add(firstM, ownM), i * matrixSize));
    const side = build.bind("side", k.add(firstN, ownN));
    const each = (rowOf: (element: Expr) => Expr, columnOf: (element: Expr) => Expr, swap: boolean): void => {
      build.loop(
        "element",
        lane,
        k.u32(matrixSize * width),
        (element) => {
          const [row, column] = [build.bind("row", rowOf(element)), build.bind("column", columnOf(element))];
          const [atM, atN] = [build.bind("m", k.add(top, row)), build.bind("n", k.add(side, column))];
          build.when(k.and(k.less(atM, m), k.less(atN, n)), () => {
            const sums = arrays.map((array) =>
              build.bind("sum", k.loadShared(array, "f32", k.add(strip, k.add(k.mul(row, stride), column)))),
            );
            if (swap) finish(sums, atN, atM);
            else finish(sums, atM, atN);
          });
        },
        lanes,
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
  });
}
