import { codeOf } from "../../formats/code/registry.js";
import type { Product } from "../../graph/analysis/product.js";
import type { Kernel } from "../../kernel/kernel.js";
import type { Follower } from "../product/follower.js";
import { lookupActivations, lookupColumns, lookupElement, type LookupUnit } from "../product/lookup-activations.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { LookupSchedule } from "./lookup-candidates.js";
import { teamProduct } from "./team-product.js";
import type { MapEqn } from "./team-rows.js";

/**
 * A product of n:m weights for a few tokens: each kept weight looks up its activation in workgroup memory, where it would
 * cost a select for each that it might be. `follower` is computed instead of storing the results; null where a workgroup
 * has not what it reads, or the schedule does not apply.
 */
export function lookup(
  lowering: Lowering,
  eqn: MapEqn,
  product: Product,
  schedule: LookupSchedule,
  follower: Follower | null = null,
): Kernel | null {
  const columns = lookupColumns(product, lowering.target);
  const [term] = product.terms;
  if (columns === null || term === undefined) return null;
  if (schedule.element !== "f32" && schedule.element !== lookupElement(lowering, term)) return null;
  const rows = term.rows!;
  const units = rows.shape.columns / columns;
  const cut = { ...schedule, slots: Math.min(schedule.slots, Math.ceil(units / schedule.lanes)) };
  return teamProduct<LookupUnit>(lowering, eqn, product, {
    schedule: "lookup",
    cut,
    loading: { early: 0, ahead: 1, carried: schedule.carried },
    units,
    follower,
    unitsOf: ({ build, ...parts }) => ({
      open: ({ rows }, words, row, unit, inside) => ({
        stored: codeOf(rows!.spec).stored(rows!.spec, rows!.shape, words, row, unit),
        inside,
      }),
      activations: lookupActivations({ lowering, build, term, rows, columns, keeping: cut, ...parts }),
    }),
  });
}
