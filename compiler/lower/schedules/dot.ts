import { codeOf } from "../../formats/code/registry.js";
import type { Codes } from "../../formats/code/code.js";
import type { Product } from "../../graph/analysis/product.js";
import * as k from "../../kernel/build.js";
import type { Kernel } from "../../kernel/kernel.js";
import { activationsOf } from "../product/dot-activations.js";
import type { DotSides } from "../product/dot-sides.js";
import type { Follower } from "../product/follower.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { DotSchedule } from "./dot-candidates.js";
import { teamProduct } from "./team-product.js";
import type { MapEqn } from "./team-rows.js";

/**
 * A product of integers for a few tokens: the codes of a unit are multiplied and summed in integers, exactly, and what it
 * gives is scaled once, by the scale of the weights and that of the activations. `follower` is computed instead of storing
 * the results; null where a workgroup has not what it reads.
 */
export function dot(
  lowering: Lowering,
  eqn: MapEqn,
  product: Product,
  sides: DotSides,
  schedule: DotSchedule,
  follower: Follower | null = null,
): Kernel | null {
  const slots = Math.ceil(sides.units / schedule.lanes);
  const cut = { ...schedule, slots: schedule.keeps === "lanes" ? slots : Math.min(schedule.slots, slots) };
  return teamProduct<Codes>(lowering, eqn, product, {
    schedule: "dot",
    cut,
    loading: { ...schedule, carried: schedule.ahead === 0 ? 1 : 0 },
    units: sides.units,
    follower,
    unitsOf: ({ build, ...parts }) => ({
      open(term, words, row, unit, inside) {
        const { spec, shape } = term.rows!;
        const codes = codeOf(spec).codes!.read(spec, shape, words, row, unit);
        return inside === null ? codes : { ...codes, scale: build.bind("scale", k.select(inside, codes.scale, 0)) };
      },
      activations: activationsOf({ lowering, build, sides, schedule: cut, ...parts }),
    }),
  });
}
