import type { ConcreteGraph, Eqn, Scalar } from "../../graph/graph.js";
import { extent, boundingRange, intervalOf, withRanges, type Bounds } from "../../graph/analysis/ranges.js";
import { children, constantOf, scalarLoads, scalarReductions } from "../../graph/scalar.js";
import { byteSize, type Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { Lowering } from "../toolkit/lowering.js";
import { matrixOf, type MatrixProduct } from "../product/matrix-sides.js";
import { productOf, type Product } from "../../graph/analysis/product.js";
import { leftReduces } from "../product/staged.js";
import { fixedSubgroup } from "../toolkit/team.js";
import { boundsOf } from "../toolkit/positions.js";
import { dotSides } from "../product/dot-sides.js";
import { dot } from "./dot.js";
import { dotCandidates, type DotSchedule } from "./dot-candidates.js";
import { loops } from "./loops.js";
import { matvec, matvecApplies, matvecShape } from "./matvec.js";
import { matrix, matrixPays } from "./matrix.js";
import { tileFits, tileOf, type MatrixTile } from "./matrix-tile.js";
import { quads, quadsApply, quadShape } from "./quads.js";
import { rows, rowShape, type RowShape } from "./rows.js";
import { tiled, tiledApplies, tileShape } from "./tiled.js";

/** The schedules, from the most special. `loops` takes everything. */
export const schedules = ["attention", "dot", "matvec", "quads", "matrix", "tiled", "rows", "loops"] as const;
export type Schedule = (typeof schedules)[number];

/** A schedule by its name, with the cut that it takes by itself or, where it is data, another one. */
export type ForcedSchedule = Schedule | MatrixTile | DotSchedule;

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Products of fewer multiplications than this are not worth a tile. */
const tileWork = 1 << 14;

/** The kernels of an eqn by the best schedule that applies, or by the one asked for where it applies. */
export function lowerEqn(
  lowering: Lowering,
  eqn: Eqn<Concrete>,
  forced: ForcedSchedule | null = null,
): readonly Kernel[] {
  for (const schedule of forced === null ? schedules : [forced, "loops" as const]) {
    const kernels = attempt(lowering, eqn, schedule, forced !== null);
    if (kernels !== null && kernels.every((kernel) => fits(lowering, kernel))) return kernels;
  }
  return loops(lowering.narrow(), eqn);
}

function attempt(
  lowering: Lowering,
  eqn: Eqn<Concrete>,
  schedule: ForcedSchedule,
  forced: boolean,
): readonly Kernel[] | null {
  if (schedule === "loops") return loops(lowering, eqn);
  // of several kernels and memory between them: `lowerSteps` takes it
  if (schedule === "attention") return null;
  if (eqn.kind !== "map" && eqn.kind !== "update") return null;
  const bounds = boundsOf(lowering, eqn);
  if (eqn.indices.some((range) => extent(range, bounds) === 0)) return null;
  const whole = eqn.indices.every((range) => boundingRange(range, bounds).exact);
  if (schedule === "rows") {
    // its rows are counted without the step of a scan around
    if (!eqn.indices.every((range) => boundingRange(range).exact)) return null;
    const shape = rowShape(eqn);
    if (shape === null || shape.shared.length === 0 || (!forced && !rowsPay(lowering, eqn, shape))) return null;
    return [rows(lowering, eqn, shape, rowSize(lowering, shape))];
  }
  const product = productOf(lowering.graph, eqn, bounds);
  // where a step computes a part, a tile may reach past it: its reads must be in range all the same
  if (product === null || (!whole && !loadsInside(lowering.graph, eqn, bounds))) return null;
  if (schedule === "dot" || (typeof schedule !== "string" && schedule.kind === "dot")) {
    const sides = eqn.kind === "map" && whole ? dotSides(product, lowering.target) : null;
    if (sides === null || eqn.kind !== "map") return null;
    const [best] = dotCandidates(product, sides, lowering.target);
    const cut = schedule === "dot" ? best : schedule;
    return cut === undefined ? null : [dot(lowering, eqn, product, sides, cut)];
  }
  if (schedule === "matvec") {
    if (!forced && whole && !leftReduces(product) && matrixFor(lowering, eqn, product, "matrix", false) !== null)
      return null;
    return eqn.kind === "map" && matvecApplies(product, lowering.target)
      ? [matvec(lowering, eqn, product, matvecShape(product, lowering.target))]
      : null;
  }
  if (leftReduces(product)) return null;
  const work = product.sizes.m * product.sizes.n * reductionLength(product.terms[0]!.reduce);
  if (schedule === "quads")
    return quadsApply(product, lowering.target) && (forced || work >= tileWork)
      ? [quads(lowering, eqn, product, quadShape(product))]
      : null;
  if (schedule === "matrix" || typeof schedule !== "string") {
    const found = whole ? matrixFor(lowering, eqn, product, schedule, forced) : null;
    return found === null ? null : [matrix(lowering, eqn, product, found.sides, found.tile)];
  }
  if (!forced && (product.sizes.m < 2 || work < tileWork)) return null;
  if (!tiledApplies(lowering, product, eqn)) return null;
  return [tiled(lowering, eqn, product, tileShape(product, lowering.target))];
}

/** The sides and the tile of a product by matrices, if it may be done so and, unless forced, is worth it. */
function matrixFor(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  schedule: "matrix" | MatrixTile,
  forced: boolean,
): { readonly sides: MatrixProduct; readonly tile: MatrixTile } | null {
  if (!forced && !matrixPays(product)) return null;
  const sides = matrixOf(lowering, eqn, product);
  if (sides === null) return null;
  const tile =
    schedule === "matrix"
      ? tileOf(product, sides, lowering.target)
      : tileFits(schedule, sides, lowering.target)
        ? schedule
        : null;
  return tile === null ? null : { sides, tile };
}

/** Whether a kernel keeps to the device's limits. */
export function fits(lowering: Lowering, kernel: Kernel): boolean {
  const memory = kernel.arrays.reduce((sum, array) => sum + array.length * byteSize(array.element), 0);
  const invocations = kernel.workgroupSize.reduce((product, size) => product * size, 1);
  return (
    kernel.buffers.length <= lowering.target.maxStorageBuffers &&
    memory <= lowering.target.maxWorkgroupMemory &&
    invocations <= lowering.target.maxInvocations
  );
}

/** Shared reductions pay where rows are long, and where an invocation an element would repeat them or be few. */
function rowsPay(lowering: Lowering, eqn: Elements, shape: RowShape): boolean {
  const longest = Math.max(...shape.shared.map(reductionLength));
  if (longest < 32) return false;
  const rowCount = shape.outer.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  const elements = shape.inner.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  if (elements > 1) return true;
  // an invocation a row would read a line of memory for each element of it
  if (lowering.target.kind === "gpu" && shape.shared.some(readsAlong)) return true;
  const busy = lowering.target.kind === "cpu" ? 64 : 16384;
  return rowCount < busy;
}

/** Whether a reduction reads some tensor along its last axis. */
function readsAlong({ over, body }: ReturnType<typeof scalarReductions<Concrete>>[number]): boolean {
  return scalarLoads(body).some((load) => {
    const last = load.at[load.at.length - 1];
    return last?.kind === "index" && over.some(({ index, low }) => index === last.index && constantOf(low) !== null);
  });
}

/** Steps of a reduction; a range that is data counts as long. */
function reductionLength(reduce: ReturnType<typeof scalarReductions<Concrete>>[number]): number {
  return reduce.over.reduce(
    (product, range) => product * Math.max(1, (constantOf(range.high) ?? 1024) - (constantOf(range.low) ?? 0)),
    1,
  );
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

/** Whether every load that is not guarded is in range for all indices in their bounding ranges. */
function loadsInside(graph: ConcreteGraph, eqn: Elements, bounds: Bounds): boolean {
  const visit = (scalar: Scalar<Concrete>, inner: Bounds): boolean => {
    if (scalar.kind === "reduce") {
      const within = withRanges(inner, scalar.over);
      return children(scalar).every((child) => visit(child, within));
    }
    if (scalar.kind === "load" && !scalar.guarded) {
      const { shape } = graph.values[scalar.tensor]!.type;
      const inside = scalar.at.every((at, axis) => {
        const { low, high } = intervalOf(at, inner);
        return low >= 0 && high < shape[axis]!;
      });
      if (!inside) return false;
    }
    return children(scalar).every((child) => visit(child, inner));
  };
  return visit(eqn.body, bounds);
}
