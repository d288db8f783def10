import type { Eqn, ValueId } from "../graph/graph.js";
import type { Concrete } from "../types/type.js";
import { lowerEqn, type Schedule } from "./schedules/choose.js";
import { lowerFactor } from "./factor.js";
import { kernelStep, type Lowered } from "./lowered.js";
import type { Lowering } from "./toolkit/lowering.js";
import type { ScanOptions } from "./scan/cut.js";
import { lowerScan } from "./scan/scan.js";

export interface StepOptions {
  /** The schedule to take wherever it applies. */
  readonly schedule: Schedule | null;
  readonly scan: ScanOptions;
  /**
   * Of scans that are not to be run in blocks, by what they define: why, as it was before their steps were taken apart.
   */
  readonly unblocked: ReadonlyMap<ValueId, string>;
}

/** What an eqn becomes: one kernel or a few, or for scans and factorisations repeated ones. */
export function lowerSteps(lowering: Lowering, eqn: Eqn<Concrete>, options: StepOptions): Lowered {
  if (eqn.kind === "scan") return lowerScan(lowering, eqn, options);
  if (eqn.kind === "factor") return lowerFactor(lowering, eqn);
  return { steps: lowerEqn(lowering, eqn, options.schedule).map(kernelStep), scratch: [], notes: [] };
}
