import { attentionOf, mayLeaveGaps, type Attention, type AttentionEqn } from "../../graph/analysis/attention.js";
import { intervalOf, withRanges } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import type { Concrete } from "../../types/type.js";
import {
  attentionCuts,
  cutAttention,
  shapeFits,
  type AttentionKernels,
  type AttentionShape,
} from "../attention/cuts.js";
import { matrixAttention, matrixAttentionOf } from "../attention/matrix.js";
import { quadAttention, quadAttentionApplies } from "../attention/quads.js";
import { rowWidth, type Widths } from "../attention/sides.js";
import { kernelStep, type Lowered } from "../lowered.js";
import { boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { cutOf, type Cut } from "./choices.js";
import { fits, type Wanted } from "./choose.js";
import { attentionKey, type ScheduleKey } from "./key.js";

/**
 * An eqn that is an attention, by the schedule for the device; null where there is none. A cut that is forced, or that
 * a table has for it, is taken where it is one that might be tried.
 */
export function attention(lowering: Lowering, eqn: Eqn<Concrete>, wanted: Wanted): Lowered | null {
  const found = attentionIn(lowering, eqn);
  if (found === null) return null;
  const { target } = lowering;
  const { attention, widths } = found;
  if (target.kind === "cpu" && quadAttentionApplies(target))
    return one(quadAttention(lowering, found.eqn, attention, widths));
  const matrix = matrixAttentionOf(lowering, attention, widths);
  if (matrix !== null) return one(matrixAttention(lowering, found.eqn, attention, matrix));
  const [best, ...others] = attentionCuts(attention, widths, found.keys, target);
  if (best === undefined) return null;
  const { schedule, choices } = wanted;
  const chosen =
    schedule === null
      ? cutOf(choices, keyOf(lowering, found).text, [best, ...others])
      : typeof schedule !== "string" && schedule.kind === "attention"
        ? schedule
        : null;
  const by = (shape: AttentionShape): AttentionKernels => cutAttention(lowering, found.eqn, attention, widths, shape);
  const made = chosen === null || !shapeFits(attention, widths, chosen, target) ? null : by(chosen);
  const { kernels, scratch } = made?.kernels.every((kernel) => fits(lowering, kernel)) === true ? made : by(best);
  return { steps: kernels.map(kernelStep), scratch, notes: [] };
}

/** What may be tried for an attention, the cut that is taken by itself first; null where an eqn has no choice. */
export function attentionCandidates(
  lowering: Lowering,
  eqn: Eqn<Concrete>,
): { readonly key: ScheduleKey; readonly cuts: readonly Cut[] } | null {
  const found = attentionIn(lowering, eqn);
  if (found === null) return null;
  const { target } = lowering;
  if (target.kind === "cpu" && quadAttentionApplies(target)) return null;
  if (matrixAttentionOf(lowering, found.attention, found.widths) !== null) return null;
  const cuts = attentionCuts(found.attention, found.widths, found.keys, target);
  return cuts.length < 2 ? null : { key: keyOf(lowering, found), cuts };
}

interface FoundAttention {
  readonly eqn: AttentionEqn;
  readonly attention: Attention;
  readonly widths: Widths;
  /** As many as there can be. */
  readonly keys: number;
}

function attentionIn(lowering: Lowering, eqn: Eqn<Concrete>): FoundAttention | null {
  if (eqn.kind !== "map" && eqn.kind !== "update") return null;
  const found = attentionOf(lowering.graph, eqn, boundsOf(lowering, eqn));
  const widths = found === null ? null : widthsOf(lowering, found);
  if (found === null || widths === null || found.queryCount * found.groupCount * found.sizes.value === 0) return null;
  // schedules walk from the first key of all to the last, and what no query reads may be memory that nobody wrote
  if (mayLeaveGaps(found)) return null;
  return { eqn, attention: found, widths, keys: keysAtMost(lowering, found) };
}

function keyOf({ graph }: Lowering, { attention, keys }: FoundAttention): ScheduleKey {
  return attentionKey(attention, keys, graph.values[attention.key.tensor]!.type.dtype);
}

/** Keys that a query may have: as many as the axes that they stand on have. */
function keysAtMost(lowering: Lowering, { over, key, value }: Attention): number {
  const { high } = intervalOf(over.high, withRanges(lowering.bounds, [over]));
  const axes = [key, value].flatMap((load) =>
    load.at.flatMap((at, axis) =>
      at.kind === "index" && at.index === over.index ? [lowering.graph.values[load.tensor]!.type.shape[axis]!] : [],
    ),
  );
  return Math.max(0, Math.min(high, ...axes));
}

/** How keys and values are read; null where their rows are not whole vectors. */
function widthsOf(lowering: Lowering, { key, value, product, element, sizes }: Attention): Widths | null {
  const [a, b] = [
    rowWidth(lowering, key, product.over[0]!.index, sizes.key),
    rowWidth(lowering, value, element.index, sizes.value),
  ];
  return a === null || b === null ? null : { key: a, value: b };
}

function one(kernel: Parameters<typeof kernelStep>[0]): Lowered {
  return { steps: [kernelStep(kernel)], scratch: [], notes: [] };
}
