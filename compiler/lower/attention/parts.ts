/** What the workgroups leave that have parts of a query's keys, and the kernel that merges them. */
import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import type { Storage } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { powerOfTwoFrom, upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { spread, whereWanted, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowestScore } from "../toolkit/reduction.js";
import { withIndices } from "../toolkit/scalar.js";
import { combineTeam, soleTeam } from "../toolkit/team.js";
import { groupAt, laneOf, storeMean, type Keys } from "./sides.js";

/** What parts leave: sums [group, query, part, h], and the highest score and total [group, query, part, 2]. */
export interface Partial {
  readonly sums: Storage;
  readonly states: Storage;
}

/** Keeps the highest score and the total of a part. */
export function leaveState(build: KernelBuilder, { states }: Partial, row: Expr, highest: Expr, total: Expr): void {
  const buffer = build.view(states, "f32", "read_write");
  build.add(k.store(buffer, k.mul(row, 2), highest));
  build.add(k.store(buffer, k.add(k.mul(row, 2), 1), total));
}

/** The place of a query's part among all parts. */
export function partAt(
  build: KernelBuilder,
  { queryCount }: Attention,
  group: Expr,
  query: Expr,
  part: Expr,
  parts: number,
): Expr {
  return build.bind("part", k.add(k.mul(k.add(k.mul(group, queryCount), query), parts), part));
}

/**
 * The keys of one of `parts`, in units of so many: as many units as divide all that there are evenly, so that each part has
 * some however few.
 */
export function partOf(
  build: KernelBuilder,
  from: Expr,
  to: Expr,
  { unit, parts }: { readonly unit: number; readonly parts: number },
  part: Expr,
): Keys {
  if (parts === 1) return { from: build.bind("first_key", from), to: build.bind("end", to) };
  const low = build.bind("first_key", from);
  const length = build.bind("length", k.sub(k.max(to, low), low));
  const units = k.div(k.add(length, unit * parts - 1), unit * parts);
  const size = build.bind("part_keys", k.mul(units, unit));
  const start = build.bind("part_from", k.add(low, k.mul(part, size)));
  return { from: start, to: build.bind("end", k.min(k.add(start, size), k.add(low, length))) };
}

/** Where a workgroup is: its queries, from one of a group on, and its part of their keys. */
export interface PartPlace {
  readonly group: Expr;
  readonly first: Expr;
  readonly queries: number;
  readonly part: Expr;
  readonly parts: number;
}

/** Does `body` where there are keys; a part that has none leaves the state of nothing. */
export function whereKeys(
  build: KernelBuilder,
  attention: Attention,
  { from, to }: Keys,
  partial: Partial | null,
  { group, first, queries, part, parts }: PartPlace,
  body: () => void,
): void {
  if (partial === null) return body();
  build.when(k.less(from, to), body, () => {
    for (let query = 0; query < queries; query++) {
      const position = build.bind("query", k.add(first, query));
      const isOwn = k.and(k.equal(k.builtin("local_index"), query), k.less(position, attention.queryCount));
      build.when(isOwn, () => {
        const row = partAt(build, attention, group, position, part, parts);
        leaveState(build, partial, row, k.f32(lowestScore), k.f32(0));
      });
    }
  });
}

/**
 * One workgroup a query: a lane has the state of a part, then lanes of a row have its sums, a few parts one after the
 * other. A part without keys has left its state only.
 */
export function mergeParts(
  lowering: Lowering,
  eqn: AttentionEqn,
  attention: Attention,
  { parts, lanes: most }: { readonly parts: number; readonly lanes: number },
  partial: Partial,
): Kernel {
  const build = lowering.builder();
  const { sizes, queryCount, groupCount, element } = attention;
  const vectors = sizes.value / 4;
  const lanes = Math.min(most, powerOfTwoFrom(Math.max(vectors * Math.min(8, parts), 64)));
  const count = groupCount * queryCount;
  const workgroups = spread(count);
  const position = build.bind("row", workgroupPosition(workgroups));
  const local = build.bind("lane", k.builtin("local_index"));
  const body = (): void => {
    const states = build.view(partial.states, "f32", "read");
    const shares = build.array("shares", "f32", parts);
    const exchange = build.array("exchange", "f32", Math.floor(lanes / vectors) * sizes.value);
    const team = soleTeam(lanes, local);
    const part = build.bind("part", k.add(k.mul(position, parts), k.min(local, parts - 1)));
    const isPart = build.bind("is_part", k.less(local, parts));
    const own = build.bind("own", k.loadBuffer(states, "f32", k.mul(part, 2)));
    const count = build.bind("own_total", k.loadBuffer(states, "f32", k.add(k.mul(part, 2), 1)));
    const highest = build.variable("highest", own);
    combineTeam(build, lowering.target, team, "max", [highest]);
    const share = build.bind("share", k.select(isPart, k.exp(k.sub(own, highest)), 0));
    const total = build.variable("total", k.mul(share, count));
    combineTeam(build, lowering.target, team, "sum", [total]);
    build.when(isPart, () => build.add(k.storeShared(shares, local, k.select(k.equal(count, 0), k.f32(0), share))));
    build.barrier();

    const side = laneOf(build, local, lanes, vectors);
    const sums = build.view(partial.sums, "vec4<f32>", "read");
    const add = (): void => {
      const loaded = upTo(Math.ceil(parts / side.rows)).map((step) => {
        const at = build.bind("part", k.min(k.add(side.row, step * side.rows), parts - 1));
        const inside = (step + 1) * side.rows > parts ? k.less(k.add(side.row, step * side.rows), parts) : null;
        const row = k.add(k.mul(k.add(k.mul(position, parts), at), vectors), side.column);
        return { at, inside, value: build.bind("loaded", k.loadBuffer(sums, "vec4<f32>", row)) };
      });
      const weighted = build.variable("weighted", k.constant("vec4<f32>", 0));
      for (const { at, inside, value } of loaded) {
        const read = build.bind("share", k.loadShared(shares, "f32", at));
        const scale = inside === null ? read : build.bind("share", k.select(inside, read, 0));
        const isEmpty = build.bind("is_empty", k.equal(scale, 0));
        // memory that nobody wrote may hold NaN
        const held = k.select(k.splat(isEmpty, 4), k.constant("vec4<f32>", 0), value);
        build.assign(weighted, k.add(weighted, k.mul(held, k.splat(scale, 4))));
      }
      const start = build.bind("start", k.mul(k.add(k.mul(side.row, vectors), side.column), 4));
      for (const at of upTo(4)) build.add(k.storeShared(exchange, k.add(start, at), k.component(weighted, at)));
    };
    if (side.busy === null) add();
    else build.when(side.busy, add);
    build.barrier();
    const group = groupAt(lowering.environment(build), attention, build.bind("group", k.div(position, queryCount)));
    const environment = group.query(build.bind("query", k.rem(position, queryCount)));
    build.loop(
      "h",
      local,
      k.u32(sizes.value),
      (h) => {
        const sum = build.variable("sum", k.f32(0));
        for (let row = 0; row < side.rows; row++)
          build.assign(sum, k.add(sum, k.loadShared(exchange, "f32", k.add(h, row * sizes.value))));
        const mean = k.select(k.equal(total, 0), k.f32(0), k.div(sum, total));
        storeMean(lowering, withIndices(environment, [[element.index, h]]), eqn, attention, mean);
      },
      lanes,
    );
  };
  whereWanted(build, workgroups, count, position, body);
  return build.finish({
    name: `${lowering.nameOf(eqn)}_merge`,
    workgroupSize: [lanes, 1, 1],
    workgroups,
    schedule: "attention",
    values: lowering.valuesOf(eqn),
  });
}
