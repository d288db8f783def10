/** Products of f32 for many tokens: tiles in registers, whose loads and stores are vectors of four. */
import type { Product } from "../../graph/analysis/product.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { hasSymmetricBody } from "../../graph/analysis/symmetric.js";
import { boundingRange } from "../../graph/analysis/ranges.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { tileInside, tilePlace } from "../product/tile.js";
import { vectorProduct, type VectorProduct, type VectorSide } from "../product/vector-sides.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { axisBinder, boundsOf, insideRanges } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerScalar, withKnown, type Environment } from "../toolkit/scalar.js";
import { four, storesVectors, vectorPlaces } from "../toolkit/vector-store.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * A tile of m x n results a workgroup, held in registers of `tm` x `tn` an invocation, multiples of four, over slices of
 * `k` columns. Vectors are loaded from workgroup memory as they are multiplied: an invocation reads 4 (tm + tn) numbers
 * for tm tn times four multiplications by a fourth of the loads that single numbers take, which would be the limit.
 */
export interface VectorTile {
  readonly kind: "vectored";
  readonly threads: readonly [number, number];
  readonly tm: number;
  readonly tn: number;
  readonly k: number;
}

const vector = "vec4<f32>";

/** What may be tried for a product on a device, the best guess first. */
export function vectoredCuts(
  eqn: Elements,
  { sizes }: Product,
  sides: VectorProduct,
  target: Target,
): readonly VectorTile[] {
  const tile = (n: number, m: number, tm: number, tn: number, k = 16): VectorTile => ({
    kind: "vectored",
    threads: [n, m],
    tm,
    tn,
    k,
  });
  const square = tile(16, 16, 8, 8);
  // of a symmetric result only square tiles leave half of it to the other
  const wide = hasSymmetricBody(eqn) ? square : tile(16, 8, 8, 8);
  const others = [square, tile(16, 16, 8, 8, 8), tile(16, 8, 8, 8, 8), tile(16, 8, 4, 8)];
  const small = tile(8, 8, 4, 4);
  const wanted = sizes.m <= 64 || sizes.n <= 64 ? [small, wide] : [wide, ...others, small];
  return wanted.filter((each) => vectorTileFits(each, sides, target));
}

/** Whether a device has room for a tile, and slices are whole and shared evenly by its invocations. */
export function vectorTileFits(tile: VectorTile, sides: VectorProduct, target: Target): boolean {
  const [size, rowsM, rowsN] = sizesOf(tile);
  return (
    size <= target.maxInvocations &&
    sides.columns % tile.k === 0 &&
    (rowsM * tile.k) % (four * size) === 0 &&
    (rowsN * tile.k) % (four * size) === 0 &&
    4 * four * (vectorsOf(sides.left, rowsM, tile.k) + vectorsOf(sides.right, rowsN, tile.k)) <=
      target.maxWorkgroupMemory
  );
}

/** Invocations, and the results of a tile along m and n. */
function sizesOf({ threads: [n, m], tm, tn }: VectorTile): readonly [number, number, number] {
  return [n * m, m * tm, n * tn];
}

/** Vectors from line to line of a slice; where they lie along k an odd number, so that neighbours are in other banks. */
function strideOf(side: VectorSide, rows: number, columns: number): number {
  return side.along === "k" ? Math.floor(columns / four / 2) * 2 + 1 : rows / four;
}

function vectorsOf(side: VectorSide, rows: number, columns: number): number {
  return (side.along === "k" ? rows : columns) * strideOf(side, rows, columns);
}

/**
 * The sides of a product whose results can be stored in vectors, too: f32 whose neighbours are those along n, of which no
 * other element is read. Null for other products.
 */
export function vectoredSides(lowering: Lowering, eqn: Elements, product: Product): VectorProduct | null {
  return lowering.graph.values[eqn.out]!.type.dtype === "f32" && storesVectors(lowering, eqn)
    ? vectorProduct(lowering, eqn, product)
    : null;
}

/** A product for many tokens. */
export function vectored(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  sides: VectorProduct,
  tile: VectorTile,
): Kernel {
  const build = lowering.builder();
  const bounds = boundsOf(lowering, eqn);
  const [size, rowsM, rowsN] = sizesOf(tile);
  const { sizes } = product;
  const own = tilePlace(lowering, build, eqn, product, { threads: tile.threads, rowsM, rowsN });
  const { tileM, tileN, firstM, firstN, local, threadM, threadN, bindAxes, batched } = own;

  const leftArray = build.array("left_tile", vector, vectorsOf(sides.left, rowsM, tile.k));
  const rightArray = build.array("right_tile", vector, vectorsOf(sides.right, rowsN, tile.k));
  const staged = [
    stage(build, local, size, sides.left, {
      array: leftArray,
      rows: rowsM,
      columns: tile.k,
      // what is past the end of an axis is loaded again, and not stored
      at: (row) => bindAxes(batched, k.min(k.add(firstM, row), lastOf(sides.left, sizes.m)), product.m),
    }),
    stage(build, local, size, sides.right, {
      array: rightArray,
      rows: rowsN,
      columns: tile.k,
      at: (row) => bindAxes(batched, k.min(k.add(firstN, row), lastOf(sides.right, sizes.n)), [product.n]),
    }),
  ];
  const sums = upTo(tile.tm).map(() => upTo(tile.tn / four).map(() => build.variable("sum", k.constant(vector, 0))));
  // an invocation has four neighbouring rows of every `four * threads`, and columns alike
  const rowOf = (i: number): Expr =>
    k.add(k.mul(threadM, four), Math.floor(i / four) * four * tile.threads[1] + (i % four));
  const vectorOf = (j: number): Expr => k.add(threadN, j * tile.threads[0]);

  const multiply = (): void => {
    const stride = strideOf(sides.left, rowsM, tile.k);
    const load = (array: string, at: Expr): Expr => build.bind("four", k.loadShared(array, vector, at));
    build.loop("q", k.u32(0), k.u32(tile.k / four), (q) => {
      const rows =
        sides.left.along === "k" ? upTo(tile.tm).map((i) => load(leftArray, k.add(k.mul(rowOf(i), stride), q))) : null;
      for (const at of upTo(four)) {
        const column = build.bind("column", k.add(k.mul(q, four), at));
        const across =
          rows === null
            ? upTo(tile.tm / four).map((i) =>
                load(leftArray, k.add(k.mul(column, stride), k.add(threadM, i * tile.threads[1]))),
              )
            : [];
        const rights = upTo(tile.tn / four).map((j) =>
          load(rightArray, k.add(k.mul(column, rowsN / four), vectorOf(j))),
        );
        sums.forEach((row, i) => {
          const left = rows === null ? k.component(across[Math.floor(i / four)]!, i % four) : k.component(rows[i]!, at);
          row.forEach((sum, j) => build.assign(sum, k.fma(k.splat(left, four), rights[j]!, sum)));
        });
      }
    });
  };

  const wanted = tileInside(batched, eqn, product, bounds, own);
  const symmetric =
    rowsM === rowsN &&
    sizes.m === sizes.n &&
    product.batch.length === 0 &&
    eqn.indices.every((range) => boundingRange(range, bounds).exact) &&
    hasSymmetricBody(eqn);
  const body = (): void => {
    const held = staged.map(({ load }) => load(k.u32(0)).map((value) => build.variable("held", value)));
    build.loop(
      "slice",
      k.u32(0),
      k.u32(sides.columns),
      (slice) => {
        staged.forEach(({ store }, at) => store(held[at]!));
        build.barrier();
        // the next slice is on its way while this one is multiplied; beyond the last it is loaded again
        const next = build.bind("next", k.min(k.add(slice, tile.k), sides.columns - tile.k));
        staged.forEach(({ load }, at) => load(next).forEach((value, piece) => build.assign(held[at]![piece]!, value)));
        multiply();
        build.barrier();
      },
      tile.k,
    );
    storeTile(lowering, build, eqn, product, sides, {
      batched,
      firstM,
      firstN,
      rowOf,
      vectorOf,
      sums,
      isWhole: sizes.m % rowsM === 0 && sizes.n % rowsN === 0,
      mirrored: symmetric ? k.notEqual(tileM, tileN) : null,
    });
  };
  const half = symmetric ? k.lessEqual(tileN, tileM) : null;
  return own.finish("vectored", [wanted, half], body);
}

/** The last row that a vector of a side may begin at. */
function lastOf(side: VectorSide, rows: number): number {
  return side.along === "k" ? rows - 1 : rows - four;
}

interface Staged {
  /** What an invocation loads of the slice from a column on. */
  readonly load: (from: Expr) => readonly Expr[];
  readonly store: (loaded: readonly Expr[]) => void;
}

/** A side's slices: which vectors an invocation takes of them, and where in workgroup memory they go. */
function stage(
  build: KernelBuilder,
  local: Expr,
  size: number,
  side: VectorSide,
  place: {
    readonly array: string;
    readonly rows: number;
    readonly columns: number;
    /** The environment of a row of the tile. */
    readonly at: (row: Expr) => Environment;
  },
): Staged {
  const { array, rows, columns, at } = place;
  const inLine = (side.along === "k" ? columns : rows) / four;
  const stride = strideOf(side, rows, columns);
  const pieces = upTo((rows * columns) / four / size).map((piece) => {
    const own = build.bind("piece", k.add(local, piece * size));
    const line = build.bind("line", k.div(own, inLine));
    const inside = build.bind("in_line", k.rem(own, inLine));
    const [row, column] = side.along === "k" ? [line, k.mul(inside, four)] : [k.mul(inside, four), line];
    return { environment: at(row), column, target: build.bind("target", k.add(k.mul(line, stride), inside)) };
  });
  return {
    load: (from) => pieces.map(({ environment, column }) => side.load(environment, k.add(from, column))),
    store: (loaded) => pieces.forEach(({ target }, piece) => build.add(k.storeShared(array, target, loaded[piece]!))),
  };
}

/** Four neighbouring results of a row, from column `n` on. */
interface Entry {
  readonly m: Expr;
  readonly n: Expr;
  readonly sums: readonly Expr[];
}

/** The results to their places, of four rows at a time. */
function storeTile(
  lowering: Lowering,
  build: KernelBuilder,
  eqn: Elements,
  product: Product,
  { term }: VectorProduct,
  tile: {
    readonly batched: Environment;
    readonly firstM: Expr;
    readonly firstN: Expr;
    readonly rowOf: (i: number) => Expr;
    readonly vectorOf: (j: number) => Expr;
    readonly sums: readonly (readonly Expr[])[];
    /** Whether all of it is in the result. */
    readonly isWhole: boolean;
    /** Whether each element stands at its mirror place, too; null for never. */
    readonly mirrored: Expr | null;
  },
): void {
  const bounds = boundsOf(lowering, eqn);
  const { sizes } = product;
  const places = vectorPlaces(lowering, build, eqn);
  const bindAxes = axisBinder(eqn, bounds);
  const adds = eqn.kind === "update" && eqn.op === "add";
  /** What is there already is loaded for all, and then all are stored. */
  const store = (entries: readonly Entry[]): void => {
    const prepared = entries.map(({ m, n, sums }) => {
      const token = bindAxes(tile.batched, build.bind("there", k.min(m, sizes.m - 1)), product.m);
      const there = build.bind("there", k.min(n, sizes.n - four));
      const environments = upTo(four).map((each) => bindAxes(token, k.add(there, each), [product.n]));
      const inside = environments.map((each) => insideRanges(each, eqn.indices, bounds));
      const place = places.place(environments[0]!);
      const keeps = adds || inside.some((each) => each !== null);
      const isThere = tile.isWhole ? null : k.and(k.less(m, sizes.m), k.less(n, sizes.n));
      let before: Expr | null = null;
      if (keeps && isThere === null) before = build.bind("before", places.load(place));
      else if (keeps && isThere !== null) {
        // of its own elements only, for others write theirs meanwhile
        const old = build.variable("before", k.constant(vector, 0));
        build.when(isThere, () => build.assign(old, places.load(place)));
        before = old;
      }
      return { place, environments, inside, sums, before, isThere };
    });
    for (const { place, environments, inside, sums, before, isThere } of prepared) {
      const put = (): void => {
        const values = environments.map((environment, at) => {
          const own = lowerScalar(withKnown(environment, [[term.reduce, sums[at]!]]), eqn.body);
          if (before === null) return own;
          const old = k.component(before, at);
          const value = adds ? k.add(old, own) : own;
          const condition = inside[at] ?? null;
          return condition === null ? value : k.select(condition, value, old);
        });
        places.store(place, values);
      };
      if (isThere === null) put();
      else build.when(isThere, put);
    }
  };
  for (let first = 0; first < tile.sums.length; first += four) {
    const rows = upTo(four).map((at) => build.bind("m", k.add(tile.firstM, tile.rowOf(first + at))));
    const columns = tile.sums[0]!.map((_, j) => build.bind("n", k.add(tile.firstN, k.mul(tile.vectorOf(j), four))));
    const sumOf = (i: number, j: number, at: number): Expr => k.component(tile.sums[first + i]![j]!, at);
    store(rows.flatMap((m, i) => columns.map((n, j) => ({ m, n, sums: upTo(four).map((at) => sumOf(i, j, at)) }))));
    if (tile.mirrored !== null)
      build.when(tile.mirrored, () =>
        store(
          columns.flatMap((n, j) =>
            upTo(four).map((at) => ({ m: k.add(n, at), n: rows[0]!, sums: rows.map((_, i) => sumOf(i, j, at)) })),
          ),
        ),
      );
  }
}
