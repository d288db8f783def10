/** The dispatches of a program, in order. */
import type { Program, Step } from "../../compiler/plan/program.js";
import { DeviceError } from "../device/error.js";
import type { Range } from "./bindings.js";
import type { CompiledKernel } from "./pipelines.js";

/** A kernel with the ranges of its bindings. */
export interface Dispatch {
  readonly kernel: CompiledKernel;
  readonly ranges: readonly Range[];
  readonly workgroups: readonly [number, number, number];
  /** The words of its parameter block now; the map changes as repeats go on. */
  readonly words: ReadonlyMap<string, number>;
}

/**
 * Plays a program's steps: repeats are unrolled, and buffers looked up among `ranges`.
 * @throws DeviceError validation where a step names a kernel or a buffer that is not there
 */
export function playDispatches(
  program: Program,
  kernels: readonly CompiledKernel[],
  ranges: ReadonlyMap<number, Range>,
  given: ReadonlyMap<string, number>,
  each: (dispatch: Dispatch) => void,
): void {
  /** The program's parameters and those of the repeats that are being played. */
  const words = new Map(given);
  const play = (step: Step): void => {
    if (step.kind === "repeat") {
      for (let value = step.from; value < step.to; value += step.by) {
        words.set(step.parameter, value >>> 0);
        step.steps.forEach(play);
      }
      return;
    }
    if (step.kind !== "dispatch") return;
    const kernel = kernels[step.kernel];
    if (kernel === undefined)
      throw new DeviceError("validation", `${program.name} dispatches kernel ${step.kernel}, which it does not have.`);
    const bound = step.buffers.map((id) => {
      const range = ranges.get(id);
      if (range === undefined)
        throw new DeviceError(
          "validation",
          `${program.name} dispatches ${kernel.kernel.name} before it allocates buffer ${id}.`,
        );
      return range;
    });
    each({ kernel, ranges: bound, workgroups: step.workgroups, words });
  };
  program.steps.forEach(play);
}

/** The parameter block of a dispatch, in the order of the kernel's uniform block. */
export function parameterBlock({ kernel, words }: Dispatch): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(kernel.kernel.parameters, (name) => words.get(name) ?? 0);
}
