import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { gridOf } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowestScore } from "../toolkit/reduction.js";
import { combineTeam, type Team } from "../toolkit/team.js";
import { leaveElement, partedKernel, queryAt, type Parted } from "./parted.js";
import type { Partial } from "./parts.js";
import {
  isKey,
  keysOf,
  laneOf,
  queryElement,
  ready,
  rowsOf,
  scoreOf,
  type Group,
  type Held,
  type Rows,
  type Side,
  type Widths,
} from "./sides.js";

/**
 * How a workgroup takes the keys of a few queries: all its lanes load a tile of keys and values, some lanes a row; then a
 * lane has the score of each query for a key of the tile; then each adds up what it loaded of the values.
 */
export interface SplitShape {
  readonly kind: "attention";
  readonly by: "workgroup";
  readonly lanes: number;
  /** Queries of one group that a workgroup takes. */
  readonly queries: number;
  /** Keys of a tile. */
  readonly tile: number;
  /** Workgroups among which the keys of a query are divided. */
  readonly parts: number;
  /** Whether a tile's vectors are loaded while the one before is worked on: 0 or 1. */
  readonly ahead: number;
}

/** Whether a shape can be made for an attention. */
export function splitFits(attention: Attention, widths: Widths, shape: SplitShape, target: Target): boolean {
  const { sizes } = attention;
  return (
    Math.max(sizes.key / widths.key, sizes.value / widths.value) <= shape.lanes &&
    shape.tile * shape.queries <= shape.lanes &&
    bytesOf(attention, widths, shape) <= target.maxWorkgroupMemory
  );
}

/** Elements of the array that partial sums of scores, and at the end of values, are exchanged through. */
function exchanged({ sizes }: Attention, widths: Widths, { lanes, queries, tile }: SplitShape): number {
  const rows = Math.floor(lanes / (sizes.value / widths.value));
  return Math.max(tile * queries * scoreStride(sizes.key / widths.key), rows * sizes.value);
}

function bytesOf(attention: Attention, widths: Widths, shape: SplitShape): number {
  // beside it the weights of a tile, what is left of sums before it, and maxima of a team
  return 4 * (exchanged(attention, widths, shape) + shape.tile * shape.queries + shape.lanes + 4 * shape.queries);
}

/** Between the partial sums of neighbouring scores: odd, so that they lie in different banks. */
const scoreStride = (lanes: number): number => lanes | 1;

/** Attention of few queries, bound by the reading of keys and values: each row is read once for all of a workgroup. */
export function splitAttention(
  lowering: Lowering,
  eqn: AttentionEqn,
  attention: Attention,
  widths: Widths,
  shape: SplitShape,
  partial: Partial | null,
): Kernel {
  const build = lowering.builder();
  const { lanes, queries: count, tile, parts } = shape;
  const { sizes, queryCount, groupCount, over, element, product } = attention;
  const grid = gridOf(build, [parts, Math.ceil(queryCount / count), groupCount]);
  const local = build.bind("lane", k.builtin("local_index"));

  const parted: Parted = {
    lowering,
    build,
    eqn,
    attention,
    partial,
    grid,
    at: { group: grid.z, queries: grid.y, part: grid.x },
    queries: count,
    parts,
    unit: tile,
    lanes,
  };

  const part = (group: Group, first: Expr, from: Expr, to: Expr): void => {
    const last = build.bind("last", k.sub(k.max(to, 1), 1));
    const exchange = build.array("exchange", "f32", exchanged(attention, widths, shape));
    const weights = build.array("weights", "f32", tile * count);
    const belows = build.array("belows", "f32", count);

    // lanes by rows of keys, by rows of values, and by pairs of a query and a key of the tile
    const keySide = laneOf(build, local, lanes, sizes.key / widths.key);
    const valueSide = laneOf(build, local, lanes, sizes.value / widths.value);
    const own = build.bind("own", k.div(local, tile));
    const ownKey = build.bind("own_key", k.rem(local, tile));
    const environmentAt = (position: Expr) => queryAt(parted, group, position);
    const ownEnvironment = environmentAt(k.add(first, k.min(own, count - 1)));
    const ownKeys = keysOf(build, ownEnvironment, attention);
    const isPair = tile * count === lanes ? null : build.bind("is_pair", k.less(local, tile * count));

    const elements = upTo(count).map((query) => {
      const environment = environmentAt(k.add(first, query));
      return upTo(widths.key).map((i) =>
        build.bind("x", queryElement(environment, attention, k.add(k.mul(keySide.column, widths.key), i))),
      );
    });
    const sums = upTo(count).map(() => upTo(widths.value).map(() => build.variable("sum", k.f32(0))));
    const highest = build.variable("highest", k.f32(lowestScore));
    const total = build.variable("total", k.f32(0));
    const team: Team = {
      lanes: tile,
      lane: ownKey,
      among: { team: own, teams: Math.ceil(lanes / tile) },
      hint: "peak",
      arrays: new Map(),
    };
    const keys = rowsOf(lowering, group, attention.key, {
      along: product.over[0]!.index,
      key: over.index,
      width: widths.key,
    });
    const values = rowsOf(lowering, group, attention.value, {
      along: element.index,
      key: over.index,
      width: widths.value,
    });

    const tileAt = (start: Expr) => ({ start, last, tile });
    const ahead = shape.ahead === 1;
    const heldKeys = ahead ? rowsOfTile(build, keys, keySide, tileAt(from), []) : null;
    const heldValues = ahead ? rowsOfTile(build, values, valueSide, tileAt(from), []) : null;
    build.loop(
      "tile",
      from,
      to,
      (start) => {
        // loads first, so that all are under way together
        const keyRows = heldKeys ?? rowsOfTile(build, keys, keySide, tileAt(start), null);
        const valueRows = heldValues ?? rowsOfTile(build, values, valueSide, tileAt(start), null);
        const next = tileAt(k.add(start, tile));
        const areReady = (rows: readonly TileRow[]): void =>
          ready(
            build,
            rows.flatMap(({ held }) => held ?? []),
            false,
          );
        areReady(keyRows);
        const multiply = (): void =>
          keyRows.forEach(({ row, loaded, inside }) => {
            const store = (): void => {
              const row4 = keys.values(loaded);
              elements.forEach((query, at) => {
                const sum = row4.reduce<Expr>(
                  (sum, value, i) => (i === 0 ? k.mul(value, query[i]!) : k.fma(value, query[i]!, sum)),
                  k.f32(0),
                );
                const place = k.add(
                  k.mul(k.add(k.mul(k.u32(at), tile), row), scoreStride(keySide.lanes)),
                  keySide.column,
                );
                build.add(k.storeShared(exchange, place, sum));
              });
            };
            if (inside === null) store();
            else build.when(inside, store);
          });
        if (keySide.busy === null) multiply();
        else build.when(keySide.busy, multiply);
        if (heldKeys !== null) rowsOfTile(build, keys, keySide, next, heldKeys);
        build.barrier();

        const key = build.bind("key", k.add(start, ownKey));
        const sum = build.variable("score_sum", k.f32(0));
        const pair = build.bind("pair", k.mul(k.min(local, tile * count - 1), scoreStride(keySide.lanes)));
        for (let at = 0; at < keySide.lanes; at++)
          build.assign(sum, k.add(sum, k.loadShared(exchange, "f32", k.add(pair, at))));
        const inPart = build.bind("inside", k.and(k.less(key, to), isKey(ownKeys, key)));
        const inside = isPair === null ? inPart : build.bind("inside", k.and(isPair, inPart));
        const score = build.bind(
          "score",
          k.select(
            inside,
            scoreOf(ownEnvironment, attention, build.bind("key_at", k.min(key, last)), sum),
            lowestScore,
          ),
        );
        const peak = build.variable("peak", score);
        combineTeam(build, lowering.target, team, "max", [peak]);
        const most = build.bind("most", k.max(highest, peak));
        const below = build.bind("below", k.exp(k.sub(highest, most)));
        const weight = build.bind("weight", k.select(inside, k.exp(k.sub(score, most)), 0));
        build.assign(highest, most);
        build.assign(total, k.fma(total, below, weight));
        const leave = (): void => {
          build.add(k.storeShared(weights, k.add(k.mul(ownKey, count), own), weight));
          build.when(k.equal(ownKey, 0), () => build.add(k.storeShared(belows, own, below)));
        };
        if (isPair === null) leave();
        else build.when(isPair, leave);
        build.barrier();

        areReady(valueRows);
        const scale = upTo(count).map((query) => build.bind("below", k.loadShared(belows, "f32", k.u32(query))));
        sums.forEach((row, query) => row.forEach((value) => build.assign(value, k.mul(value, scale[query]!))));
        const add = (): void =>
          valueRows.forEach(({ row, loaded, inside }) => {
            const store = (): void => {
              const elements = values.values(loaded);
              sums.forEach((each, query) => {
                const weight = build.bind("w", k.loadShared(weights, "f32", k.add(k.mul(row, count), query)));
                each.forEach((sum, h) => build.assign(sum, k.fma(weight, elements[h]!, sum)));
              });
            };
            if (inside === null) store();
            else build.when(inside, store);
          });
        if (valueSide.busy === null) add();
        else build.when(valueSide.busy, add);
        if (heldValues !== null) rowsOfTile(build, values, valueSide, next, heldValues);
      },
      tile,
    );

    combineTeam(build, lowering.target, team, "sum", [total]);
    build.barrier();
    // the rows that lanes have summed apart, one query after the other
    const totals = build.array("totals", "f32", 2 * count);
    const tell = (): void =>
      build.when(k.equal(ownKey, 0), () => {
        build.add(k.storeShared(totals, own, total));
        build.add(k.storeShared(totals, k.add(own, count), highest));
      });
    if (isPair === null) tell();
    else build.when(isPair, tell);
    for (let query = 0; query < count; query++) {
      const store = (): void =>
        sums[query]!.forEach((sum, h) =>
          build.add(
            k.storeShared(
              exchange,
              k.add(k.add(k.mul(valueSide.row, sizes.value), k.mul(valueSide.column, widths.value)), h),
              sum,
            ),
          ),
        );
      if (valueSide.busy === null) store();
      else build.when(valueSide.busy, store);
      build.barrier();
      const position = build.bind("query", k.add(first, query));
      const whole = build.bind("whole", k.loadShared(totals, "f32", k.u32(query)));
      const finish = (): void =>
        build.loop(
          "h",
          local,
          k.u32(sizes.value),
          (h) => {
            const sum = build.variable("weighted", k.f32(0));
            for (let row = 0; row < valueSide.rows; row++)
              build.assign(sum, k.add(sum, k.loadShared(exchange, "f32", k.add(h, row * sizes.value))));
            const highest = k.loadShared(totals, "f32", k.u32(count + query));
            leaveElement(parted, group, { position, h, sum, highest, total: whole });
          },
          lanes,
        );
      if (queryCount % count === 0) finish();
      else build.when(k.less(position, queryCount), finish);
      build.barrier();
    }
  };
  return partedKernel(parted, part);
}

/** A lane's vector of the row of a tile. */
interface TileRow {
  /** In the tile. */
  readonly row: Expr;
  readonly loaded: Expr;
  /** Where it was loaded ahead. */
  readonly held: Held | null;
  /** Whether the tile has it; null where it always has. */
  readonly inside: Expr | null;
}

/**
 * A lane's vectors of the rows of a tile. Rows past the last key are the last: their weight is 0. `into`: null for what is
 * used at once, else what it is held in, in new variables where there are none.
 */
function rowsOfTile(
  build: KernelBuilder,
  rows: Rows,
  side: Side,
  { start, last, tile }: { readonly start: Expr; readonly last: Expr; readonly tile: number },
  into: readonly TileRow[] | null,
): readonly TileRow[] {
  return upTo(Math.ceil(tile / side.rows)).map((step) => {
    const row = build.bind("tile_row", k.add(side.row, step * side.rows));
    const inside = (step + 1) * side.rows > tile ? build.bind("in_tile", k.less(row, tile)) : null;
    const key = build.bind("row_key", k.min(k.add(start, row), last));
    const place = rows.at(key);
    if (into === null) return { row, inside, loaded: build.bind("loaded", rows.load(place, side.column)), held: null };
    const held = rows.hold(place, side.column, into[step]?.held ?? null);
    return { row, inside, loaded: held.words, held };
  });
}
