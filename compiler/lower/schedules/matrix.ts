import type { Eqn, IndexId, Range, Scalar } from "../../graph/graph.js";
import { intervalOf } from "../../graph/ranges.js";
import { constantOf, freeIndices, withoutCasts, type Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Storage } from "../../plan/storage.js";
import { matrixSize, type Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { joinAxes } from "../axes.js";
import type { KernelBuilder } from "../builder.js";
import { spread, workgroupPosition } from "../dispatch.js";
import { bindPosition, boundsOf, extent, hullOf } from "../hull.js";
import type { Lowering } from "../lowering.js";
import { readsAnywhere, type Product, type ProductTerm } from "../product.js";
import { flatten, lowerIndex, lowerRange, lowerScalar, withIndices, withKnown, type Scope } from "../scalar.js";
import { storeElement } from "../store.js";
import { hasSymmetricBody } from "../symmetric.js";
import { fixedSubgroup } from "../team.js";
import { axisExtents, passes } from "./tiled.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** A side of a product that is an f16 tensor: where the element of row `outer` (m or n) and column k lies. */
interface Operand {
  readonly term: ProductTerm;
  readonly storage: Storage;
  /** The axis along which neighbours lie side by side. */
  readonly along: "k" | "outer";
  /** Elements between neighbours along the other axis. */
  readonly pitch: number;
  readonly outer: number;
  readonly inner: number;
  /** Place of the first element, for the batch indices of a scope. */
  start(scope: Scope): Expr;
}

/** A product that subgroups can do by matrices: both sides of every term. */
export interface MatrixProduct {
  readonly left: Operand;
  readonly right: readonly Operand[];
  /** Where k ends for each token, if not at the end of its axis; `rises`: later for later tokens. */
  readonly bound: { readonly range: Range<Concrete>; readonly rises: boolean } | null;
}

/** Subgroups of a workgroup along m and n, and matrices of each along m and, for each term, n. */
interface MatrixTile {
  readonly subgroups: readonly [number, number];
  readonly matrices: readonly [number, number];
}

/** Columns of a slice that is staged at once. */
const slice = 32;

/** Elements between the ends of staged rows, so that neighbours of a column lie in different banks. */
const pad = 8;

/** Elements of f16 that one load takes. */
const run = 8;

/** Tiles that are enough to fill a large GPU: with fewer, smaller tiles are worth their reads. */
const enoughTiles = 96;

/** Products of fewer tokens are bound by memory, and of fewer outputs or columns by their start. */
export function matrixPays(product: Product): boolean {
  return product.sizes.m >= 32 && product.sizes.n >= 32 && product.sizes.m * product.sizes.n >= 4096 && (constantOf(product.terms[0]!.reduce.over[0]!.high) ?? Infinity) >= 32;
}

/**
 * The sides of a product whose terms are all products of two f16 tensors, summed over the whole of k; else null. Only
 * such products may be done by matrices: a product of two f16 is exact in f32, and sums may be taken in any order.
 */
export function matrixOf(lowering: Lowering, eqn: Elements, product: Product): MatrixProduct | null {
  const { target } = lowering;
  if (!target.matrices || !target.f16 || fixedSubgroup(target) === null) return null;
  const [first] = product.terms;
  if (first === undefined || eqn.indices.some((range) => hullOf(range).low !== 0)) return null;
  if (passes(lowering, product.terms).length > 1 || product.terms.some((term) => term.reduce.dtype !== "f32")) return null;
  const range = first.reduce.over[0]!;
  const inner = Math.min(constantOf(range.high) ?? Infinity, axisExtents(lowering, first) ?? Infinity);
  if (constantOf(range.low) !== 0 || inner === Infinity) return null;
  const left = operandOf(lowering, eqn, first, first.left, { axes: product.m, outer: product.sizes.m, inner });
  const right = product.terms.map((term) => operandOf(lowering, eqn, term, term.right, { axes: [product.n], outer: product.sizes.n, inner }));
  if (left === null || right.some((side) => side === null)) return null;
  const [token, ...others] = product.m.filter((axis) => extent(eqn.indices[axis]!) > 1);
  const rises = token !== undefined && others.length === 0 && (coefficientOf(range.high, eqn.indices[token]!.index) ?? -1) >= 0;
  const bound = constantOf(range.high) === null ? { range, rises } : null;
  // what lies past a token's end is left out of the left side, a run of columns at a time
  if (bound !== null && (left.along !== "k" || product.terms.some((term) => !readsAnywhere([...term.left, ...term.right], term.reduce.over[0]!.index)))) return null;
  return { left, right: right.filter((side) => side !== null), bound };
}

function operandOf(lowering: Lowering, eqn: Elements, term: ProductTerm, factors: readonly Scalar<Concrete>[], { axes, outer, inner }: { readonly axes: readonly number[]; readonly outer: number; readonly inner: number }): Operand | null {
  const [only, ...rest] = factors;
  if (only === undefined || rest.length > 0) return null;
  const load = insideAxis(withoutCasts(only), term.reduce.over[0]!.index, inner);
  const storage = load.kind === "load" ? lowering.storage[load.tensor] : null;
  if (load.kind !== "load" || storage === null || storage === undefined) return null;
  if (load.guarded && !onlyColumnsLeave(lowering, eqn, load, term.reduce.over[0]!.index)) return null;
  const { type } = lowering.graph.values[load.tensor]!;
  const isHalf = type.format === null ? type.dtype === "f16" : type.format.name === "f16";
  if (!isHalf) return null;
  const { shape, at } = type.format === null && !load.guarded ? joinAxes(type.shape, load.at) : { shape: type.shape, at: load.at };
  const size = shape[shape.length - 1];
  // a run of neighbours must start at a multiple of its length
  const own = [...axes.map((axis) => eqn.indices[axis]!.index), term.reduce.over[0]!.index];
  if (size === undefined || size % run !== 0 || !startsRuns(at[at.length - 1]!, new Set(own))) return null;
  const strideOf = (index: IndexId): number | null => at.reduce<number | null>((sum, scalar, axis) => {
    const coefficient = coefficientOf(scalar, index);
    return sum === null || coefficient === null ? null : sum + coefficient * shape.slice(axis + 1).reduce((product, each) => product * each, 1);
  }, 0);
  const columnStride = strideOf(term.reduce.over[0]!.index);
  const outerStride = flatStride(axes.map((axis) => ({ stride: strideOf(eqn.indices[axis]!.index), extent: extent(eqn.indices[axis]!) })));
  if (columnStride === null || outerStride === null) return null;
  const start = (scope: Scope): Expr => {
    const zero = withIndices(scope, own.map((index) => [index, k.u32(0)] as const));
    return flatten(shape, at.map((scalar) => lowerIndex(zero, scalar)));
  };
  if (columnStride === 1 && inner % run === 0 && outerStride % run === 0) return { term, storage, along: "k", pitch: outerStride, outer, inner, start };
  if (outerStride === 1 && outer % run === 0 && columnStride % run === 0) return { term, storage, along: "outer", pitch: columnStride, outer, inner, start };
  return null;
}

/** What is left of a guard `select(k < size, x, 0)` where k stays below the size: x. */
function insideAxis(scalar: Scalar<Concrete>, column: IndexId, inner: number): Scalar<Concrete> {
  if (scalar.kind !== "select" || constantOf(scalar.otherwise) !== 0) return scalar;
  const { condition } = scalar;
  const holds = condition.kind === "binary" && condition.op === "less" && condition.a.kind === "index" && condition.a.index === column && (constantOf(condition.b) ?? -1) >= inner;
  return holds ? insideAxis(withoutCasts(scalar.then), column, inner) : scalar;
}

/** Whether an index is a multiple of `run` where the product's own indices are 0. */
function startsRuns(scalar: Scalar<Concrete>, own: ReadonlySet<IndexId>): boolean {
  const value = constantOf(scalar);
  if (value !== null) return value % run === 0;
  if (scalar.kind === "index") return own.has(scalar.index);
  if (scalar.kind !== "binary") return false;
  if (scalar.op === "add") return startsRuns(scalar.a, own) && startsRuns(scalar.b, own);
  return scalar.op === "multiply" && [scalar.a, scalar.b].some((factor) => startsRuns(factor, own));
}

/** Whether a guarded load can only leave its tensor along k: the walk over k ends with the axis, and so needs no guard. */
function onlyColumnsLeave(lowering: Lowering, eqn: Elements, load: Load<Concrete>, column: IndexId): boolean {
  const { shape } = lowering.graph.values[load.tensor]!.type;
  const bounds = boundsOf(lowering, eqn);
  return load.at.every((at, axis) => {
    if (at.kind === "index" && at.index === column) return true;
    if (freeIndices(at).has(column)) return false;
    const { low, high } = intervalOf(at, bounds);
    return low >= 0 && high < shape[axis]!;
  });
}

/** By how much a scalar grows with an index; null where that is not a constant. */
function coefficientOf(scalar: Scalar<Concrete>, index: IndexId): number | null {
  if (scalar.kind === "index") return scalar.index === index ? 1 : 0;
  if (!freeIndices(scalar).has(index)) return 0;
  if (scalar.kind !== "binary") return null;
  const [a, b] = [coefficientOf(scalar.a, index), coefficientOf(scalar.b, index)];
  if (a === null || b === null) return null;
  if (scalar.op === "add") return a + b;
  if (scalar.op === "multiply") {
    const [ca, cb] = [constantOf(scalar.a), constantOf(scalar.b)];
    return cb !== null ? a * cb : ca !== null ? b * ca : null;
  }
  return null;
}

/** The stride of several axes as one, the last the fastest; null where they are no one axis. */
function flatStride(axes: readonly { readonly stride: number | null; readonly extent: number }[]): number | null {
  let flat: { readonly stride: number; readonly extent: number } | null = null;
  for (const { stride, extent: length } of [...axes].reverse()) {
    if (stride === null) return null;
    if (length === 1 && axes.length > 1) continue;
    if (flat === null) flat = { stride, extent: length };
    else if (stride === flat.stride * flat.extent) flat = { stride: flat.stride, extent: flat.extent * length };
    else return null;
  }
  return flat === null ? 0 : flat.stride;
}

/** The largest tile that the device has memory for and of which there are enough. */
function tileOf(product: Product, sides: MatrixProduct, target: Target): MatrixTile {
  const pair = product.terms.length > 1;
  const tiles = (tile: MatrixTile): number => product.sizes.batch * Math.ceil(product.sizes.m / rowsOf(tile, 0)) * Math.ceil(product.sizes.n / rowsOf(tile, 1));
  const least: MatrixTile = { subgroups: [2, 2], matrices: [1, 1] };
  const small: MatrixTile = { subgroups: [2, 2], matrices: pair ? [2, 1] : [2, 2] };
  const large: MatrixTile = { subgroups: [2, 2], matrices: pair ? [4, 2] : [4, 4] };
  const wanted = product.terms.length <= 2 && tiles(large) >= enoughTiles ? [large, small, least] : [small, least];
  return wanted.find((tile) => workgroupBytes(tile, sides) <= target.maxWorkgroupMemory) ?? least;
}

/** Bytes of workgroup memory that a tile takes: slices of each side, and a strip of results a subgroup and term. */
function workgroupBytes(tile: MatrixTile, { left, right }: MatrixProduct): number {
  const sliceBytes = (side: Operand, rows: number): number => 2 * (side.along === "k" ? rows * (slice + pad) : slice * (rows + pad));
  const stripBytes = 4 * tile.subgroups[0] * tile.subgroups[1] * matrixSize * stripStride(tile);
  return sliceBytes(left, rowsOf(tile, 0)) + right.reduce((sum, side) => sum + sliceBytes(side, rowsOf(tile, 1)) + stripBytes, 0);
}

/** Elements between the rows of a strip of results: padded to whole vectors of 16 bytes in other banks. */
const stripStride = (tile: MatrixTile): number => tile.matrices[1] * matrixSize + 4;

const rowsOf = (tile: MatrixTile, axis: 0 | 1): number => tile.subgroups[axis] * tile.matrices[axis] * matrixSize;

/**
 * A product by matrices of 16 x 16: slices of both sides are staged in workgroup memory as they lie, each subgroup keeps
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
  const symmetric = rowsM === rowsN && product.terms.length === 1 && eqn.indices.length === 2 && batch === 1 && hasSymmetricBody(eqn);

  const body = (): void => {
    const [batchAt, tileM, tileN] = tileAt(build, position, counts);
    const work = (): void => {
      const batched = bindPosition(lowering.scope(build), product.batch.map((axis) => eqn.indices[axis]!), bounds, batchAt);
      const firstM = build.bind("first_m", k.mul(tileM, rowsM));
      const firstN = build.bind("first_n", k.mul(tileN, rowsN));
      const group = build.bind("group", k.builtin("subgroup_index"));
      const place: Place = {
        build, tile, size, lanes, firstM, firstN,
        ownM: build.bind("own_m", k.mul(k.div(group, tile.subgroups[1]), tile.matrices[0] * matrixSize)),
        ownN: build.bind("own_n", k.mul(k.rem(group, tile.subgroups[1]), tile.matrices[1] * matrixSize)),
      };
      const tokenScope = (m: Expr): Scope => bindPosition(batched, product.m.map((axis) => eqn.indices[axis]!), bounds, m);
      const results = accumulate(place, batched, sides, tokenScope);
      const scopeAt = (m: Expr, n: Expr): Scope => withIndices(tokenScope(m), [[eqn.indices[product.n]!.index, n]]);
      const finish = (sums: readonly Expr[], m: Expr, n: Expr): void => {
        const scope = withKnown(scopeAt(m, n), product.terms.map((term, at) => [term.reduce, sums[at]!] as const));
        storeElement(lowering, scope, eqn, lowerScalar(scope, eqn.body));
      };
      const mirrored = symmetric ? k.notEqual(tileM, tileN) : null;
      writeResults(place, results, { m, n, group, mirrored, finish });
    };
    if (symmetric) build.when(k.lessEqual(tileN, tileM), work);
    else work();
  };
  // rows of workgroups of a spread dispatch may end beyond the last tile
  if (workgroups[0] * workgroups[1] === count) body();
  else build.when(k.less(position, count), body);
  return build.finish({ name: lowering.nameOf(eqn), workgroupSize: [size, 1, 1], workgroups, schedule: "matrix", values: lowering.valuesOf(eqn) });
}

/** Tile rows that are walked together, so that what workgroups under way at one time read stays in a cache. */
const bandRows = 8;

/** The batch, and the tile along m and n, of a position: in bands of a few tile rows, column by column within a band. */
function tileAt(build: KernelBuilder, position: Expr, [, rows = 1, columns = 1]: readonly number[]): readonly [Expr, Expr, Expr] {
  const inBatch = rows * columns;
  const at = build.bind("at", k.rem(position, inBatch));
  const band = build.bind("band", k.div(at, bandRows * columns));
  const inBand = build.bind("in_band", k.rem(at, bandRows * columns));
  const height = rows % bandRows === 0 ? k.u32(bandRows) : build.bind("height", k.min(k.sub(k.u32(rows), k.mul(band, bandRows)), bandRows));
  return [build.bind("batch", k.div(position, inBatch)), build.bind("tile_m", k.add(k.mul(band, bandRows), k.rem(inBand, height))), build.bind("tile_n", k.div(inBand, height))];
}

/** Where the kernel is: its tile, and the first row and column of the subgroup's matrices in it. */
interface Place {
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
  /** Place of the tile's first element, and its first row in the tensor. */
  readonly start: Expr;
  readonly first: Expr;
}

/** Names of result matrices by term, along m, along n. */
type Results = readonly (readonly (readonly string[])[])[];

/** The walk over k. */
function accumulate(place: Place, scope: Scope, sides: MatrixProduct, tokenScope: (m: Expr) => Scope): Results {
  const { build, tile, firstM, firstN, ownM, ownN } = place;
  const stagedOf = (side: Operand, hint: string, rows: number, first: Expr): Staged => {
    const stride = (side.along === "k" ? slice : rows) + pad;
    const array = build.array(hint, "f16", (side.along === "k" ? rows : slice) * stride);
    const step = side.along === "k" ? k.mul(first, side.pitch) : first;
    return { side, array, stride, rows, start: build.bind("start", k.div(k.add(side.start(scope), step), run)), first };
  };
  const left = stagedOf(sides.left, "left_tile", rowsOf(tile, 0), firstM);
  const right = sides.right.map((side) => stagedOf(side, "right_tile", rowsOf(tile, 1), firstN));
  const results = right.map(() => range(tile.matrices[0]).map(() => range(tile.matrices[1]).map(() => {
    const name = build.fresh("sum");
    build.add({ kind: "matrix", name });
    return name;
  })));
  const { bound } = sides;
  const endOf = (m: Expr): Expr => k.min(lowerRange(tokenScope(k.min(m, sides.left.outer - 1)), bound!.range).to, sides.left.inner);
  const end = bound?.rises === true ? build.bind("end", endOf(k.add(firstM, rowsOf(tile, 0) - 1))) : k.u32(sides.left.inner);
  build.loop("slice", k.u32(0), end, (from) => {
    // all loads first, so that they are under way together
    const stores = [left, ...right].map((side) => stage(place, side, from, bound !== null && side === left ? endOf : null));
    for (const store of stores) store();
    build.barrier();
    for (let column = 0; column < slice; column += matrixSize) {
      const load = (staged: Staged, role: "left" | "right", row: Expr): string => {
        const name = build.fresh(role);
        const byColumn = staged.side.along === "k";
        const index = byColumn ? k.add(k.mul(row, staged.stride), column) : k.add(row, column * staged.stride);
        // a left matrix has m for its rows and k for its columns, a right one k for its rows and n for its columns
        build.add({ kind: "load_matrix", name, role, array: staged.array, index: build.bind("at", index), stride: k.u32(staged.stride), columns: (role === "left") !== byColumn });
        return name;
      };
      const lefts = range(tile.matrices[0]).map((i) => load(left, "left", k.add(ownM, i * matrixSize)));
      right.forEach((side, term) => range(tile.matrices[1]).forEach((j) => {
        const name = load(side, "right", k.add(ownN, j * matrixSize));
        lefts.forEach((each, i) => build.add({ kind: "multiply_matrices", result: results[term]![i]![j]!, left: each, right: name }));
      }));
    }
    build.barrier();
  }, slice);
  return results;
}

/** Loads an invocation's share of a slice, of each row up to its end; the function returned puts it into workgroup memory. */
function stage({ build, size }: Place, staged: Staged, from: Expr, endOf: ((outer: Expr) => Expr) | null): () => void {
  const { side, array, stride, rows, start, first } = staged;
  const local = k.builtin("local_index");
  const [lines, runs] = side.along === "k" ? [rows, slice / run] : [slice, rows / run];
  const buffer = build.view(side.storage, "vec4<u32>", "read");
  const pieces: { readonly value: Expr; readonly at: Expr; readonly last: Expr | null; readonly left: Expr | null }[] = [];
  for (let piece = 0; piece * size < lines * runs; piece++) {
    const element = build.bind("element", k.add(local, piece * size));
    const last = (piece + 1) * size > lines * runs ? k.less(element, lines * runs) : null;
    const line = build.bind("line", k.div(element, runs));
    const at = build.bind("run", k.rem(element, runs));
    const [outer, column] = side.along === "k" ? [k.add(first, line), k.add(from, k.mul(at, run))] : [k.add(first, k.mul(at, run)), k.add(from, line)];
    const inside = [
      ...(last === null ? [] : [last]),
      ...(side.outer % rows === 0 ? [] : [k.less(outer, side.outer)]),
      ...(side.inner % slice === 0 ? [] : [k.less(column, side.inner)]),
    ];
    const address = side.along === "k" ? k.add(k.add(start, k.mul(line, side.pitch / run)), k.add(k.div(from, run), at)) : k.add(k.add(start, k.mul(k.add(from, line), side.pitch / run)), at);
    let value: Expr;
    if (inside.length === 0) value = build.bind("values", k.loadBuffer(buffer, "vec4<u32>", address));
    else {
      const some = build.bind("inside", inside.reduce(k.and));
      const loaded = build.bind("values", k.loadBuffer(buffer, "vec4<u32>", k.select(some, address, 0)));
      value = build.bind("values", k.select(some, loaded, k.constant("vec4<u32>", 0)));
    }
    // columns of the run that are before the row's end, counted so that a run past it has none
    const left = endOf === null ? null : build.bind("left", k.sub(k.max(endOf(outer), column), column));
    pieces.push({ value, left, at: build.bind("at", k.add(k.mul(line, stride), k.mul(at, run))), last });
  }
  return () => {
    for (const { value, at, last, left } of pieces) {
      const store = (): void => range(run / 2).forEach((pair) => {
        const halves = build.bind("halves", k.bitcast("vec2<f16>", k.component(value, pair)));
        for (const half of [0, 1]) {
          const one = k.component(halves, half);
          build.add(k.storeShared(array, k.add(at, 2 * pair + half), left === null ? one : k.select(k.greater(left, 2 * pair + half), one, k.f16(0))));
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
  /** Whether each element stands at its mirror place, too; null for never. */
  readonly mirrored: Expr | null;
  /** Stores the element of row m and column n, given the sums of all terms. */
  readonly finish: (sums: readonly Expr[], m: Expr, n: Expr) => void;
}

/** The results through workgroup memory, a row of each subgroup's matrices at a time, and from there to their places. */
function writeResults({ build, tile, size, lanes, firstM, firstN, ownM, ownN }: Place, results: Results, writing: Writing): void {
  const { m, n, group, mirrored, finish } = writing;
  const width = tile.matrices[1] * matrixSize;
  const stride = stripStride(tile);
  const arrays = results.map(() => build.array("strip", "f32", (size / lanes) * matrixSize * stride));
  const strip = build.bind("strip_start", k.mul(group, matrixSize * stride));
  const lane = build.bind("lane", k.builtin("subgroup_lane"));
  range(tile.matrices[0]).forEach((i) => {
    results.forEach((term, t) => term[i]!.forEach((name, j) => build.add({ kind: "store_matrix", name, array: arrays[t]!, index: build.bind("at", k.add(strip, j * matrixSize)), stride: k.u32(stride) })));
    build.barrier();
    const top = build.bind("top", k.add(k.add(firstM, ownM), i * matrixSize));
    const side = build.bind("side", k.add(firstN, ownN));
    const each = (rowOf: (element: Expr) => Expr, columnOf: (element: Expr) => Expr, swap: boolean): void => {
      build.loop("element", lane, k.u32(matrixSize * width), (element) => {
        const [row, column] = [build.bind("row", rowOf(element)), build.bind("column", columnOf(element))];
        const [atM, atN] = [build.bind("m", k.add(top, row)), build.bind("n", k.add(side, column))];
        build.when(k.and(k.less(atM, m), k.less(atN, n)), () => {
          const sums = arrays.map((array) => build.bind("sum", k.loadShared(array, "f32", k.add(strip, k.add(k.mul(row, stride), column)))));
          if (swap) finish(sums, atN, atM);
          else finish(sums, atM, atN);
        });
      }, lanes);
    };
    each((element) => k.div(element, width), (element) => k.rem(element, width), false);
    // neighbours write neighbours there, too
    if (mirrored !== null) build.when(mirrored, () => each((element) => k.rem(element, matrixSize), (element) => k.div(element, matrixSize), true));
    build.barrier();
  });
}

function range(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}
