import type { Eqn } from "../graph/graph.js";
import type { Kernel } from "../kernel/kernel.js";
import type { Storage } from "../graph/storage.js";
import type { Concrete } from "../types/type.js";
import type { Following } from "./schedules/choose.js";
import type { Adding } from "./schedules/matrix-parts.js";

/** A factorisation of a matrix of known size. */
export type FactorizationEqn = Eqn<Concrete> & { readonly kind: "factorize" };

/** What an equation becomes: kernels in order, some of them repeated. */
export type LoweredStep =
  | { readonly kind: "kernel"; readonly kernel: Kernel }
  /** The steps for each value `from`, `from + by`, ... below `to` of an i32 parameter. */
  | {
      readonly kind: "repeat";
      readonly parameter: string;
      readonly from: number;
      readonly to: number;
      readonly by: number;
      readonly steps: readonly LoweredStep[];
    };

export interface Lowered {
  readonly steps: readonly LoweredStep[];
  /** Memory that the kernels use beside that of the graph's values. */
  readonly scratch: readonly Storage[];
  /** For people: why a scan runs column by column. */
  readonly notes: readonly string[];
  /** What the last step does, where a kernel that reads its result may do it as well. */
  readonly adding?: Adding | undefined;
  /** Of a product: its kernel with what reads its results in place of storing them. */
  readonly following?: Following | undefined;
}

/** One kernel as a step. */
export const kernelStep = (kernel: Kernel): LoweredStep => ({ kind: "kernel", kernel });

/** The kernels of steps, each once. */
export function kernelsOf(steps: readonly LoweredStep[]): readonly Kernel[] {
  return steps.flatMap((step) => (step.kind === "kernel" ? [step.kernel] : kernelsOf(step.steps)));
}
