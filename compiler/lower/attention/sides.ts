/** What the schedules of attention read: rows of keys and values in vectors, queries, and where their keys begin and end. */
import { growsWith, type Attention, type AttentionEqn } from "../../graph/analysis/attention.js";
import { coefficientOf, intervalOf } from "../../graph/analysis/ranges.js";
import type { IndexId, Scalar } from "../../graph/graph.js";
import { constantOf, freeIndices, scalarKey, type Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { elementCount, upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { joinAxes, type Access } from "../toolkit/axes.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { unflatten } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { storeElement } from "../toolkit/store.js";
import {
  flatten,
  lowerIndex,
  lowerRange,
  lowerScalar,
  withIndices,
  withKnown,
  type Environment,
} from "../toolkit/scalar.js";

/** The queries of one group, which read the same keys and values. */
export interface Group {
  /** An environment with the own indices of the query at a u32 position in the group, which is in range. */
  readonly query: (position: Expr) => Environment;
  /** An environment for places of keys and values: with the own indices of the group's first query. */
  readonly first: Environment;
}

/** The group at a u32 position. */
export function groupAt(environment: Environment, { axes }: Attention, position: Expr): Group {
  const { build } = environment;
  const names = axes.map(({ range }) => range.name);
  const groups = unflatten(
    build,
    position,
    axes.map((axis) => axis.extent / axis.share),
    names,
  );
  const starts = axes.map(({ share }, at) => build.bind("start", k.mul(groups[at]!, share)));
  const withAxes = (values: readonly Expr[]): Environment =>
    withIndices(
      environment,
      axes.map(({ range }, at) => [range.index, values[at]!] as const),
    );
  return {
    first: withAxes(starts),
    query: (at) => {
      const own = unflatten(
        build,
        at,
        axes.map(({ share }) => share),
        names,
      );
      return withAxes(
        axes.map(({ range, share, extent }, axis) => {
          if (share === 1) return groups[axis]!;
          return share === extent ? own[axis]! : build.bind(range.name, k.add(starts[axis]!, own[axis]!));
        }),
      );
    },
  };
}

/** How wide rows of keys and values are read. */
export interface Widths {
  readonly key: 4 | 8;
  readonly value: 4 | 8;
}

/** Where a row is. */
export interface RowPlace {
  /** Place of its first element, counted in vectors. */
  readonly start: Expr;
  /** Whether there is one; null where there always is. */
  readonly inside: Expr | null;
}

/** Words that were loaded ahead, in variables. */
export interface Held {
  readonly words: Expr;
  /** Whether the row that they are of is there; null where it always is. */
  readonly inside: Expr | null;
}

/**
 * Makes words that are held those of the rows: 0 where there is none, which is rare. `subgroups`: by a branch that each
 * subgroup takes or not as a whole, as what comes after it is done by all lanes together.
 */
export function ready(build: KernelBuilder, held: readonly Held[], subgroups: boolean): void {
  const flags = [...new Set(held.flatMap(({ inside }) => (inside === null ? [] : [inside])))];
  if (flags.length === 0) return;
  const lacks = k.not(flags.reduce((a, b) => k.and(a, b)));
  const lacking = subgroups
    ? k.equal(build.bind("lacking", k.call("subgroupMax", [k.select(lacks, k.u32(1), k.u32(0))])), 1)
    : lacks;
  build.when(lacking, () => {
    for (const { words, inside } of held)
      if (inside !== null) build.assign(words, k.select(k.splat(inside, 4), words, k.constant(words.type, 0)));
  });
}

/** Whether rows of keys lie in their tensor as those of values do in theirs, read by vectors as wide. */
export function liesAlike(lowering: Lowering, { key, value, product, element }: Attention, widths: Widths): boolean {
  const text = (load: Load<Concrete>, along: IndexId, width: number): string => {
    const { shape, at } = accessOf(lowering, load);
    const names = new Map([[along, "along"]]);
    return JSON.stringify([load.guarded, width, shape, at.map((index) => scalarKey(index, names))]);
  };
  return text(key, product.over[0]!.index, widths.key) === text(value, element.index, widths.value);
}

/** Rows of a dense float tensor, one for each key, read in vectors. */
export interface Rows {
  /** Elements of a vector, 4 or 8. */
  readonly width: number;
  /** Where the row of a key is. */
  readonly at: (key: Expr) => RowPlace;
  /** The words of a vector as they lie in memory, 0 of a row that there is not; and the f32 that they are. */
  readonly load: (row: RowPlace, column: Expr | number) => Expr;
  /** The same kept in variables, new ones where there are none: nothing waits for the words before they are `ready`. */
  readonly hold: (row: RowPlace, column: Expr | number, into: Held | null) => Held;
  readonly values: (loaded: Expr) => readonly Expr[];
}

/** Elements that a vector of a row has where rows of `length` begin at multiples of it; null where at none of 4. */
export function rowWidth(lowering: Lowering, load: Load<Concrete>, along: IndexId, length: number): 4 | 8 | null {
  const { type } = lowering.graph.values[load.tensor]!;
  const { shape, at } = accessOf(lowering, load);
  const [size, last] = [shape[shape.length - 1]!, at[at.length - 1]!];
  const fits = (width: number): boolean => size % width === 0 && length % width === 0 && isMultiple(last, width, along);
  return type.dtype === "f16" && fits(8) ? 8 : fits(4) ? 4 : null;
}

/** The indices of a load; each of one that is guarded is held to its own axis. */
function accessOf({ graph }: Lowering, { tensor, at, guarded }: Load<Concrete>): Access {
  const { shape } = graph.values[tensor]!.type;
  return guarded ? { shape, at } : joinAxes(shape, at);
}

/** Whether an index is a multiple of a number where `zero` is 0. */
function isMultiple(scalar: Scalar<Concrete>, of: number, zero: IndexId): boolean {
  const value = constantOf(scalar);
  if (value !== null) return value % of === 0;
  if (scalar.kind === "index") return scalar.index === zero;
  if (scalar.kind !== "binary") return false;
  if (scalar.op === "add") return isMultiple(scalar.a, of, zero) && isMultiple(scalar.b, of, zero);
  return scalar.op === "multiply" && [scalar.a, scalar.b].some((factor) => isMultiple(factor, of, zero));
}

/** The place of the row that an environment's indices read, in vectors of `width`. */
export function rowPlace(
  lowering: Lowering,
  environment: Environment,
  load: Load<Concrete>,
  along: IndexId,
  width: number,
): RowPlace {
  const { shape, at } = accessOf(lowering, load);
  const first = withIndices(environment, [[along, k.u32(0)]]);
  const { build, intervals } = environment;
  let inside: Expr | null = null;
  const indices = at.map((scalar, axis) => {
    const index = lowerIndex(first, scalar);
    if (!load.guarded || axis === at.length - 1) return index;
    const { low, high } = intervalOf(scalar, intervals);
    if (low >= 0 && high < shape[axis]!) return index;
    // a negative i32 becomes a large u32, so one comparison serves both ends
    const bound = build.bind("at", index);
    const within = k.less(bound, shape[axis]!);
    inside = inside === null ? within : k.and(inside, within);
    return k.select(within, bound, 0);
  });
  const start = flatten(
    [...shape.slice(0, -1), shape[shape.length - 1]! / width],
    [...indices.slice(0, -1), k.div(indices[indices.length - 1]!, width)],
  );
  return { start, inside: inside === null ? null : build.bind("there", inside) };
}

/** The rows of keys or values for a group; `along` is the index that a row is read along, `key` that of the rows. */
export function rowsOf(
  lowering: Lowering,
  group: Group,
  load: Load<Concrete>,
  { along, key, width }: { readonly along: IndexId; readonly key: IndexId; readonly width: 4 | 8 },
): Rows {
  const { build } = group.first;
  const { type } = lowering.graph.values[load.tensor]!;
  const storage = lowering.storage[load.tensor]!;
  const { shape, at } = accessOf(lowering, load);
  const element = width === 8 ? "vec4<u32>" : type.dtype === "f16" ? "vec4<f16>" : "vec4<f32>";
  const buffer = build.view(storage, element, "read");
  const place = (position: Expr): RowPlace =>
    rowPlace(lowering, withIndices(group.first, [[key, position]]), load, along, width);
  // rows a constant apart, unless their places are data
  const pitch = at.slice(0, -1).reduce<number | null>((sum, scalar, axis) => {
    const coefficient = coefficientOf(scalar, key);
    return sum === null || coefficient === null ? null : sum + coefficient * elementCount(shape.slice(axis + 1));
  }, 0);
  const origin =
    load.guarded || pitch === null || pitch % width !== 0 || freeIndices(at[at.length - 1]!).has(key)
      ? null
      : build.bind("rows", place(k.u32(0)).start);
  return {
    width,
    at: (position) =>
      origin === null ? place(position) : { start: k.add(origin, k.mul(position, pitch! / width)), inside: null },
    load({ start, inside }, column) {
      const loaded = k.loadBuffer(buffer, element, k.add(start, column));
      return inside === null ? loaded : k.select(inside, loaded, 0);
    },
    hold({ start, inside }, column, into) {
      const loaded = k.loadBuffer(buffer, element, k.add(start, column));
      if (into === null)
        return {
          words: build.variable("held", loaded),
          inside: inside === null ? null : build.variable("held_there", inside),
        };
      build.assign(into.words, loaded);
      if (inside !== null) build.assign(into.inside!, inside);
      return into;
    },
    values: (loaded) => {
      const part = (vector: Expr, count: number): Expr[] => upTo(count).map((each) => k.component(vector, each));
      if (width === 8)
        return upTo(4).flatMap((word) =>
          part(build.bind("pair", k.call("unpack2x16float", [k.component(loaded, word)])), 2),
        );
      return part(build.bind("four", k.convert("vec4<f32>", loaded)), 4);
    },
  };
}

/** Element i, a u32, of what a query's sum multiplies the keys by. */
export function queryElement(environment: Environment, { queries, product }: Attention, i: Expr): Expr {
  const inner = withIndices(environment, [[product.over[0]!.index, i]]);
  return queries.map((factor) => k.convert("f32", lowerScalar(inner, factor))).reduce((a, b) => k.mul(a, b));
}

/** The score of a query for a key, given the sum of their products. */
export function scoreOf(environment: Environment, { mean, over, product }: Attention, key: Expr, sum: Expr): Expr {
  return lowerScalar(withKnown(withIndices(environment, [[over.index, key]]), [[product, sum]]), mean.score!);
}

/** Keys `from` .. `to`, u32. */
export interface Keys {
  readonly from: Expr;
  readonly to: Expr;
}

/** The keys of one query. */
export function keysOf(build: KernelBuilder, environment: Environment, { over }: Attention): Keys {
  const { from, to } = lowerRange(environment, over);
  return { from: build.bind("from", from), to: build.bind("to", to) };
}

/** Whether a key is one of a query's. */
export function isKey({ from, to }: Keys, key: Expr): Expr {
  return k.literalValue(from) === 0 ? k.less(key, to) : k.and(k.greaterEqual(key, from), k.less(key, to));
}

/**
 * The keys of `count` queries from a position on, all together. What lies outside of them none of the queries reads, and
 * it may be memory that nobody wrote.
 */
export function keysOfAll(group: Group, attention: Attention, first: Expr, count: number): Keys {
  const { build } = group.first;
  const { over, axes, queryCount } = attention;
  const inside = (position: Expr): Expr => build.bind("position", k.min(position, queryCount - 1));
  const of = (position: Expr): Keys => keysOf(build, group.query(inside(position)), attention);
  const varying = axes.filter(({ share }) => share > 1);
  /** Whether a bound never falls from one query to the next. */
  const rises = (bound: Scalar<Concrete>): boolean =>
    varying.every(
      ({ range }, at) => !freeIndices(bound).has(range.index) || (at === 0 && growsWith(bound, range.index)),
    );
  const [early, late] = [rises(over.low), rises(over.high)];
  const from = early ? of(first).from : build.variable("from", k.u32(0xffffffff));
  const to = late ? of(k.add(first, count - 1)).to : build.variable("to", k.u32(0));
  if (!early || !late)
    build.loop("query", k.u32(0), k.u32(count), (query) => {
      const keys = of(k.add(first, query));
      if (!early) build.assign(from, k.min(from, keys.from));
      if (!late) build.assign(to, k.max(to, keys.to));
    });
  return { from, to };
}

/** Where a lane is in rows that `lanes` of them load together. */
export interface Side {
  readonly lanes: number;
  /** Rows that a workgroup loads at once. */
  readonly rows: number;
  readonly row: Expr;
  /** Vector in the row. */
  readonly column: Expr;
  /** Whether the lane has a row; null where all have. */
  readonly busy: Expr | null;
}

/** Where a lane of `size` is, `lanes` of which load a row together. */
export function laneOf(build: KernelBuilder, local: Expr, size: number, lanes: number): Side {
  const rows = Math.floor(size / lanes);
  return {
    lanes,
    rows,
    row: build.bind("row", k.div(local, lanes)),
    column: build.bind("column", k.rem(local, lanes)),
    busy: rows * lanes === size ? null : build.bind("busy", k.less(local, rows * lanes)),
  };
}

/** Stores the element of the eqn that the mean belongs to. */
export function storeMean(
  lowering: Lowering,
  environment: Environment,
  eqn: AttentionEqn,
  { mean }: Attention,
  value: Expr,
): void {
  const inner = withKnown(environment, [[mean, environment.build.bind("mean", value)]]);
  storeElement(lowering, inner, eqn, lowerScalar(inner, eqn.body));
}
