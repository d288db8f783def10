/** Running programs on a device: the parts of an executor put together. */
import { elementCount } from "../../compiler/types/shape.js";
import type { Device } from "../device/device.js";
import { DeviceError, formatBytes } from "../device/error.js";
import { createBindGroups } from "./bind-groups.js";
import { bindArguments, outputTensors, type Argument, type Given } from "./bindings.js";
import { createBoundPrograms } from "./bound.js";
import type { Executor, ExecutorOptions } from "./executor.js";
import { createMemory } from "./memory.js";
import { createOutcomes, mayBeLeft } from "./outcomes.js";
import { createPipelines, type Prepared } from "./pipelines.js";
import { createPoison } from "./poison.js";
import { createProfiler } from "./profile.js";
import { createReads } from "./reads.js";
import { createRecorder } from "./recorder.js";
import {
  checkForm,
  denseBytes,
  denseValues,
  denseWords,
  describe,
  isTensor,
  paddedBytes,
  printForm,
  type DeviceTensor,
  type HostValues,
  type TensorForm,
} from "./tensor.js";
import { checkProgram } from "./valid-program.js";

export type { Argument } from "./bindings.js";
export type { Bound } from "./bound.js";
export type { KernelTime } from "./profile.js";
export type { Executor, ExecutorOptions } from "./executor.js";
export type { ExecutorMemory } from "./memory.js";
export type { Prepared } from "./pipelines.js";
export type { DeviceTensor, HostValues, TensorForm } from "./tensor.js";

/** Makes an executor for a device. */
export async function createExecutor(device: Device, options: ExecutorOptions = {}): Promise<Executor> {
  const outcomes = createOutcomes();
  const pipelines = createPipelines(device);
  const groups = createBindGroups(device, outcomes);
  const profiler = options.profile === true ? createProfiler(device) : null;
  const poison = options.poison === true ? await createPoison(device) : null;
  const memory = createMemory(device, {
    idleLimit: options.idleLimit ?? (device.kind === "gpu" ? 2 ** 32 : 2 ** 28),
    // poison is recorded before all else of a run
    reuse: poison === null,
    flush: () => recorder.flush(),
    finish: () => device.finish(),
  });
  const recorder = await createRecorder(device, pipelines, groups, outcomes, {
    firstSubmit: options.submitLimit === undefined && device.kind === "gpu" ? 16 : Infinity,
    submitLimit: Math.min(options.submitLimit ?? (device.kind === "gpu" ? 256 : 32), profiler?.capacity ?? Infinity),
    profiler,
    poison,
    onSubmit: () => memory.trim(),
  }).catch((error: unknown) => {
    profiler?.destroy();
    poison?.destroy();
    throw error;
  });
  const reads = createReads(device, recorder);
  const bound = createBoundPrograms({ device, pipelines, groups, memory, recorder });
  const prepared = new WeakSet<Prepared>();

  /** Whether a tensor lives: a part of another does as long as their buffer does. */
  const lives = (tensor: DeviceTensor): boolean => !memory.isReleased(tensor) && device.holds(tensor.buffer);

  /** Checks that something is a tensor that lives, and lies in its buffer. */
  function usable(tensor: DeviceTensor, done: string): DeviceTensor {
    if (!isTensor(tensor)) throw new DeviceError("validation", `A tensor is ${done}, and found ${describe(tensor)}.`);
    if (memory.isReleased(tensor)) throw new DeviceError("validation", `A tensor was ${done} that has been released.`);
    if (!device.holds(tensor.buffer))
      throw new DeviceError("validation", `A tensor was ${done} whose memory ${device.name} does not hold.`);
    if (tensor.offset + tensor.bytes > tensor.buffer.size)
      throw new DeviceError(
        "validation",
        `A tensor was ${done} of ${formatBytes(tensor.bytes)} at ${tensor.offset}, more than the ${formatBytes(tensor.buffer.size)} of its buffer.`,
      );
    return tensor;
  }

  function given(
    program: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters: Readonly<Record<string, number | boolean>> = {},
    outputs: Readonly<Record<string, DeviceTensor>> = {},
  ): Given {
    if (!prepared.has(program))
      throw new DeviceError(
        "validation",
        "`prepared` should be what this executor's `prepare` gave for a Program: await it, and give its result.",
      );
    const { minStorageBufferOffsetAlignment: alignment } = device.limits;
    return bindArguments(program.program, inputs, parameters, outputs, { lives, alignment });
  }

  async function run(
    ready: Prepared,
    inputs: Readonly<Record<string, Argument>>,
    parameters?: Readonly<Record<string, number | boolean>>,
    outputs?: Readonly<Record<string, DeviceTensor>>,
  ): Promise<Readonly<Record<string, DeviceTensor>>> {
    const { ranges, tensors, words } = given(ready, inputs, parameters, outputs);
    const { program } = ready;
    // First all memory, which may have to be waited for; then everything is recorded at once. Buffers freed on the way
    // stay with this run until then, as another run may come between.
    const { free, retained } = await memory.claim(program, ranges);
    const left = new Map(retained);
    try {
      recorder.spoil([...free, ...retained.values()]);
      recorder.run(ready, ranges, words);
      return outputTensors(program, ranges, tensors, (tensor, buffer) => {
        left.delete(buffer);
        return memory.own(tensor);
      });
    } finally {
      memory.recycle(free);
      memory.recycle(left.values());
      if (recorder.isEmpty) memory.trim();
    }
  }

  async function allocate(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor> {
    const tensor = await reserve(form, label, bytes);
    recorder.spoil([tensor.buffer]);
    return tensor;
  }

  async function reserve(form: TensorForm, label: string, bytes?: number): Promise<DeviceTensor> {
    checkForm(form, label);
    if (bytes === undefined && form.format !== null)
      throw new DeviceError("validation", `${label} has a format, and no size in bytes was given for it.`);
    const size = paddedBytes(bytes ?? denseBytes(form.dtype, form.shape));
    const { dtype, shape, format } = form;
    return memory.own({ dtype, shape, format, buffer: await memory.obtain(size, label), offset: 0, bytes: size });
  }

  function copy(pairs: Parameters<Executor["copy"]>[0]): void {
    for (const { from, to } of pairs) {
      if (usable(from, "copied").bytes > usable(to, "copied").bytes || from.buffer === to.buffer || to.offset !== 0)
        throw new DeviceError(
          "validation",
          `A tensor of ${formatBytes(from.bytes)} is not copied to the beginning of another that has as much.`,
        );
      recorder.copy(from.buffer, from.offset, to.buffer, from.bytes);
    }
    // what is written next must come after it
    recorder.flush();
  }

  async function write(tensor: DeviceTensor, data: ArrayBufferView | ArrayBuffer, offset = 0): Promise<void> {
    usable(tensor, "written");
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + data.byteLength > tensor.bytes)
      throw new DeviceError(
        "validation",
        `${data.byteLength} bytes at ${offset} do not fit into a tensor of ${formatBytes(tensor.bytes)}.`,
      );
    // Writes are queued at once, so what is recorded must be queued before.
    if (recorder.uses(tensor.buffer)) recorder.flush();
    await device.write(tensor.buffer, tensor.offset + offset, data);
  }

  async function upload(
    form: TensorForm,
    data: ArrayBufferView | ArrayBuffer,
    label = "a tensor",
  ): Promise<DeviceTensor> {
    if (!(data instanceof ArrayBuffer || ArrayBuffer.isView(data)))
      throw new DeviceError("validation", `${label}: bytes are uploaded, and found ${describe(data)}.`);
    checkForm(form, label);
    const dense = form.format === null ? denseBytes(form.dtype, form.shape) : null;
    if (dense !== null && (data.byteLength > dense || paddedBytes(data.byteLength) < dense))
      throw new DeviceError(
        "validation",
        `${label}: ${printForm(form)} takes ${dense} bytes, padding included, and ${data.byteLength} were given.`,
      );
    const tensor = await reserve(form, label, dense === null ? data.byteLength : undefined);
    try {
      await write(tensor, poison === null ? data : poison.padded(data, tensor.bytes));
    } catch (error) {
      memory.release(tensor);
      throw error;
    }
    return tensor;
  }

  async function fill(
    dtype: TensorForm["dtype"],
    shape: readonly number[],
    values: ArrayLike<number>,
    label = "a tensor",
  ): Promise<DeviceTensor> {
    const form: TensorForm = { dtype, shape, format: null };
    checkForm(form, label);
    const count: unknown = (values as ArrayLike<number> | null | undefined)?.length;
    if (count !== elementCount(shape))
      throw new DeviceError(
        "validation",
        `${label}: ${printForm(form)} takes ${elementCount(shape)} values, and found ${typeof count === "number" ? count : describe(values)}.`,
      );
    return upload(form, denseWords(dtype, values), label);
  }

  async function read(tensor: DeviceTensor): Promise<Uint8Array<ArrayBuffer>> {
    usable(tensor, "read");
    const { buffer, offset, bytes } = tensor;
    let reading: Promise<Uint8Array<ArrayBuffer>>;
    if (reads.takes(offset, bytes)) reading = reads.read(buffer, offset, bytes);
    else {
      recorder.flush();
      reading = device.read(buffer, offset, bytes);
    }
    const settle = outcomes.mark();
    const found = await reading;
    await settle();
    return found;
  }

  async function values(tensor: DeviceTensor): Promise<HostValues> {
    usable(tensor, "read");
    if (tensor.format !== null && tensor.format.name !== tensor.dtype)
      throw new DeviceError(
        "validation",
        `The values of a tensor in format ${tensor.format.name} were asked for; decode it first.`,
      );
    return denseValues(tensor.dtype, elementCount(tensor.shape), await read(tensor));
  }

  async function finish(): Promise<void> {
    recorder.flush();
    const settle = outcomes.mark();
    await device.finish();
    await settle();
  }

  return {
    device,
    get memory() {
      return memory.use;
    },
    async prepare(given) {
      const program = checkProgram(given, device);
      const kernels = await Promise.all(program.kernels.map((kernel) => pipelines.compile(kernel)));
      const ready: Prepared = { program, kernels };
      prepared.add(ready);
      return ready;
    },
    run,
    async bind(ready, inputs, parameters, outputs, scratch) {
      return bound.bind(ready, given(ready, inputs, parameters, outputs), scratch);
    },
    discard: ({ buffers }) => memory.letGo(buffers.splice(0), []),
    replay: bound.replay,
    unbind: bound.unbind,
    allocate,
    upload,
    fill,
    copy,
    write,
    // a read goes on beside other work, which may fail before anybody waits for the read
    read: (tensor) => mayBeLeft(read(tensor)),
    values: (tensor) => mayBeLeft(values(tensor)),
    release: (tensor) => memory.release(tensor),
    isReleased: (tensor) => memory.isReleased(tensor),
    tie: (tensor, to) => memory.tie(usable(tensor, "tied"), usable(to, "tied to")),
    flush: recorder.flush,
    finish: () => mayBeLeft(finish()),
    async profile() {
      recorder.flush();
      return (await profiler?.take()) ?? [];
    },
    trim() {
      recorder.flush();
      memory.trim(0);
    },
    close() {
      recorder.close();
      reads.destroy();
      memory.trim(0);
      profiler?.destroy();
      poison?.destroy();
      groups.clear();
    },
  };
}
