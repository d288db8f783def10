/** What an executor is: recording, submitting, memory, reading back. */
import type { Program } from "../../compiler/plan/program.js";
import type { Device } from "../device/device.js";
import type { Argument } from "./bindings.js";
import type { Bound } from "./bound.js";
import type { ExecutorMemory, Scratch } from "./memory.js";
import type { Prepared } from "./pipelines.js";
import type { KernelTime } from "./profile.js";
import type { DeviceTensor, HostValues, TensorForm } from "./tensor.js";

/**
 * Records programs one after the other and submits them in order, so that a run sees what those before it wrote. Every
 * operation throws DeviceError only; a fault of recorded work is thrown by the next `read`, `values` or `finish`. A
 * promise of these that nobody waits for ends nothing when it fails.
 */
export interface Executor {
  readonly device: Device;
  readonly memory: ExecutorMemory;
  /**
   * Compiles the program's kernels; those met before are taken from the cache. What is given may come from a file: all
   * of it is checked first.
   * @throws DeviceError validation, naming the place where it is no Program, or the line of WGSL; too-large
   */
  prepare(program: Program): Promise<Prepared>;
  /**
   * Records a run. `inputs` gives the tensors, and may give scalars too; `parameters` gives scalars; `outputs` gives
   * memory for outputs that are not to have fresh one. The result has every output by name; the final state of a
   * mutable input is that input. Inputs may be released as soon as the promise has resolved.
   * @throws DeviceError validation when an argument does not fit; out-of-memory
   */
  run(
    prepared: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters?: Readonly<Record<string, number | boolean>>,
    outputs?: Readonly<Record<string, DeviceTensor>>,
  ): Promise<Readonly<Record<string, DeviceTensor>>>;
  /**
   * Binds a program to its tensors and scalars, as `run` takes them, with memory for all that it allocates. Inputs must
   * live as long as it is replayed. What it computes with in between lies in `scratch` where there is one, which must be
   * there for as long.
   * @throws DeviceError validation when an argument does not fit; out-of-memory
   */
  bind(
    prepared: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters?: Readonly<Record<string, number | boolean>>,
    outputs?: Readonly<Record<string, DeviceTensor>>,
    scratch?: Scratch | null,
  ): Promise<Bound>;
  /** Gives back a scratch, which no program is bound to any more. */
  discard(scratch: Scratch): void;
  /** Records a run of what is bound. Nothing is allocated, and nothing waited for. */
  replay(bound: Bound): void;
  /** Gives back the memory that a bound program has; its outputs are gone with it. */
  unbind(bound: Bound): void;
  /** Memory for a tensor, its contents undefined; `bytes` is needed where it has a format. */
  allocate(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor>;
  /** A tensor with these bytes: the elements of a dense one as they lie in memory, or the words of a format. */
  upload(form: TensorForm, data: ArrayBufferView | ArrayBuffer, label?: string): Promise<DeviceTensor>;
  /**
   * A dense tensor with these values, rounded to its dtype; bools as 0 and 1.
   * @throws DeviceError validation where there are more or fewer than the shape has; too-large, out-of-memory
   */
  fill(
    dtype: TensorForm["dtype"],
    shape: readonly number[],
    values: ArrayLike<number>,
    label?: string,
  ): Promise<DeviceTensor>;
  /** Copies each tensor into the beginning of another that is as large or larger, in order with the recorded work. */
  copy(pairs: readonly { readonly from: DeviceTensor; readonly to: DeviceTensor }[]): void;
  /** Overwrites bytes of a tensor, in order with the recorded work. */
  write(tensor: DeviceTensor, data: ArrayBufferView | ArrayBuffer, offset?: number): Promise<void>;
  /** The tensor's bytes, padding included, after all work recorded so far and before what follows. */
  read(tensor: DeviceTensor): Promise<Uint8Array<ArrayBuffer>>;
  /** The values of a dense tensor, after all recorded work. */
  values(tensor: DeviceTensor): Promise<HostValues>;
  /**
   * Gives a tensor's memory back; what is recorded already still finds it. Only for tensors that this executor made,
   * once each.
   */
  release(tensor: DeviceTensor): void;
  /** Whether a tensor's memory has been given back. */
  isReleased(tensor: DeviceTensor): boolean;
  /** Lets a tensor be released when another is, whose copy in another order it is, say. */
  tie(tensor: DeviceTensor, to: DeviceTensor): void;
  /** Submits what is recorded. */
  flush(): void;
  /** Resolves when all recorded work has run. */
  finish(): Promise<void>;
  /**
   * GPU time by kernel since the last call, the slowest first; empty without `profile` or where the device has no
   * timestamps.
   */
  profile(): Promise<readonly KernelTime[]>;
  /** Destroys all idle memory. */
  trim(): void;
  /** Destroys idle memory and the executor's own buffers; the tensors that live are the caller's. */
  close(): void;
}

export interface ExecutorOptions {
  /** Measure each kernel; slower, as each dispatch becomes a pass of its own. */
  readonly profile?: boolean;
  /** Bytes that may lie idle for reuse. */
  readonly idleLimit?: number;
  /** Dispatches a submit holds at most, so that no driver takes a long one for a hang. */
  readonly submitLimit?: number;
  /**
   * Fill memory that nothing has written yet, fresh or used before, with bits that are NaN in every dtype: whatever
   * reads it shows. For tests; it takes more memory and time.
   */
  readonly poison?: boolean;
}
