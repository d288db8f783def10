import type { Eqn } from "../graph/graph.js";
import { constantOf, scalarReductions } from "../graph/scalar.js";
import { byteSize, type Kernel } from "../kernel/kernel.js";
import type { Concrete } from "../types/type.js";
import type { Lowering } from "./lowering.js";
import { productOf } from "./product.js";
import { leftReduces } from "./staged.js";
import { fixedSubgroup } from "./team.js";
import { extent, loops } from "./schedules/loops.js";
import { matvec, matvecApplies, matvecShape } from "./schedules/matvec.js";
import { quads, quadsApply, quadShape } from "./schedules/quads.js";
import { rows, rowShape, type RowShape } from "./schedules/rows.js";
import { tiled, tiledApplies, tileShape } from "./schedules/tiled.js";

/** The schedules, from the most special. `loops` takes everything. */
export const schedules = ["matvec", "quads", "tiled", "rows", "loops"] as const;
export type Schedule = (typeof schedules)[number];

/** Products of fewer multiplications than this are not worth a tile. */
const tileWork = 1 << 14;

/** The kernels of an eqn by the best schedule that applies, or by the one asked for where it applies. */
export function lowerEqn(lowering: Lowering, eqn: Eqn<Concrete>, forced: Schedule | null = null): readonly Kernel[] {
  for (const schedule of forced === null ? schedules : [forced, "loops" as const]) {
    const kernels = attempt(lowering, eqn, schedule, forced !== null);
    if (kernels !== null && kernels.every((kernel) => fits(lowering, kernel))) return kernels;
  }
  return loops(lowering.narrow(), eqn);
}

function attempt(lowering: Lowering, eqn: Eqn<Concrete>, schedule: Schedule, forced: boolean): readonly Kernel[] | null {
  if (schedule === "loops") return loops(lowering, eqn);
  if (eqn.kind !== "map" && eqn.kind !== "update") return null;
  if (eqn.indices.some((range) => extent(range) === 0)) return null;
  if (schedule === "rows") {
    const shape = rowShape(eqn);
    if (shape === null || shape.shared.length === 0 || (!forced && !rowsPay(lowering, eqn, shape))) return null;
    return [rows(lowering, eqn, shape, rowSize(lowering, shape))];
  }
  if (eqn.kind !== "map") return null;
  const product = productOf(lowering.graph, eqn);
  if (product === null) return null;
  if (schedule === "matvec") return matvecApplies(product, lowering.target) ? [matvec(lowering, eqn, product, matvecShape(product, lowering.target))] : null;
  if (leftReduces(product)) return null;
  const work = product.sizes.m * product.sizes.n * reductionLength(product.terms[0]!.reduce);
  if (schedule === "quads") return quadsApply(product, lowering.target) && (forced || work >= tileWork) ? [quads(lowering, eqn, product, quadShape(product))] : null;
  if (!forced && (product.sizes.m < 2 || work < tileWork)) return null;
  if (!tiledApplies(lowering, product, eqn)) return null;
  return [tiled(lowering, eqn, product, tileShape(product, lowering.target))];
}

/** Whether a kernel keeps to the device's limits. */
function fits(lowering: Lowering, kernel: Kernel): boolean {
  const memory = kernel.arrays.reduce((sum, array) => sum + array.length * byteSize(array.element), 0);
  const invocations = kernel.workgroupSize.reduce((product, size) => product * size, 1);
  return kernel.buffers.length <= lowering.target.maxStorageBuffers && memory <= lowering.target.maxWorkgroupMemory && invocations <= lowering.target.maxInvocations;
}

/** Shared reductions pay where rows are long, and where an invocation an element would repeat them or be few. */
function rowsPay(lowering: Lowering, eqn: Eqn<Concrete> & { readonly kind: "map" | "update" }, shape: RowShape): boolean {
  const longest = Math.max(...shape.shared.map(reductionLength));
  if (longest < 32) return false;
  const rowCount = shape.outer.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  const elements = shape.inner.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  if (elements > 1) return true;
  const busy = lowering.target.kind === "cpu" ? 64 : 16384;
  return rowCount < busy;
}

/** Steps of a reduction; a range that is data counts as long. */
function reductionLength(reduce: ReturnType<typeof scalarReductions<Concrete>>[number]): number {
  return reduce.over.reduce((product, range) => product * Math.max(1, (constantOf(range.high) ?? 1024) - (constantOf(range.low) ?? 0)), 1);
}

/** Invocations of a row's workgroup. */
function rowSize(lowering: Lowering, shape: RowShape): number {
  const longest = Math.max(...shape.shared.map(reductionLength));
  // on a CPU driver a barrier costs more than a row: one subgroup needs none
  if (lowering.target.kind === "cpu") return fixedSubgroup(lowering.target) ?? 1;
  const most = longest >= 16384 ? Math.min(1024, lowering.target.maxInvocations) : 256;
  let size = 32;
  while (size < most && size < longest) size *= 2;
  return Math.min(size, lowering.target.maxInvocations);
}
