import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { powerOfTwoFrom, upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { gridOf } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowestScore } from "../toolkit/reduction.js";
import { fixedSubgroup } from "../toolkit/team.js";
import { leaveElement, partedKernel, queryAt, type Parted } from "./parted.js";
import type { Partial } from "./parts.js";
import {
  isKey,
  keysOf,
  queryElement,
  liesAlike,
  ready,
  rowsOf,
  scoreOf,
  type Group,
  type Held,
  type Widths,
} from "./sides.js";

/**
 * How subgroups take the keys of a few queries, each for itself: some lanes load a row together, every lane a few vectors
 * of as many rows of keys and of values. Sums of products are exchanged so that each lane ends with the score of one query
 * for a key, and the mean is kept by the subgroup. Subgroups of a workgroup meet once, at the end.
 */
export interface SubgroupShape {
  readonly kind: "attention";
  readonly by: "subgroup";
  /** Of a workgroup. */
  readonly subgroups: number;
  /** Queries of one group that a workgroup takes. */
  readonly queries: number;
  /** Vectors of keys that a lane loads for a step, and of values. */
  readonly loads: number;
  /** Workgroups among which the keys of a query are divided. */
  readonly parts: number;
}

/**
 * Whether a shape can be made for an attention: rows of keys and of values by as many lanes, a power of two, and all of one
 * subgroup.
 */
export function subgroupsFit(attention: Attention, widths: Widths, shape: SubgroupShape, target: Target): boolean {
  const size = fixedSubgroup(target);
  const { sizes } = attention;
  const lanes = sizes.key / widths.key;
  return (
    size !== null &&
    lanes === sizes.value / widths.value &&
    powerOfTwoFrom(lanes) === lanes &&
    lanes <= size &&
    powerOfTwoFrom(shape.queries) <= lanes &&
    powerOfTwoFrom(shape.loads) === shape.loads &&
    shape.subgroups * size <= target.maxInvocations &&
    bytesOf(attention, shape) <= target.maxWorkgroupMemory
  );
}

function bytesOf({ sizes }: Attention, { subgroups, queries }: SubgroupShape): number {
  return 4 * subgroups * queries * (sizes.value + 2);
}

/** Where the scores of a step are once they have been exchanged: value query * loads + load of each row. */
interface Spread {
  /** Lanes of a row. */
  readonly lanes: number;
  /** Values that a lane has. */
  readonly own: number;
  /** Neighbours that have the same value. */
  readonly same: number;
  /** Lanes of a row that have scores of one query. */
  readonly ofQuery: number;
}

function spreadOf(lanes: number, queries: number, loads: number): Spread {
  const values = powerOfTwoFrom(queries) * loads;
  return {
    lanes,
    own: Math.max(1, values / lanes),
    same: Math.max(1, lanes / values),
    ofQuery: lanes / powerOfTwoFrom(queries),
  };
}

/** What a lane has loaded of the rows of a key. */
interface HeldRow {
  readonly key: Held;
  readonly value: Held;
}

/**
 * Attention of few queries, bound by the reading of keys and values; each row is read once for all of them. A step's
 * vectors are loaded while the one before is worked on, all at once: that is what keeps memory busy.
 */
export function subgroupAttention(
  lowering: Lowering,
  eqn: AttentionEqn,
  attention: Attention,
  widths: Widths,
  shape: SubgroupShape,
  partial: Partial | null,
): Kernel {
  const build = lowering.builder();
  const { subgroups, queries: count, loads, parts } = shape;
  const { sizes, queryCount, groupCount, over, element, product } = attention;
  const size = fixedSubgroup(lowering.target)!;
  const lanes = subgroups * size;
  const rowLanes = sizes.key / widths.key;
  const spread = spreadOf(rowLanes, count, loads);
  /** Rows of one load, and keys of a step. */
  const rows = size / rowLanes;
  const step = loads * rows;
  // groups side by side, for what they read lies side by side
  const grid = gridOf(build, [groupCount, Math.ceil(queryCount / count), parts]);
  const local = build.bind("local", k.builtin("local_index"));

  const parted: Parted = {
    lowering,
    build,
    eqn,
    attention,
    partial,
    grid,
    at: { group: grid.x, queries: grid.y, part: grid.z },
    queries: count,
    parts,
    unit: step,
    lanes,
  };

  const part = (group: Group, first: Expr, from: Expr, to: Expr): void => {
    const last = build.bind("last", k.sub(k.max(to, 1), 1));
    const subgroup = build.bind("subgroup", k.builtin("subgroup_index"));
    const lane = build.bind("lane", k.builtin("subgroup_lane"));
    const row = build.bind("row", k.div(lane, rowLanes));
    const column = build.bind("column", k.rem(lane, rowLanes));
    const environmentAt = (position: Expr) => queryAt(parted, group, position);
    const own = build.bind("own", k.min(k.div(column, spread.ofQuery), count - 1));
    const isQuery = powerOfTwoFrom(count) === count ? null : k.less(k.div(column, spread.ofQuery), count);
    const ownEnvironment = environmentAt(k.add(first, own));
    const ownKeys = keysOf(build, ownEnvironment, attention);
    /** The load that a lane's score `at` is of. */
    const loadAt = (at: number): Expr => k.rem(k.add(k.div(k.mul(column, spread.own), spread.same), at), loads);

    const elements = upTo(count).map((query) => {
      const environment = environmentAt(k.add(first, query));
      return upTo(widths.key).map((i) =>
        build.bind("x", queryElement(environment, attention, k.add(k.mul(column, widths.key), i))),
      );
    });
    const sums = upTo(count).map(() => upTo(widths.value).map(() => build.variable("sum", k.f32(0))));
    const highest = build.variable("highest", k.f32(lowestScore));
    const total = build.variable("total", k.f32(0));
    const along = product.over[0]!.index;
    const keys = rowsOf(lowering, group, attention.key, { along, key: over.index, width: widths.key });
    const values = rowsOf(lowering, group, attention.value, {
      along: element.index,
      key: over.index,
      width: widths.value,
    });
    const alike = liesAlike(lowering, attention, widths);
    /** Loads a lane's vectors of a step, into `held` if there is any. */
    const load = (start: Expr, held: readonly HeldRow[] | null): readonly HeldRow[] => {
      const places = upTo(loads).map((at) => {
        const key = build.bind("row_key", k.min(k.add(start, k.add(row, at * rows)), last));
        return { key: keys.at(key), value: alike ? null : values.at(key) };
      });
      const ofKeys = places.map(({ key }, at) => keys.hold(key, column, held?.[at]?.key ?? null));
      return places.map(({ key, value }, at) => {
        const into = held?.[at]?.value ?? null;
        if (value !== null) return { key: ofKeys[at]!, value: values.hold(value, column, into) };
        const { words } = values.hold({ start: key.start, inside: null }, column, into);
        return { key: ofKeys[at]!, value: { words, inside: ofKeys[at]!.inside } };
      });
    };
    const begin = build.bind("start", k.add(from, k.mul(subgroup, step)));
    const held = load(begin, null);

    build.loop(
      "step",
      begin,
      to,
      (start) => {
        ready(
          build,
          held.flatMap(({ key, value }) => [key, value]),
          true,
        );
        const products = held.map(({ key }) => {
          const row = keys.values(key.words);
          return elements.map((query) =>
            build.bind(
              "product",
              row.reduce<Expr>(
                (sum, value, i) => (i === 0 ? k.mul(value, query[i]!) : k.fma(value, query[i]!, sum)),
                k.f32(0),
              ),
            ),
          );
        });
        const taken = held.map(({ value }) => build.variable("taken", value.words));
        load(k.add(start, step * subgroups), held);

        const ofAll = upTo(powerOfTwoFrom(count)).flatMap((query) => products.map((row) => row[query] ?? k.f32(0)));
        const scores = exchanged(build, lane, ofAll, spread).map((sum, at) => {
          const key = build.bind("key", k.add(start, k.add(k.mul(loadAt(at), rows), row)));
          // steps end where parts do
          const isOwn = isKey(ownKeys, key);
          const inside = build.bind("inside", isQuery === null ? isOwn : k.and(isQuery, isOwn));
          const score = scoreOf(ownEnvironment, attention, build.bind("key_at", k.min(key, last)), sum);
          return { inside, score: build.bind("score", k.select(inside, score, lowestScore)) };
        });
        const peak = build.variable(
          "peak",
          scores.map(({ score }) => score).reduce((a, b) => k.max(a, b)),
        );
        const most = build.bind("most", k.max(highest, joined(build, "max", peak, spread, size)));
        const rises = k.call("subgroupMax", [k.select(k.greater(most, highest), k.u32(1), k.u32(0))]);
        // rare once some keys have gone by
        build.when(k.equal(build.bind("rises", rises), 1), () => {
          const below = build.bind("below", k.exp(k.sub(highest, most)));
          build.assign(total, k.mul(total, below));
          build.assign(highest, most);
          sums.forEach((row, query) => {
            const scale = build.bind("scale", k.call("subgroupShuffle", [below, k.u32(query * spread.ofQuery)]));
            row.forEach((sum) => build.assign(sum, k.mul(sum, scale)));
          });
        });
        const weights = scores.map(({ inside, score }) =>
          build.bind("weight", k.select(inside, k.exp(k.sub(score, highest)), 0)),
        );
        for (const weight of weights) build.assign(total, k.add(total, weight));
        const base = build.bind("base", k.sub(lane, column));
        taken.forEach((vector, at) => {
          const elements = values.values(vector);
          sums.forEach((row, query) => {
            const value = query * loads + at;
            const from = k.add(base, Math.floor((value * spread.same) / spread.own));
            const weight = build.bind("w", k.call("subgroupShuffle", [weights[value % spread.own]!, from]));
            row.forEach((sum, h) => build.assign(sum, k.fma(weight, elements[h]!, sum)));
          });
        });
      },
      step * subgroups,
    );
    joined(build, "add", total, spread, size);
    for (const row of sums)
      for (const sum of row)
        for (let stride = rowLanes; stride < size; stride *= 2)
          build.assign(sum, k.add(sum, k.call("subgroupShuffleXor", [sum, k.u32(stride)])));
    finish(group, first, { subgroup, lane, row, column }, { sums, highest, total });
  };

  /** Joins what subgroups have, and stores it. */
  const finish = (
    group: Group,
    first: Expr,
    at: { readonly subgroup: Expr; readonly lane: Expr; readonly row: Expr; readonly column: Expr },
    {
      sums,
      highest,
      total,
    }: { readonly sums: readonly (readonly Expr[])[]; readonly highest: Expr; readonly total: Expr },
  ): void => {
    const exchange = build.array("exchange", "f32", subgroups * count * sizes.value);
    const states = build.array("states", "f32", subgroups * count * 2);
    const isFirst = k.and(k.equal(at.row, 0), k.equal(k.rem(at.column, spread.ofQuery), 0));
    const query = k.div(at.column, spread.ofQuery);
    build.when(powerOfTwoFrom(count) === count ? isFirst : k.and(isFirst, k.less(query, count)), () => {
      const place = build.bind("place", k.mul(k.add(k.mul(at.subgroup, count), query), 2));
      build.add(k.storeShared(states, place, highest));
      build.add(k.storeShared(states, k.add(place, 1), total));
    });
    build.when(k.equal(at.row, 0), () => {
      const place = build.bind("place", k.add(k.mul(at.subgroup, count * sizes.value), k.mul(at.column, widths.value)));
      sums.forEach((row, query) =>
        row.forEach((sum, h) => build.add(k.storeShared(exchange, k.add(place, query * sizes.value + h), sum))),
      );
    });
    build.barrier();
    build.loop(
      "at",
      local,
      k.u32(count * sizes.value),
      (at) => {
        const query = build.bind("query", k.div(at, sizes.value));
        const h = build.bind("h", k.rem(at, sizes.value));
        const position = build.bind("position", k.add(first, query));
        const ofSubgroups = upTo(subgroups).map((each) => {
          const place = build.bind("state", k.mul(k.add(query, each * count), 2));
          return {
            highest: build.bind("highest", k.loadShared(states, "f32", place)),
            total: build.bind("total", k.loadShared(states, "f32", k.add(place, 1))),
          };
        });
        const most = build.bind(
          "most",
          ofSubgroups.map((each) => each.highest).reduce((a, b) => k.max(a, b)),
        );
        const sum = build.variable("weighted", k.f32(0));
        const whole = build.variable("whole", k.f32(0));
        ofSubgroups.forEach((state, each) => {
          const share = build.bind("share", k.exp(k.sub(state.highest, most)));
          const part = k.loadShared(exchange, "f32", k.add(at, each * count * sizes.value));
          build.assign(sum, k.fma(part, share, sum));
          build.assign(whole, k.fma(state.total, share, whole));
        });
        const store = (): void => leaveElement(parted, group, { position, h, sum, highest: most, total: whole });
        if (queryCount % count === 0) store();
        else build.when(k.less(position, queryCount), store);
      },
      lanes,
    );
  };
  return partedKernel(parted, part);
}

/** Sums over the lanes of a row, of several values at once: each lane ends with the sums of its own. */
function exchanged(build: KernelBuilder, lane: Expr, values: readonly Expr[], { lanes, own }: Spread): readonly Expr[] {
  let rest = values;
  for (let stride = lanes / 2; stride >= 1; stride /= 2) {
    const xor = (value: Expr): Expr => k.call("subgroupShuffleXor", [value, k.u32(stride)]);
    if (rest.length <= own) {
      rest = rest.map((value) => build.bind("sum", k.add(value, xor(value))));
      continue;
    }
    const half = rest.length / 2;
    const isHigh = build.bind("is_high", k.notEqual(k.bitAnd(lane, stride), 0));
    const [low, high] = [rest.slice(0, half), rest.slice(half)];
    rest = low.map((value, at) => {
      const theirs = build.bind("theirs", k.select(isHigh, value, high[at]!));
      return build.bind("sum", k.add(k.select(isHigh, high[at]!, value), xor(theirs)));
    });
  }
  return rest;
}

/** The maximum or the sum of a variable over the lanes that have scores of one query, each score once. */
function joined(
  build: KernelBuilder,
  op: "max" | "add",
  variable: Expr,
  { lanes, same, ofQuery }: Spread,
  size: number,
): Expr {
  const join = (stride: number): void => {
    const theirs = k.call("subgroupShuffleXor", [variable, k.u32(stride)]);
    build.assign(variable, op === "max" ? k.max(variable, theirs) : k.add(variable, theirs));
  };
  for (let stride = same; stride < ofQuery; stride *= 2) join(stride);
  for (let stride = lanes; stride < size; stride *= 2) join(stride);
  return variable;
}
