import { InternalError } from "../diagnostic.js";
import type { Eqn } from "../graph/graph.js";
import type { Concrete } from "../types/type.js";
import { lowerFactorization } from "./factorization/factorization.js";
import { kernelsOf, kernelStep, type Lowered } from "./lowered.js";
import type { CutScans } from "./scan/cut.js";
import { lowerScan } from "./scan/scan.js";
import { attention } from "./schedules/attention.js";
import { fits, kernelsOf as kernelsOfEqn, type Wanted } from "./schedules/choose.js";
import type { Lowering } from "./toolkit/lowering.js";

export interface StepOptions extends Wanted {
  /** How the scans of the graph are run. */
  readonly scans: CutScans;
}

/**
 * What an equation of the lowering's graph becomes: one kernel or a few, or for scans and factorisations repeated ones.
 */
export function lowerSteps(lowering: Lowering, eqn: Eqn<Concrete>, options: StepOptions): Lowered {
  switch (eqn.kind) {
    case "scan": {
      const cut = options.scans.get(eqn.out);
      if (cut === undefined) throw new InternalError(`nothing says how the scan ${eqn.out} is run`);
      return lowerScan(lowering, eqn, {
        cut,
        wanted: options,
        lowerStep: (inner, each) => lowerSteps(inner.including(each), each, options),
      });
    }
    case "factorize":
      return lowerFactorization(lowering, eqn);
    default: {
      const { schedule } = options;
      const kind = typeof schedule === "string" ? schedule : schedule?.kind;
      const found = kind === undefined || kind === "attention" ? attention(lowering, eqn, options) : null;
      if (found !== null && kernelsOf(found.steps).every((kernel) => fits(lowering, kernel))) return found;
      const { kernels, scratch, adding, following } = kernelsOfEqn(lowering, eqn, options);
      return { steps: kernels.map(kernelStep), scratch, notes: [], adding, following };
    }
  }
}
