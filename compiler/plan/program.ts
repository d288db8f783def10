import type { RowOrder } from "../types/row-order.js";
import type { Dtype } from "../types/dtype.js";
import type { FormatSpec } from "../types/type.js";

/**
 * The artefact: kernels as WGSL and the steps that run them. Plain JSON; runs without the compiler, in Node or in a
 * browser. Every size is known.
 */
export interface Program {
  readonly version: 1;
  readonly name: string;
  /** Features that the device must have: "shader-f16", "subgroups". */
  readonly features: readonly string[];
  /** Scalars given at each run: the rank-0 inputs. */
  readonly parameters: readonly { readonly name: string; readonly dtype: "f32" | "i32" | "u32" | "bool" }[];
  /**
   * Memory by id: `buffers[i].id === i`. Inputs are given by the caller; outputs and temporaries are allocated by
   * steps.
   */
  readonly buffers: readonly ProgramBuffer[];
  readonly inputs: readonly ProgramTensor[];
  readonly outputs: readonly ProgramTensor[];
  readonly kernels: readonly ProgramKernel[];
  readonly steps: readonly Step[];
}

export interface ProgramBuffer {
  readonly id: number;
  /** A multiple of 16. */
  readonly bytes: number;
  readonly role: "input" | "output" | "temporary";
}

/**
 * A tensor at the border of the program. Rank-0 inputs are parameters and not listed; a rank-0 output is a buffer of
 * one element.
 */
export interface ProgramTensor {
  readonly name: string;
  /** Dtype of the stored elements where dense (bool: a u32 of 0 or 1 each). */
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly format: FormatSpec | null;
  readonly buffer: number;
  /** An input that the program overwrites; the output of that name has the same buffer. */
  readonly mutable: boolean;
  /**
   * A dense input of which a tensor with fewer rows may be given, fewer along the first axis: the program touches none
   * but those that its other inputs name.
   */
  readonly open?: true;
  /** A packed input whose rows lie side by side; in their own order where it is left out. */
  readonly order?: RowOrder;
}

export interface ProgramKernel {
  readonly name: string;
  /**
   * One entry point, `main`. `@group(0) @binding(i)` is `bindings[i]`; the parameters, if any, are one uniform block at
   * `@group(1) @binding(0)`, bound with a dynamic offset so that bind groups can be cached.
   */
  readonly wgsl: string;
  readonly workgroupSize: readonly [number, number, number];
  readonly bindings: readonly { readonly access: "read" | "read_write" }[];
  /**
   * Names of the parameters, of the program and of the repeats around, in the order of the uniform block, four bytes
   * each.
   */
  readonly parameters: readonly string[];
  readonly schedule: string;
}

export type Step =
  | { readonly kind: "alloc"; readonly buffer: number }
  /** `buffers[i]` is bound to binding i. */
  | {
      readonly kind: "dispatch";
      readonly kernel: number;
      readonly buffers: readonly number[];
      readonly workgroups: readonly [number, number, number];
    }
  | { readonly kind: "free"; readonly buffer: number }
  /**
   * The steps, dispatches and further repeats, for each value `from`, `from + by`, ... below `to` of an i32 parameter
   * of
   * the kernels, which is not among the program's own.
   */
  | {
      readonly kind: "repeat";
      readonly parameter: string;
      readonly from: number;
      readonly to: number;
      readonly by: number;
      readonly steps: readonly Step[];
    };
