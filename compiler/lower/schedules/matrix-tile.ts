/** Tiles of products by matrices: their shapes as data, and which is taken. */
import type { Product } from "../../graph/analysis/product.js";
import { matrixSize, type Target } from "../../target.js";
import { passesOf, run, type MatrixProduct, type MatrixSide } from "../product/matrix-sides.js";
import { liesAlike, pieceColumns, vectorsOf, type Slicing } from "../product/matrix-staging.js";
import { holdsTrips } from "../product/matrix-trips.js";
import { isSameOrder, ofSpan, type MatrixOrder } from "../toolkit/order.js";
import { fixedSubgroup } from "../toolkit/team.js";

/** What a workgroup computes, and how. */
export interface MatrixTile {
  readonly kind: "matrix";
  /** Results of a tile along m and, for each term, along n. */
  readonly tokens: number;
  readonly rows: number;
  /** Subgroups along m, n and k: those along k take a part each of every slice, and their sums are added at the end. */
  readonly subgroups: readonly [number, number, number];
  /** Columns that are staged at once. */
  readonly slice: number;
  /**
   * Slices that are on their way while one is multiplied. 0: a slice is loaded, staged, multiplied. 1: workgroup memory
   * holds two, and the next is loaded before this one is multiplied and staged after. 2: the next is staged, and the one
   * after it loaded, before. 3: workgroup memory holds one, and while it is multiplied the next is loaded into registers,
   * packed as it is. 4: the next two.
   */
  readonly ahead: 0 | 1 | 2 | 3 | 4;
  /** Workgroups that divide the columns of a tile among them; a second kernel adds up what they have. */
  readonly parts: number;
  /**
   * Columns whose words are loaded at once, where the right sides are packed: a slice is a few columns of each span of a
   * trip (`matrix-trips.ts`). Then `ahead` is 0, or 3: the next trip's words are loaded while this one is multiplied, or 2:
   * workgroup memory holds two slices, besides. Without it each slice's words are loaded for themselves.
   */
  readonly trip?: number;
  /**
   * Left matrices are loaded from memory and not by way of workgroup memory: as they lie, or from a tensor that lies in
   * the order in which they are loaded.
   */
  readonly left?: "memory" | "ordered";
  /**
   * The slices of the right sides take turns in workgroup memory, which has room for one; or a tile is one right side's,
   * so that there are as many tiles more: a part's sums of all sides are added up together.
   */
  readonly apart?: "terms" | "tiles";
  /**
   * The slices of a trip stand one after the other, not in a loop: faster by itself, but longer, and what does not fit a
   * cache of instructions together with the kernels around it is fetched anew in every dispatch (`kernel/roll.ts`).
   */
  readonly slices?: "unrolled";
  /**
   * Results leave one matrix at a time: half the workgroup memory, of which they may take more than the slices do. Or sums
   * of parts leave as the matrices they are, and take none.
   */
  readonly strip?: "narrow" | "none";
  /** Results are stored four neighbours at a time, where they lie so. */
  readonly store?: "vectors";
}

export type TripTile = MatrixTile & { readonly trip: number };

/** Whether words are loaded for several slices at once. */
export function takesTrips(each: MatrixTile): each is TripTile {
  return each.trip !== undefined;
}

/** Matrices of a subgroup along m and, for each term, n. */
export function matricesOf({ tokens, rows, subgroups }: MatrixTile): readonly [number, number] {
  return [tokens / (matrixSize * subgroups[0]), rows / (matrixSize * subgroups[1])];
}

/** Tiles that are enough to fill a large GPU: with fewer, smaller tiles are worth their reads. */
const enoughTiles = 96;

/** Tiles of which each processor has several, so that one loads while another multiplies. */
const manyTiles = 384;

const tile = (
  tokens: number,
  rows: number,
  subgroups: MatrixTile["subgroups"],
  slice: number,
  ahead: MatrixTile["ahead"] = 0,
  parts = 1,
): MatrixTile => ({ kind: "matrix", tokens, rows, subgroups, slice, ahead, parts });

/** A tile of trips of so many columns. */
const trips = (of: MatrixTile, trip: number, left?: "memory"): MatrixTile => ({
  ...of,
  trip,
  ...(left === undefined ? {} : { left }),
});

/** A tile of many results, whose stores would else take as long as half its products. */
const inVectors = (of: MatrixTile): MatrixTile => ({ ...of, store: "vectors" });

/** A tile whose results leave one matrix at a time. */
const stripped = (of: MatrixTile): MatrixTile => ({ ...of, strip: "narrow" });

/** Tiles of small workgroups for so many tokens, of products by themselves and of pairs. */
interface SmallTiles {
  readonly tokens: number;
  readonly single: SmallTile;
  readonly pair: SmallTile;
}

/** How such a tile is cut, and how many subgroups keep a large GPU busy. Rows are those of each term. */
interface SmallTile extends Pick<MatrixTile, "rows" | "slice" | "apart" | "slices"> {
  /** Subgroups along the tokens. */
  readonly along: number;
  readonly many: number;
}

const smallTiles: readonly SmallTiles[] = [
  {
    tokens: 16,
    single: { rows: 32, along: 1, slice: 32, many: 2048 },
    pair: { rows: 16, along: 1, slice: 32, many: 8192, apart: "terms", slices: "unrolled" },
  },
  {
    tokens: 32,
    single: { rows: 64, along: 2, slice: 32, many: 2048 },
    pair: { rows: 64, along: 2, slice: 64, many: 4096, apart: "tiles" },
  },
  {
    tokens: 64,
    single: { rows: 64, along: 4, slice: 32, many: 2048 },
    pair: { rows: 64, along: 2, slice: 64, many: 4096, apart: "tiles" },
  },
];

/**
 * Tiles of a subgroup or a few, with activations in their order. Many small workgroups hide what each waits for: the
 * columns of a tile are divided among so many that the device is full (bench/h100.md).
 */
function ofSubgroups(product: Product, { left, right }: MatrixProduct, together: number): readonly MatrixTile[] {
  const { m, n } = product.sizes;
  const found = smallTiles.find(({ tokens }) => m <= tokens);
  if (found === undefined || right.length > 2 || left.order === null || left.inner < leastOrdered) return [];
  if (right.some((side) => side.kind !== "stored" || side.reader === null)) return [];
  const outputs = Math.max(n, together);
  // sums of parts are a dispatch more, which short products do not repay
  if (outputs * left.inner < leastWeights) return [];
  const { along, many, slice, rows, ...how } = right.length === 1 ? found.single : found.pair;
  const wanted = Math.round((many * rows) / (along * outputs * (how.apart === "tiles" ? right.length : 1)));
  const parts = 2 ** Math.floor(Math.log2(Math.min(Math.floor(left.inner / 128), wanted)));
  if (parts < 2) return [];
  const tiles = trips(tile(found.tokens, rows, [along, 1, 1], slice, 0, parts), 128);
  return [{ ...tiles, left: "ordered", strip: "none", ...how }];
}

/** Columns from which on sums of so many tokens are divided among workgroups: fewer do not repay adding them up. */
const leastDivided = 4096;

/** Columns from which on activations are put into the order of matrices, and weights of all products of the same. */
const leastOrdered = 1024;
const leastWeights = 2 ** 22;

/** The same for up to 64 tokens, whose sums are four times as many. */
const leastDividedOf64 = 8192;

/** Slices that workgroup memory holds. */
export const slicesHeld = ({ ahead }: MatrixTile): number => (ahead === 1 || ahead === 2 ? 2 : 1);

/**
 * The usual ones, from the most wanted; of a pair of terms each has so many rows. `together`: outputs of all products of
 * the same activations, which are one dispatch.
 */
function usual(product: Product, sides: MatrixProduct, together: number): readonly MatrixTile[] {
  const { m } = product.sizes;
  const terms = sides.right.length;
  const beside = { ...product, sizes: { ...product.sizes, n: together } };
  const rights = passesOf(sides).flatMap(({ right }) => right);
  const slice = Math.max(32, ...rights.map((side) => (side.kind === "dense" ? 0 : side.least)));
  const small = [tile(32, 32, [1, 2, 2], 64), tile(32, 32, [2, 2, 1], slice)];
  const held = rights.every((side) => side.kind === "stored" && side.reader !== null);
  const middle = [
    terms === 1 ? tile(64, 32, [2, 1, 4], 128) : tile(64, 32, [2, 2, 2], 64, held && m <= 64 ? 3 : 0),
    ...small,
  ];
  const square = tile(64, 64, [2, 2, 2], 64);
  if (m <= 16) {
    const wide = terms === 1 ? tile(16, 64, [1, 4, 4], 128) : tile(16, 32, [1, 2, 4], 128);
    const narrow = terms === 1 ? tile(16, 32, [1, 2, 4], 256) : tile(16, 16, [1, 1, 8], 256);
    const many = held && terms === 2 ? [trips(tile(16, 32, [1, 1, 2], 64), 128), wide] : [wide];
    // one product by tiles of twice the rows and half the columns of those that are one dispatch with others
    const split =
      together > product.sizes.n
        ? stripped(trips(tile(16, 32, [1, 1, 4], 128, 0, 2), 256))
        : stripped(trips(tile(16, 64, [1, 2, 2], 128, 0, 4), 256));
    const divided = held && terms === 1 && sides.left.inner >= leastDivided ? [split] : [];
    return [...(tiles(product, wide) >= manyTiles ? many : []), ...divided, narrow, ...small];
  }
  if (m <= 32) return [terms === 1 ? tile(32, 32, [1, 2, 4], 128) : tile(32, 16, [1, 1, 8], 128), ...small];
  const large = inVectors(terms === 1 ? tile(128, 128, [2, 2, 2], 64) : tile(128, 64, [2, 2, 2], 64));
  if (m <= 64 && terms === 1 && tiles(product, square) >= manyTiles) return [square, ...middle];
  if (m <= 64 && held && terms === 1 && sides.left.inner >= leastDividedOf64)
    return [stripped(trips(tile(64, 128, [2, 4, 1], 64, 3, 4), 128)), ...middle];
  if (m <= 64 || terms > 2) return middle;
  // both sides read across, the gradient of a weight: long sums for few elements, so that what a large tile has too
  // much of costs more than the reads of small ones (bench/h100.md)
  const across = rights.every((side) => side.along === "outer") && sides.left.along === "outer" && terms === 1;
  const half = inVectors(tile(128, 64, [2, 2, 2], 64));
  const smaller = [half, square];
  const filling = smaller
    .filter((each) => across && tiles(product, each) >= enoughTiles)
    .sort((a, b) => padding(product, a) - padding(product, b));
  if (tiles(product, large) < enoughTiles)
    return [...filling, ...(terms === 1 && tiles(beside, large) >= enoughTiles ? [half] : []), ...middle];
  if (padding(product, large) > 1.15 && filling.length > 0) return [...filling, large, ...middle];
  return [large, { ...large, subgroups: [2, 2, 1], slice: 32 }, ...middle];
}

function tiles({ sizes }: Product, { tokens, rows }: MatrixTile): number {
  return sizes.batch * Math.ceil(sizes.m / tokens) * Math.ceil(sizes.n / rows);
}

/** The elements of all tiles, as a multiple of those of the result. */
function padding({ sizes }: Product, { tokens, rows }: MatrixTile): number {
  return (Math.ceil(sizes.m / tokens) * tokens * Math.ceil(sizes.n / rows) * rows) / (sizes.m * sizes.n);
}

/** What may be tried beside them: for as many tokens, measured on some device the best of some product. */
function others({ sizes }: Product): readonly MatrixTile[] {
  if (sizes.m <= 16)
    return [
      trips(tile(16, 32, [1, 1, 2], 64, 3), 128),
      trips(tile(16, 32, [1, 1, 2], 64), 128),
      stripped(trips(tile(16, 32, [1, 1, 4], 64, 3), 128)),
      stripped(trips(tile(16, 32, [1, 1, 4], 128, 3, 2), 256)),
      stripped(trips(tile(16, 64, [1, 2, 2], 128, 3, 4), 256)),
      stripped(trips(tile(16, 64, [1, 2, 2], 128, 0, 4), 256)),
      stripped(trips(tile(16, 64, [1, 2, 4], 128, 3, 4), 256)),
      trips(tile(16, 32, [1, 1, 8], 256, 3), 512),
      trips(tile(16, 32, [1, 1, 8], 128, 2), 512, "memory"),
      tile(16, 32, [1, 2, 4], 128, 2),
      tile(16, 32, [1, 2, 8], 256),
      tile(16, 64, [1, 4, 4], 128, 2),
      tile(16, 64, [1, 4, 2], 256),
      tile(16, 128, [1, 8, 1], 128),
      tile(16, 128, [1, 8, 2], 128),
    ];
  if (sizes.m <= 64)
    return [
      tile(64, 32, [2, 2, 2], 64, 3),
      tile(64, 32, [2, 1, 4], 64, 2),
      tile(64, 64, [2, 2, 2], 64, 2),
      tile(64, 64, [2, 2, 2], 128),
      tile(64, 64, [2, 2, 4], 128),
      tile(64, 128, [2, 4, 2], 64),
      tile(32, 64, [1, 4, 2], 64),
    ];
  return [
    tile(128, 128, [2, 2, 1], 32, 2),
    tile(128, 128, [2, 4, 1], 32, 2),
    tile(128, 128, [2, 4, 2], 64),
    tile(128, 64, [4, 1, 2], 64),
    tile(256, 64, [4, 1, 2], 64),
    tile(64, 128, [2, 4, 1], 64),
  ];
}

/** What may be tried for a product on a device, the best guess first; empty where none fits. */
export function matrixCuts(
  product: Product,
  sides: MatrixProduct,
  target: Target,
  together: number,
): readonly MatrixTile[] {
  const cuts = [...ofSubgroups(product, sides, together), ...usual(product, sides, together), ...others(product)];
  return cuts.filter((each) => tileFits(each, sides, target));
}

/** The order in which a tile of trips loads its left matrices. */
export function orderOf({ trip, slice }: TripTile, { left, distance }: MatrixProduct): MatrixOrder {
  return { trip, slice, distance, tokens: left.outer, columns: left.inner };
}

/** Whether the left side lies as a tile of trips loads it. */
function isInOrder(each: TripTile, sides: MatrixProduct): boolean {
  const { order } = sides.left;
  return each.left === "ordered"
    ? order === "any" || (order !== null && isSameOrder(order, orderOf(each, sides)))
    : order === null || order === "any";
}

/** Whether the slices of a tile of trips can be unpacked from words in registers. */
function tripsFit(each: TripTile, sides: MatrixProduct): boolean {
  const { bound, left, right, distance, further } = sides;
  const { ahead, slice, subgroups, trip } = each;
  if (bound !== null || further.length > 0 || left.along !== "k" || (ahead !== 0 && ahead !== 2 && ahead !== 3))
    return false;
  const columns = ofSpan(each);
  const part = slice / subgroups[2];
  return (
    isInOrder(each, sides) &&
    (each.apart === undefined || (each.left !== undefined && ahead !== 2)) &&
    (each.left !== "ordered" || left.inner % trip === 0) &&
    right.every((side) => holdsTrips(side, each)) &&
    columns % (distance === 1 ? run : 2 * distance) === 0 &&
    (ahead !== 2 || (trip / slice) % 2 === 0) &&
    (each.left !== "memory" || (left.outer % matrixSize === 0 && left.inner % trip === 0 && part % columns === 0))
  );
}

/** Whether left matrices can be read as they lie, each slice's for themselves. */
function liesForMatrices({ slice }: MatrixTile, { bound, left, distance, further }: MatrixProduct): boolean {
  return (
    (left.order === null || left.order === "any") &&
    bound === null &&
    further.length === 0 &&
    distance === 1 &&
    left.along === "k" &&
    left.outer % matrixSize === 0 &&
    left.inner % slice === 0
  );
}

/** Whether a tile without trips can have the left side as it lies. */
function slicesFit(each: MatrixTile, sides: MatrixProduct): boolean {
  if (each.apart !== undefined || each.left === "ordered") return false;
  return each.left === "memory"
    ? liesForMatrices(each, sides)
    : passesOf(sides).every(({ left, right }) =>
        [left, ...right].every((side) => side.kind !== "dense" || side.order === null || side.order === "any"),
      );
}

/** Whether a device has room for a tile, and the sides can be staged in its slices. */
export function tileFits(each: MatrixTile, sides: MatrixProduct, target: Target): boolean {
  const { slice, subgroups } = each;
  if (takesTrips(each) ? !tripsFit(each, sides) : !slicesFit(each, sides)) return false;
  // only sums that are added up later may come from several workgroups
  if (each.apart === "tiles" && each.strip !== "none") return false;
  // whole matrices of what a second kernel adds up
  if (
    each.strip === "none" &&
    (each.parts === 1 || subgroups[2] > 1 || sides.right.some((side) => side.outer % each.rows !== 0))
  )
    return false;
  const size = (fixedSubgroup(target) ?? 0) * subgroups.reduce((a, b) => a * b);
  const part = slice / subgroups[2];
  const cut = (side: MatrixSide, rows: number, distance: number): boolean => {
    if (takesTrips(each)) return true;
    const piece = pieceColumns(side, rows, { slice, size, distance });
    return side.along !== "k" || (slice % piece === 0 && liesAlike(piece));
  };
  return (
    16 * workgroupVectors(each, sides, size) <= target.maxWorkgroupMemory &&
    size <= target.maxInvocations &&
    slice % (subgroups[2] * matrixSize) === 0 &&
    (each.parts === 1 ||
      ((takesTrips(each) || (each.ahead !== 1 && each.ahead !== 2)) && inParts(sides, each.parts, stepOf(each)))) &&
    (subgroups[2] === 1 || liesAlike(part)) &&
    passesOf(sides).every(
      ({ left, right, distance }) =>
        cut(left, each.tokens, distance) && right.every((side) => cut(side, each.rows, distance)),
    )
  );
}

/** Columns of a round of the walk over k. */
export const stepOf = (each: MatrixTile): number => each.trip ?? each.slice;

/** Whether the columns can be divided: into whole rounds of so many, the same for every token. */
function inParts(sides: MatrixProduct, parts: number, step: number): boolean {
  return passesOf(sides).every(
    ({ bound, left, right }) =>
      bound === null && left.inner >= parts * step && right.every(({ term }) => term.around.length === 0),
  );
}

/**
 * Vectors of workgroup memory that a tile takes with so many invocations: slices of each side, and in the same place
 * those of products added to it, and later the results.
 */
export function workgroupVectors(each: MatrixTile, product: MatrixProduct, size: number): number {
  const slices = passesOf(product).map(({ left, right, distance }) => {
    const slicing: Slicing = { slice: each.slice, size, distance };
    const rights = right.map((side) => vectorsOf(side, each.rows, slicing));
    if (each.apart !== undefined) return Math.max(...rights);
    return rights.reduce((a, b) => a + b, each.left === undefined ? vectorsOf(left, each.tokens, slicing) : 0);
  });
  if (each.strip === "none") return Math.max(...slices.map((vectors) => slicesHeld(each) * vectors));
  const strips = product.right.length * each.subgroups.reduce((a, b) => a * b) * matrixSize * stripStride(each);
  return Math.max(...slices.map((vectors) => slicesHeld(each) * vectors), strips);
}

/** Matrices that a strip of results is wide: as few as a subgroup's, and no more than two. */
export function stripMatrices(each: MatrixTile): number {
  const [, n] = matricesOf(each);
  return n % 2 === 0 && each.strip === undefined ? 2 : 1;
}

/** Vectors of four between the rows of a strip of results: an odd number, so that they lie in other banks. */
export const stripStride = (each: MatrixTile): number => (stripMatrices(each) * matrixSize) / 4 + 1;
