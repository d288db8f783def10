/** Running programs on a device: recording, submitting, memory, reading back. */
import type { Program, ProgramKernel } from "../../compiler/plan/program.js";
import { DeviceError, formatBytes, type Device } from "../device/device.js";
import { givenRanges, parameterWords, type Argument, type Range } from "./bindings.js";
import { collectBlocks, type Bound, type BoundDispatch } from "./bound.js";
import type { Executor, ExecutorOptions, Prepared } from "./executor.js";
import { createParameterRing } from "./parameters.js";
import { createPipelines, type CompiledKernel } from "./pipelines.js";
import { parameterBlock, playDispatches, type Dispatch } from "./play.js";
import { createPoison } from "./poison.js";
import { createPool } from "./pool.js";
import { createProfiler } from "./profile.js";
import {
  denseBytes,
  denseValues,
  denseWords,
  elementCount,
  paddedBytes,
  type DeviceTensor,
  type TensorForm,
} from "./tensor.js";

export type { Argument } from "./bindings.js";
export type { Bound } from "./bound.js";
export type { KernelTime } from "./profile.js";
export type { Executor, ExecutorMemory, ExecutorOptions, Prepared } from "./executor.js";
export type { DeviceTensor, HostValues, TensorForm } from "./tensor.js";

/** What a bound program has. */
interface Binding {
  readonly name: string;
  readonly list: readonly BoundDispatch[];
  /** Memory of its own: temporaries and outputs that were not given, and its parameters. */
  readonly own: readonly GPUBuffer[];
  readonly constants: GPUBuffer | null;
  readonly given: readonly DeviceTensor[];
  readonly buffers: ReadonlySet<GPUBuffer>;
}

/** Makes an executor for a device. */
export async function createExecutor(device: Device, options: ExecutorOptions = {}): Promise<Executor> {
  const { gpu } = device;
  const idleLimit = options.idleLimit ?? (device.kind === "gpu" ? 2 ** 31 : 2 ** 28);
  const pipelines = createPipelines(device);
  const ring = await createParameterRing(device, pipelines);
  const pool = createPool(device);
  const profiler = options.profile === true ? createProfiler(device) : null;
  const poison = options.poison === true ? await createPoison(device) : null;
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
  /** The same of programs that were replayed. */
  const replayed = new Set<ReadonlySet<GPUBuffer>>();
  const bindings = new Map<Bound, Binding>();
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
    const open = begin(kernel.kernel);
    open.setPipeline(kernel.pipeline);
    open.setBindGroup(0, group);
    if (offset !== null) open.setBindGroup(1, ring.group(kernel.parameterBytes), [offset]);
    open.dispatchWorkgroups(...workgroups);
    end();
    for (const { buffer } of ranges) recorded.add(buffer);
  }

  /** The pass for a dispatch: one of its own where each is measured. */
  function begin(kernel: ProgramKernel): GPUComputePassEncoder {
    encoder ??= gpu.createCommandEncoder();
    if (profiler !== null) pass = encoder.beginComputePass({ timestampWrites: profiler.time(kernel) });
    pass ??= encoder.beginComputePass();
    return pass;
  }

  function end(): void {
    if (profiler !== null) {
      pass?.end();
      pass = null;
    }
    dispatches++;
  }

  /** Records that buffers nothing has written yet are filled, where that is asked for. */
  function spoil(buffers: Iterable<GPUBuffer>): void {
    if (poison === null) return;
    pass?.end();
    pass = null;
    encoder ??= gpu.createCommandEncoder();
    for (const buffer of buffers) {
      poison.fill(encoder, buffer);
      recorded.add(buffer);
    }
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
    replayed.clear();
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
    const { free, held } = await claim(program, ranges);
    const giveBack = (): void => {
      for (const buffer of [...free, ...held.values()]) pool.give(buffer);
    };
    try {
      spoil([...free, ...held.values()]);
      record(prepared, ranges, words);
    } catch (error) {
      giveBack();
      throw error;
    }
    const results = resultsOf(program, ranges, tensors, (tensor, buffer) => {
      held.delete(buffer);
      return own(tensor);
    });
    giveBack();
    if (encoder === null) pool.trim(idleLimit);
    return results;
  }

  /** Memory for what a program allocates, put among `ranges`; what it frees is used again by what it allocates later. */
  async function claim(
    program: Program,
    ranges: Map<number, Range>,
  ): Promise<{ readonly free: readonly GPUBuffer[]; readonly held: Map<number, GPUBuffer> }> {
    const free: GPUBuffer[] = [];
    const held = new Map<number, GPUBuffer>();
    try {
      for (const step of program.steps) {
        if (step.kind === "dispatch" || step.kind === "repeat") continue;
        const wanted = program.buffers[step.buffer];
        if (wanted === undefined || ranges.has(step.buffer) !== held.has(step.buffer)) continue; // given by the caller
        if (step.kind === "alloc") {
          // poison is recorded before all else
          const fit = poison === null ? free.findIndex((buffer) => buffer.size === pool.sizeOf(wanted.bytes)) : -1;
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
    } catch (error) {
      for (const buffer of [...free, ...held.values()]) pool.give(buffer);
      throw error;
    }
    return { free, held };
  }

  /** A program's outputs by name: those given, and those that `make` makes of what the program has allocated. */
  function resultsOf(
    program: Program,
    ranges: ReadonlyMap<number, Range>,
    given: ReadonlyMap<number, DeviceTensor>,
    make: (tensor: DeviceTensor, buffer: number) => DeviceTensor,
  ): Readonly<Record<string, DeviceTensor>> {
    const results: Record<string, DeviceTensor> = {};
    for (const { name, dtype, shape, format, buffer } of program.outputs) {
      const range = ranges.get(buffer);
      if (range === undefined)
        throw new DeviceError("validation", `${program.name} never allocates its output ${name}.`);
      results[name] = given.get(buffer) ?? make({ dtype, shape, format, ...range }, buffer);
    }
    return results;
  }

  function record(
    { program, kernels }: Prepared,
    ranges: ReadonlyMap<number, Range>,
    given: ReadonlyMap<string, number>,
  ): void {
    /** Offsets of the parameter blocks that lie in the ring already. */
    let blocks = new Map<string, number>();
    playDispatches(program, kernels, ranges, given, (each) => {
      const { kernel, words } = each;
      if (dispatches >= submitLimit || !ring.fits(1, kernel.parameterBytes)) {
        flush();
        blocks = new Map();
      }
      let offset: number | null = null;
      if (kernel.parameterBytes > 0) {
        const key = kernel.kernel.parameters.map((name) => `${name}=${words.get(name) ?? 0}`).join(" ");
        offset = blocks.get(key) ?? ring.put(parameterBlock(each));
        blocks.set(key, offset);
      }
      dispatch(kernel, each.ranges, offset, each.workgroups);
    });
  }

  async function bind(
    prepared: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters: Readonly<Record<string, number | boolean>> = {},
    outputs: Readonly<Record<string, DeviceTensor>> = {},
  ): Promise<Bound> {
    const { program, kernels } = prepared;
    const { ranges, tensors } = givenRanges(program, inputs, outputs, (tensor) => !released.has(tensor));
    const words = parameterWords(program, { ...inputs, ...parameters });
    const { free, held } = await claim(program, ranges);
    const own = [...free, ...held.values()];
    let constants: GPUBuffer | null = null;
    try {
      const blocks = collectBlocks(device, pipelines);
      const played: (Omit<Dispatch, "words"> & { readonly offset: number | null })[] = [];
      playDispatches(program, kernels, ranges, words, (each) => {
        if (each.workgroups.includes(0)) return;
        played.push({ ...each, offset: each.kernel.parameterBytes > 0 ? blocks.add(each) : null });
      });
      const made = await blocks.make();
      constants = made.buffer;
      const list = played.map(({ kernel, ranges: given, offset, workgroups }): BoundDispatch => {
        return {
          pipeline: kernel.pipeline,
          group: groupOf(kernel, given),
          parameters: offset === null ? null : made.group(kernel.parameterBytes),
          offsets: offset === null ? [] : [offset],
          workgroups,
          kernel: kernel.kernel,
        };
      });
      const bound: Bound = { outputs: resultsOf(program, ranges, tensors, (tensor) => tensor) };
      for (const buffer of own) liveBytes += buffer.size;
      bindings.set(bound, {
        name: program.name,
        list,
        own,
        constants,
        given: [...tensors.values()],
        buffers: new Set([...ranges.values()].map(({ buffer }) => buffer)),
      });
      return bound;
    } catch (error) {
      for (const buffer of own) pool.give(buffer);
      if (constants !== null) device.free(constants);
      throw error;
    }
  }

  function replay(bound: Bound): void {
    const found = bindings.get(bound);
    if (found === undefined) throw new DeviceError("validation", "A program was replayed that is not bound any more.");
    if (found.given.some((tensor) => released.has(tensor)))
      throw new DeviceError(
        "validation",
        `${found.name} was replayed after a tensor that it is bound to was released.`,
      );
    spoil(found.own);
    for (const each of found.list) {
      if (dispatches >= submitLimit) flush();
      begin(each.kernel).setPipeline(each.pipeline);
      pass!.setBindGroup(0, each.group);
      if (each.parameters !== null) pass!.setBindGroup(1, each.parameters, each.offsets);
      pass!.dispatchWorkgroups(each.workgroups[0], each.workgroups[1], each.workgroups[2]);
      end();
    }
    replayed.add(found.buffers);
  }

  async function allocate(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor> {
    const tensor = await reserve(form, label, bytes);
    spoil([tensor.buffer]);
    return tensor;
  }

  async function reserve(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor> {
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
    if (recorded.has(tensor.buffer) || [...replayed].some((buffers) => buffers.has(tensor.buffer))) flush();
    await device.write(tensor.buffer, tensor.offset + offset, data);
  }

  async function upload(
    form: TensorForm,
    data: ArrayBufferView | ArrayBuffer,
    label = "a tensor",
  ): Promise<DeviceTensor> {
    const tensor = await reserve(form, label, form.format === null ? undefined : data.byteLength);
    const fits = data.byteLength <= tensor.bytes;
    await write(tensor, poison !== null && fits ? poison.padded(data, tensor.bytes) : data);
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
    bind,
    replay,
    unbind(bound) {
      const found = bindings.get(bound);
      if (found === undefined) throw new DeviceError("validation", "A program was unbound that is not bound.");
      bindings.delete(bound);
      for (const buffer of found.own) {
        liveBytes -= buffer.size;
        pool.give(buffer);
      }
      if (found.constants !== null) {
        flush();
        device.free(found.constants);
      }
    },
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
      poison?.destroy();
      ring.destroy();
      groups.clear();
    },
  };
}

function nameOfBuffer(program: Program, id: number): string {
  return [...program.inputs, ...program.outputs].find((one) => one.buffer === id)?.name ?? `buffer ${id}`;
}
