/** Running programs on a device: recording, submitting, memory, reading back. */
import type { Program, Step } from "../../compiler/plan/program.js";
import { DeviceError, formatBytes, type Device } from "../device/device.js";
import { givenRanges, parameterWords, type Argument, type Range } from "./bindings.js";
import { createParameterRing } from "./parameters.js";
import { createPipelines, type CompiledKernel } from "./pipelines.js";
import { createPool } from "./pool.js";
import { createProfiler, type KernelTime } from "./profile.js";
import {
  denseBytes,
  denseValues,
  denseWords,
  elementCount,
  paddedBytes,
  type DeviceTensor,
  type HostValues,
  type TensorForm,
} from "./tensor.js";

export type { Argument } from "./bindings.js";
export type { KernelTime } from "./profile.js";
export type { DeviceTensor, HostValues, TensorForm } from "./tensor.js";

/** A program whose kernels the device has compiled. */
export interface Prepared {
  readonly program: Program;
  readonly kernels: readonly CompiledKernel[];
}

/** Bytes in buffers: of tensors that are not released, and kept for reuse. */
export interface ExecutorMemory {
  readonly live: number;
  readonly idle: number;
}

/**
 * Records programs one after the other and submits them in order, so that a run sees what those before it wrote. Every
 * operation throws DeviceError only; a fault of recorded work is thrown by the next `read`, `values` or `finish`.
 */
export interface Executor {
  readonly device: Device;
  readonly memory: ExecutorMemory;
  /** Compiles the program's kernels; those met before are taken from the cache. */
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
  /** Memory for a tensor, its contents undefined; `bytes` is needed where it has a format. */
  allocate(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor>;
  /** A tensor with these bytes: the elements of a dense one as they lie in memory, or the words of a format. */
  upload(form: TensorForm, data: ArrayBufferView | ArrayBuffer, label?: string): Promise<DeviceTensor>;
  /** A dense tensor with these values, rounded to its dtype; bools as 0 and 1. */
  fill(
    dtype: TensorForm["dtype"],
    shape: readonly number[],
    values: ArrayLike<number>,
    label?: string,
  ): Promise<DeviceTensor>;
  /** Overwrites bytes of a tensor, in order with the recorded work. */
  write(tensor: DeviceTensor, data: ArrayBufferView | ArrayBuffer, offset?: number): Promise<void>;
  /** The tensor's bytes, padding included, after all recorded work. */
  read(tensor: DeviceTensor): Promise<Uint8Array<ArrayBuffer>>;
  /** The values of a dense tensor, after all recorded work. */
  values(tensor: DeviceTensor): Promise<HostValues>;
  /**
   * Gives a tensor's memory back; what is recorded already still finds it. Only for tensors that this executor made,
   * once each.
   */
  release(tensor: DeviceTensor): void;
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
}

/** Makes an executor for a device. */
export async function createExecutor(device: Device, options: ExecutorOptions = {}): Promise<Executor> {
  const { gpu } = device;
  const idleLimit = options.idleLimit ?? (device.kind === "gpu" ? 2 ** 31 : 2 ** 28);
  const pipelines = createPipelines(device);
  const ring = await createParameterRing(device, pipelines);
  const pool = createPool(device);
  const profiler = options.profile === true ? createProfiler(device) : null;
  const submitLimit = Math.min(
    options.submitLimit ?? (device.kind === "gpu" ? 256 : 32),
    profiler?.capacity ?? Infinity,
  );

  /** Bytes of the buffers of live tensors. */
  const live = new Map<GPUBuffer, number>();
  let liveBytes = 0;
  const released = new WeakSet<DeviceTensor>();
  const groups = new Map<string, GPUBindGroup>();
  const ids = new WeakMap<GPUBuffer | GPUBindGroupLayout, number>();
  let lastId = 0;

  let encoder: GPUCommandEncoder | null = null;
  let pass: GPUComputePassEncoder | null = null;
  let dispatches = 0;
  /** Buffers that recorded work, not yet submitted, uses. */
  const recorded = new Set<GPUBuffer>();
  /** Checks of what was done without waiting for its outcome. */
  const outstanding = new Set<Promise<unknown>>();
  let failure: { readonly error: unknown } | null = null;

  function watch(check: Promise<unknown>): void {
    const settled: Promise<unknown> = check
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => outstanding.delete(settled));
    outstanding.add(settled);
  }

  /** Waits for the checks of what was done so far, not of what follows meanwhile. */
  async function settle(checks: readonly Promise<unknown>[]): Promise<void> {
    await Promise.all(checks);
    if (failure === null) return;
    const { error } = failure;
    failure = null;
    throw error;
  }

  function idOf(object: GPUBuffer | GPUBindGroupLayout): number {
    let id = ids.get(object);
    if (id === undefined) ids.set(object, (id = ++lastId));
    return id;
  }

  async function obtain(bytes: number, label: string): Promise<GPUBuffer> {
    const idle = pool.take(bytes);
    if (idle !== undefined) return idle;
    const size = pool.sizeOf(bytes);
    try {
      return await device.createBuffer(size, label);
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== "out-of-memory" || pool.idleBytes === 0) throw error;
      flush();
      await device.finish();
      pool.trim(0);
      return device.createBuffer(size, label);
    }
  }

  function own(tensor: DeviceTensor): DeviceTensor {
    live.set(tensor.buffer, tensor.buffer.size);
    liveBytes += tensor.buffer.size;
    return tensor;
  }

  function groupOf(kernel: CompiledKernel, ranges: readonly Range[]): GPUBindGroup {
    let key = String(idOf(kernel.layout));
    for (const { buffer, offset, bytes } of ranges) key += ` ${idOf(buffer)}:${offset}:${bytes}`;
    let group = groups.get(key);
    if (group === undefined) {
      // Groups of buffers that are gone stay in the map until here.
      if (groups.size >= 8192) groups.clear();
      const descriptor: GPUBindGroupDescriptor = {
        layout: kernel.layout,
        label: kernel.kernel.name,
        entries: ranges.map(({ buffer, offset, bytes }, binding) => ({
          binding,
          resource: { buffer, offset, size: bytes },
        })),
      };
      watch(
        device.guarded(`the buffers of kernel ${kernel.kernel.name}`, () => {
          group = gpu.createBindGroup(descriptor);
        }),
      );
      // A device that is lost does not get as far; then it does not matter what is recorded.
      group ??= gpu.createBindGroup(descriptor);
      groups.set(key, group);
    }
    return group;
  }

  function dispatch(
    kernel: CompiledKernel,
    ranges: readonly Range[],
    offset: number | null,
    workgroups: readonly [number, number, number],
  ): void {
    if (workgroups.includes(0)) return;
    const group = groupOf(kernel, ranges);
    encoder ??= gpu.createCommandEncoder();
    if (profiler !== null) pass = encoder.beginComputePass({ timestampWrites: profiler.time(kernel.kernel) });
    pass ??= encoder.beginComputePass();
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(0, group);
    if (offset !== null) pass.setBindGroup(1, ring.group(kernel.parameterBytes), [offset]);
    pass.dispatchWorkgroups(...workgroups);
    if (profiler !== null) {
      pass.end();
      pass = null;
    }
    for (const { buffer } of ranges) recorded.add(buffer);
    dispatches++;
  }

  function flush(): void {
    if (encoder !== null) {
      pass?.end();
      profiler?.resolve(encoder);
      const whole = encoder;
      watch(
        device.guarded("the recorded kernels", () => {
          ring.flush();
          gpu.queue.submit([whole.finish()]);
        }),
      );
    }
    encoder = null;
    pass = null;
    dispatches = 0;
    recorded.clear();
    pool.trim(idleLimit);
  }

  async function run(
    prepared: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters: Readonly<Record<string, number | boolean>> = {},
    outputs: Readonly<Record<string, DeviceTensor>> = {},
  ): Promise<Readonly<Record<string, DeviceTensor>>> {
    const { program } = prepared;
    const { ranges, tensors } = givenRanges(program, inputs, outputs, (tensor) => !released.has(tensor));
    const words = parameterWords(program, { ...inputs, ...parameters });

    // First all memory, which may have to be waited for; then everything is recorded at once. Buffers freed on the way
    // stay with this run until then, as another run may come between.
    const free: GPUBuffer[] = [];
    const held = new Map<number, GPUBuffer>();
    const giveBack = (): void => {
      for (const buffer of [...free, ...held.values()]) pool.give(buffer);
    };
    try {
      for (const step of program.steps) {
        if (step.kind === "dispatch" || step.kind === "repeat") continue;
        const wanted = program.buffers[step.buffer];
        if (wanted === undefined || ranges.has(step.buffer) !== held.has(step.buffer)) continue; // given by the caller
        if (step.kind === "alloc") {
          const fit = free.findIndex((buffer) => buffer.size === pool.sizeOf(wanted.bytes));
          const buffer =
            free.splice(fit, fit < 0 ? 0 : 1)[0] ??
            (await obtain(wanted.bytes, `${program.name}, buffer ${step.buffer}`));
          held.set(step.buffer, buffer);
          ranges.set(step.buffer, { buffer, offset: 0, bytes: wanted.bytes });
        } else {
          const buffer = held.get(step.buffer);
          if (buffer !== undefined) free.push(buffer);
          held.delete(step.buffer);
        }
      }
      record(prepared, ranges, words);
    } catch (error) {
      giveBack();
      throw error;
    }

    const results: Record<string, DeviceTensor> = {};
    for (const output of program.outputs) {
      const { name, dtype, shape, format } = output;
      const given = tensors.get(output.buffer);
      const range = ranges.get(output.buffer);
      if (range === undefined)
        throw new DeviceError("validation", `${program.name} never allocates its output ${name}.`);
      if (given === undefined) held.delete(output.buffer);
      results[name] = given ?? own({ dtype, shape, format, ...range });
    }
    giveBack();
    if (encoder === null) pool.trim(idleLimit);
    return results;
  }

  function record(
    { program, kernels }: Prepared,
    ranges: ReadonlyMap<number, Range>,
    given: ReadonlyMap<string, number>,
  ): void {
    /** Offsets of the parameter blocks that lie in the ring already. */
    let blocks = new Map<string, number>();
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
        throw new DeviceError(
          "validation",
          `${program.name} dispatches kernel ${step.kernel}, which it does not have.`,
        );
      const bound = step.buffers.map((id) => {
        const range = ranges.get(id);
        if (range === undefined)
          throw new DeviceError(
            "validation",
            `${program.name} dispatches ${kernel.kernel.name} before it allocates buffer ${id}.`,
          );
        return range;
      });
      if (dispatches >= submitLimit || !ring.fits(1, kernel.parameterBytes)) {
        flush();
        blocks = new Map();
      }
      let offset: number | null = null;
      if (kernel.parameterBytes > 0) {
        const key = kernel.kernel.parameters.map((name) => `${name}=${words.get(name) ?? 0}`).join(" ");
        offset =
          blocks.get(key) ?? ring.put(Uint32Array.from(kernel.kernel.parameters, (name) => words.get(name) ?? 0));
        blocks.set(key, offset);
      }
      dispatch(kernel, bound, offset, step.workgroups);
    };
    program.steps.forEach(play);
  }

  async function allocate(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor> {
    if (bytes === undefined && form.format !== null)
      throw new DeviceError("validation", `${label} has a format, and no size in bytes was given for it.`);
    const size = paddedBytes(bytes ?? denseBytes(form.dtype, form.shape));
    const { dtype, shape, format } = form;
    return own({ dtype, shape, format, buffer: await obtain(size, label), offset: 0, bytes: size });
  }

  async function write(tensor: DeviceTensor, data: ArrayBufferView | ArrayBuffer, offset = 0): Promise<void> {
    if (offset + data.byteLength > tensor.bytes)
      throw new DeviceError(
        "validation",
        `${data.byteLength} bytes at ${offset} do not fit into a tensor of ${formatBytes(tensor.bytes)}.`,
      );
    // Writes are queued at once, so what is recorded must be queued before.
    if (recorded.has(tensor.buffer)) flush();
    await device.write(tensor.buffer, tensor.offset + offset, data);
  }

  async function upload(
    form: TensorForm,
    data: ArrayBufferView | ArrayBuffer,
    label = "a tensor",
  ): Promise<DeviceTensor> {
    const tensor = await allocate(form, label, form.format === null ? undefined : data.byteLength);
    await write(tensor, data);
    return tensor;
  }

  async function read(tensor: DeviceTensor): Promise<Uint8Array<ArrayBuffer>> {
    if (released.has(tensor)) throw new DeviceError("validation", "A tensor was read that has been released.");
    flush();
    const checks = [...outstanding];
    const bytes = await device.read(tensor.buffer, tensor.offset, tensor.bytes);
    await settle(checks);
    return bytes;
  }

  return {
    device,
    get memory() {
      return { live: liveBytes, idle: pool.idleBytes };
    },
    async prepare(program) {
      for (const feature of program.features) {
        if (!device.features.has(feature))
          throw new DeviceError(
            "validation",
            `${program.name} needs the feature ${feature}, which ${device.name} does not have. Compile it for this device.`,
          );
      }
      for (const { id, bytes } of program.buffers) {
        if (bytes > device.limits.maxStorageBufferBindingSize) {
          throw new DeviceError(
            "too-large",
            `${program.name}: ${nameOfBuffer(program, id)} takes ${formatBytes(bytes)}, but ${device.name} binds at most ${formatBytes(device.limits.maxStorageBufferBindingSize)} (maxStorageBufferBindingSize).`,
          );
        }
      }
      return { program, kernels: await Promise.all(program.kernels.map((kernel) => pipelines.compile(kernel))) };
    },
    run,
    allocate,
    upload,
    fill: (dtype, shape, values, label) => upload({ dtype, shape, format: null }, denseWords(dtype, values), label),
    write,
    read,
    async values(tensor) {
      if (tensor.format !== null && tensor.format.name !== tensor.dtype)
        throw new DeviceError(
          "validation",
          `The values of a tensor in format ${tensor.format.name} were asked for; decode it first.`,
        );
      return denseValues(tensor.dtype, elementCount(tensor.shape), await read(tensor));
    },
    release(tensor) {
      const size = live.get(tensor.buffer);
      if (size === undefined || released.has(tensor))
        throw new DeviceError(
          "validation",
          "A tensor was released that is not this executor's, or was released before.",
        );
      released.add(tensor);
      live.delete(tensor.buffer);
      liveBytes -= size;
      pool.give(tensor.buffer);
    },
    flush,
    async finish() {
      flush();
      const checks = [...outstanding];
      await device.finish();
      await settle(checks);
    },
    async profile() {
      flush();
      return (await profiler?.take()) ?? [];
    },
    trim() {
      flush();
      pool.trim(0);
    },
    close() {
      encoder = null;
      pool.trim(0);
      profiler?.destroy();
      ring.destroy();
      groups.clear();
    },
  };
}

function nameOfBuffer(program: Program, id: number): string {
  return [...program.inputs, ...program.outputs].find((one) => one.buffer === id)?.name ?? `buffer ${id}`;
}
