import { attentionOf, mayLeaveGaps, type Attention } from "../../graph/analysis/attention.js";
import { intervalOf, withRanges } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import type { Concrete } from "../../types/type.js";
import { matrixAttention, matrixAttentionOf } from "../attention/matrix.js";
import { quadAttention, quadAttentionApplies } from "../attention/quads.js";
import { rowWidth, type Widths } from "../attention/sides.js";
import { splitAttention, splitShape } from "../attention/split.js";
import { kernelStep, type Lowered } from "../lowered.js";
import { boundsOf } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";

/** An eqn that is an attention, by the schedule for the device; null where there is none. */
export function attention(lowering: Lowering, eqn: Eqn<Concrete>): Lowered | null {
  if (eqn.kind !== "map" && eqn.kind !== "update") return null;
  const found = attentionOf(lowering.graph, eqn, boundsOf(lowering, eqn));
  const widths = found === null ? null : widthsOf(lowering, found);
  if (found === null || widths === null || found.queryCount * found.groupCount * found.sizes.value === 0) return null;
  // schedules walk from the first key of all to the last, and what no query reads may be memory that nobody wrote
  if (mayLeaveGaps(found)) return null;
  const { target } = lowering;
  if (target.kind === "cpu" && quadAttentionApplies(target)) return one(quadAttention(lowering, eqn, found, widths));
  const matrix = matrixAttentionOf(lowering, found, widths);
  if (matrix !== null) return one(matrixAttention(lowering, eqn, found, matrix));
  const shape = splitShape(found, widths, keysAtMost(lowering, found), target);
  if (shape === null) return null;
  const { kernels, scratch } = splitAttention(lowering, eqn, found, widths, shape);
  return { steps: kernels.map(kernelStep), scratch, notes: [] };
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
