/** Which products subgroups can do by matrices, and how their sides lie in memory. */
import type { HalfReader } from "../../formats/code/code.js";
import { codeOf } from "../../formats/code/registry.js";
import { formatOfSpec, roundsToHalf } from "../../formats/registry.js";
import { addedTogether } from "../../graph/analysis/added.js";
import { readsAnywhere, type Product, type ProductTerm } from "../../graph/analysis/product.js";
import { coefficientOf, extent, boundingRange, intervalOf } from "../../graph/analysis/ranges.js";
import type { Eqn, IndexId, Range, Scalar } from "../../graph/graph.js";
import { constantOf, freeIndices, withoutCasts, type Load } from "../../graph/scalar.js";
import type { Storage } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { elementCount } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { axisExtents, passes } from "../schedules/tiled.js";
import { joinAxes } from "../toolkit/axes.js";
import { boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { MatrixOrder } from "../toolkit/order.js";
import { flatten, lowerIndex, withIndices, type Environment } from "../toolkit/scalar.js";
import { fixedSubgroup } from "../toolkit/team.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Elements of f16 that one load takes: runs of neighbours start at multiples of it. */
export const run = 8;

/** A side of a product: `outer` rows (m or n) of `inner` columns k. */
export type MatrixSide = DenseSide | StoredSide;

/** A packed tensor, or one of bf16, that is read along k. */
export interface StoredSide {
  readonly kind: "stored";
  readonly term: ProductTerm;
  readonly along: "k";
  /** Index of the outer axis. */
  readonly index: IndexId;
  /** Columns that an invocation unpacks at once: at least, and at most. */
  readonly least: number;
  readonly most: number;
  /** The reader of its halves, if it is read by that. */
  readonly reader: HalfReader | null;
  readonly outer: number;
  readonly inner: number;
}

/** A tensor of f16: where the element of row `outer` and column k lies. */
export interface DenseSide {
  readonly kind: "dense";
  readonly term: ProductTerm;
  readonly storage: Storage;
  /** The axis along which neighbours lie side by side. */
  readonly along: "k" | "outer";
  /** Elements between neighbours along the other axis. */
  readonly pitch: number;
  readonly outer: number;
  readonly inner: number;
  /**
   * The order of matrices that its elements have, and then no start and no pitch count; null where they are in row-major
   * order, "any" where they may yet be put into any.
   */
  readonly order: MatrixOrder | "any" | null;
  /** Offset of the first element, for the batch indices of an environment. */
  start(environment: Environment): Expr;
}

/** A product that subgroups can do by matrices: both sides of every term. */
export interface MatrixProduct {
  readonly left: DenseSide;
  readonly right: readonly MatrixSide[];
  /**
   * How far apart the columns are that share a word in workgroup memory: 1 for neighbours. Both sides have the same, and so
   * each product its own columns.
   */
  readonly distance: number;
  /** Where k ends for each token, if not at the end of its axis. */
  readonly bound: Range<Concrete> | null;
  /** Products of other left sides, of one term each, that are added to this one, which then has one term, too. */
  readonly further: readonly MatrixProduct[];
}

/** A product and those that are added to it. */
export function passesOf(product: MatrixProduct): readonly MatrixProduct[] {
  return [product, ...product.further];
}

/**
 * The sides of a product whose terms are all products of an f16 tensor with one of f16 or of a format that may be
 * rounded to f16, summed over the whole of k; else null. Only such products may be done by matrices: a product of two
 * f16 is exact in f32, and sums may be taken in any order (spec/numerics.md).
 */
export function matrixOf(lowering: Lowering, eqn: Elements, product: Product): MatrixProduct | null {
  const { target } = lowering;
  if (!target.matrices || !target.f16 || fixedSubgroup(target) === null) return null;
  if (eqn.indices.some((range) => boundingRange(range).low !== 0)) return null;
  if (product.terms.some((term) => term.reduce.dtype !== "f32")) return null;
  const groups = passes(lowering, product.terms);
  const reductions = product.terms.map((term) => term.reduce);
  if (groups.length > 1 && (groups.length < reductions.length || !addedTogether(eqn.body, reductions))) return null;
  const [first, ...further] = groups.map((terms) => passOf(lowering, eqn, product, terms));
  if (first == null || further.some((pass) => pass === null)) return null;
  return { ...first, further: further.filter((pass) => pass !== null) };
}

/** Terms of one left side. */
function passOf(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  terms: readonly ProductTerm[],
): MatrixProduct | null {
  const [first] = terms;
  if (first === undefined) return null;
  const range = first.column;
  const inner = Math.min(constantOf(range.high) ?? Infinity, axisExtents(lowering, first) ?? Infinity);
  if (constantOf(range.low) !== 0 || inner === Infinity) return null;
  const left = operandOf(lowering, eqn, first, first.left, { axes: product.m, outer: product.sizes.m, inner });
  const right = terms.map(
    (term) =>
      operandOf(lowering, eqn, term, term.right, { axes: [product.n], outer: product.sizes.n, inner }) ??
      storedOf(term, eqn.indices[product.n]!.index, product.sizes.n),
  );
  if (left === null || right.some((side) => side === null)) return null;
  const bound = constantOf(range.high) === null ? range : null;
  // what lies past a token's end is left out of the left side, a run of columns at a time
  if (
    bound !== null &&
    (left.along !== "k" || terms.some((term) => !readsAnywhere([...term.left, ...term.right], term.column.index)))
  )
    return null;
  return arranged({ left, right: right.filter((side) => side !== null), bound, distance: 1, further: [] });
}

/** The sides with columns in the order that the packed ones are read in with least work, where they agree. */
function arranged(sides: MatrixProduct): MatrixProduct {
  const readers = sides.right.flatMap((side) => (side.kind === "dense" ? [] : [halfReader(side)]));
  const [first, ...others] = readers;
  const agreed =
    first != null &&
    others.every((reader) => reader?.distance === first.distance) &&
    sides.bound === null &&
    [sides.left, ...sides.right].every((side) => side.along === "k" && side.inner % (2 * first.distance) === 0);
  if (!agreed) return sides;
  return {
    ...sides,
    distance: first.distance,
    right: sides.right.map((side) => {
      const reader = side.kind === "dense" ? null : halfReader(side);
      return side.kind === "dense" || reader === null ? side : { ...side, reader, least: reader.columns };
    }),
  };
}

function halfReader({ term, most }: StoredSide): HalfReader | null {
  const { spec } = term.rows!;
  const reader = codeOf(spec).halves(spec);
  return reader !== null && most % reader.columns === 0 ? reader : null;
}

function operandOf(
  lowering: Lowering,
  eqn: Elements,
  term: ProductTerm,
  factors: readonly Scalar<Concrete>[],
  { axes, outer, inner }: { readonly axes: readonly number[]; readonly outer: number; readonly inner: number },
): DenseSide | null {
  const [only, ...rest] = factors;
  if (only === undefined || rest.length > 0) return null;
  const load = insideAxis(withoutCasts(only), term.column.index, inner);
  const storage = load.kind === "load" ? lowering.storage[load.tensor] : null;
  if (load.kind !== "load" || storage === null || storage === undefined) return null;
  if (load.guarded && !onlyColumnsLeave(lowering, eqn, load, term.column.index)) return null;
  const { type } = lowering.graph.values[load.tensor]!;
  const isHalf = type.format === null ? type.dtype === "f16" : formatOfSpec(type.format).dense === "f16";
  if (!isHalf) return null;
  const { shape, at } =
    type.format === null && !load.guarded ? joinAxes(type.shape, load.at) : { shape: type.shape, at: load.at };
  const size = shape[shape.length - 1];
  // a run of neighbours must start at a multiple of its length
  const own = [...axes.map((axis) => eqn.indices[axis]!.index), term.column.index];
  if (size === undefined || size % run !== 0 || !startsRuns(at[at.length - 1]!, new Set(own))) return null;
  const strideOf = (index: IndexId): number | null =>
    at.reduce<number | null>((sum, scalar, axis) => {
      const coefficient = coefficientOf(scalar, index);
      return sum === null || coefficient === null ? null : sum + coefficient * elementCount(shape.slice(axis + 1));
    }, 0);
  const columnStride = strideOf(term.column.index);
  const outerStride = flatStride(
    axes.map((axis) => ({ stride: strideOf(eqn.indices[axis]!.index), extent: extent(eqn.indices[axis]!) })),
  );
  if (columnStride === null || outerStride === null) return null;
  const start = (environment: Environment): Expr => {
    const zero = withIndices(
      environment,
      own.map((index) => [index, k.u32(0)] as const),
    );
    return flatten(
      shape,
      at.map((scalar) => lowerIndex(zero, scalar)),
    );
  };
  const order = lowering.orders.matrices.get(load.tensor) ?? null;
  if (order !== null && (columnStride !== 1 || outerStride !== inner || elementCount(shape) !== outer * inner))
    return null;
  if (columnStride === 1 && inner % run === 0 && outerStride % run === 0)
    return { kind: "dense", term, storage, along: "k", pitch: outerStride, outer, inner, order, start };
  if (outerStride === 1 && outer % run === 0 && columnStride % run === 0)
    return { kind: "dense", term, storage, along: "outer", pitch: columnStride, outer, inner, order, start };
  return null;
}

/** The right side of a term as units of a format whose values may be rounded to f16, over all of its columns. */
function storedOf({ rows, ...term }: ProductTerm, index: IndexId, outer: number): StoredSide | null {
  const { low, high } = term.column;
  if (rows === null || rows.unit === null || rows.load.guarded || !roundsToHalf(rows.spec)) return null;
  const { columns } = rows.unit;
  if (columns % run !== 0 || constantOf(low) !== 0 || constantOf(high) !== rows.shape.columns) return null;
  return {
    kind: "stored",
    term: { rows, ...term },
    along: "k",
    index,
    least: columns,
    most: columns,
    reader: null,
    outer,
    inner: rows.shape.columns,
  };
}

/** What is left of a guard `select(k < size, x, 0)` where k stays below the size: x. */
function insideAxis(scalar: Scalar<Concrete>, column: IndexId, inner: number): Scalar<Concrete> {
  if (scalar.kind !== "select" || constantOf(scalar.otherwise) !== 0) return scalar;
  const { condition } = scalar;
  const holds =
    condition.kind === "binary" &&
    condition.op === "less" &&
    condition.a.kind === "index" &&
    condition.a.index === column &&
    (constantOf(condition.b) ?? -1) >= inner;
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

/**
 * Whether a guarded load can only leave its tensor along k: the walk over k ends with the axis, and so needs no guard.
 */
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
