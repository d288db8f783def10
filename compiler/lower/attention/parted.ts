/** What the kernels for few queries are around: a workgroup's queries, its part of their keys, and what it leaves. */
import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Grid } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { withIndices } from "../toolkit/scalar.js";
import { leaveState, partAt, partOf, whereKeys, type Partial } from "./parts.js";
import { groupAt, keysOfAll, storeMean, type Group } from "./sides.js";

/** A kernel that is being built. */
export interface Parted {
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  readonly eqn: AttentionEqn;
  readonly attention: Attention;
  /** Where parts of the keys leave what they have; null where there is one. */
  readonly partial: Partial | null;
  readonly grid: Grid;
  /** Of the grid: the group, which of its `queries` by `queries`, and the part. */
  readonly at: { readonly group: Expr; readonly queries: Expr; readonly part: Expr };
  readonly queries: number;
  readonly parts: number;
  /** Keys that parts are whole numbers of. */
  readonly unit: number;
  readonly lanes: number;
}

/** The kernel; `part` computes a group's queries from position `first` on, of keys `from` .. `to` (u32). */
export function partedKernel(parted: Parted, part: (group: Group, first: Expr, from: Expr, to: Expr) => void): Kernel {
  const { lowering, build, eqn, attention, partial, grid, at, queries, parts, unit, lanes } = parted;
  const body = (): void => {
    const group = groupAt(lowering.environment(build), attention, at.group);
    const first = build.bind("first", k.mul(at.queries, queries));
    const all = keysOfAll(group, attention, first, queries);
    const keys = partOf(build, all.from, all.to, { unit, parts }, at.part);
    const place = { group: at.group, first, queries, part: at.part, parts };
    whereKeys(build, attention, keys, partial, place, () => part(group, first, keys.from, keys.to));
  };
  if (grid.inside === null) body();
  else build.when(grid.inside, body);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [lanes, 1, 1],
    workgroups: grid.workgroups,
    schedule: "attention",
    values: lowering.valuesOf(eqn),
  });
}

/** The environment of the query at a position, or of the last. */
export function queryAt({ build, attention }: Parted, group: Group, position: Expr): ReturnType<Group["query"]> {
  return group.query(build.bind("there", k.min(position, attention.queryCount - 1)));
}

/** A query's element `h`: its weighted sum, and the query's highest score and total. */
export interface PartedElement {
  readonly position: Expr;
  readonly h: Expr;
  readonly sum: Expr;
  readonly highest: Expr;
  readonly total: Expr;
}

/** Stores the mean, or leaves what this part has of it. */
export function leaveElement(parted: Parted, group: Group, { position, h, sum, highest, total }: PartedElement): void {
  const { lowering, build, eqn, attention, partial, at, parts } = parted;
  if (partial === null) {
    const environment = withIndices(queryAt(parted, group, position), [[attention.element.index, h]]);
    const mean = k.select(k.equal(total, 0), k.f32(0), k.div(sum, total));
    storeMean(lowering, environment, eqn, attention, mean);
    return;
  }
  const row = partAt(build, attention, at.group, position, at.part, parts);
  const place = k.add(k.mul(row, attention.sizes.value), h);
  build.add(k.store(build.view(partial.sums, "f32", "read_write"), place, sum));
  build.when(k.equal(h, 0), () => leaveState(build, partial, row, highest, total));
}
