/** A device to compute on, opened with every feature and limit that an adapter has, and with errors as rejections. */
import { DeviceError, formatBytes } from "./error.js";
import type { Wait } from "./wait.js";
import { readBuffer, writeBuffer } from "./transfer.js";

/** `null`: Dawn's backend that computes nothing, for checking WGSL that this machine lacks features for. */
export type DeviceKind = "gpu" | "cpu" | "null";

/** An adapter, and the Dawn instance that must be kept alive for as long as its device is in use. */
export interface FoundAdapter {
  readonly kind: DeviceKind;
  /** For people, e.g. `NVIDIA H100 80GB HBM3`. */
  readonly name: string;
  readonly instance: GPU;
  readonly adapter: GPUAdapter;
}

type LimitName = Exclude<keyof GPUSupportedLimits, "__brand">;

/** WebGPU's limits (bytes or counts) and the subgroup sizes (lanes; 1 without subgroups). */
export type DeviceLimits = { readonly [Name in LimitName]: number } & {
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
};

/** Bytes in buffers that `createBuffer` made and `free` has not taken back. */
export interface DeviceMemory {
  readonly allocated: number;
  readonly peak: number;
}

/** A product of a matrix of M x K and one of K x N, as Dawn reports it; types as in WGSL. */
export interface MatrixShape {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

export interface DeviceDescription {
  /** For people, e.g. `NVIDIA H100 80GB HBM3` or `SwiftShader (CPU)`. */
  readonly name: string;
  readonly kind: DeviceKind;
  readonly features: ReadonlySet<string>;
  readonly limits: DeviceLimits;
  /** The products of matrices that a subgroup computes. */
  readonly matrices: readonly MatrixShape[];
}

/** Every operation throws DeviceError only; an error that nobody awaited is thrown by the next operation. */
export interface Device extends DeviceDescription {
  readonly info: GPUAdapterInfo;
  /** For encoding and submitting; wrap what may fail in `guarded`. */
  readonly gpu: GPUDevice;
  readonly memory: DeviceMemory;
  /** Bytes of memory of the machine that the device is in. */
  readonly hostMemory: number;
  /** Settles when the device is lost, with what was lost; never for one that is closed. */
  readonly lost: Promise<DeviceError>;
  /**
   * A zeroed buffer of at least `bytes` (rounded up to 16), by default for storage and copies.
   * @throws DeviceError too-large or out-of-memory, naming `label` and the sizes
   */
  createBuffer(bytes: number, label: string, usage?: GPUBufferUsageFlags): Promise<GPUBuffer>;
  /** Whether a buffer is one that `createBuffer` made and `free` has not taken back. */
  holds(buffer: GPUBuffer): boolean;
  /** Destroys a buffer that `createBuffer` made, at once, and takes it off the account. Twice is harmless. */
  free(buffer: GPUBuffer): void;
  /** Runs `work` at once and turns what WebGPU or the driver has against it into a DeviceError that names `label`. */
  guarded<T>(label: string, work: () => T | Promise<T>): Promise<T>;
  /**
   * The same for work that hands recorded commands to the queue: it is done also where an earlier error is still to be
   * reported, which the next operation throws. Commands are never dropped but by a device that is lost.
   */
  submit(label: string, work: () => void): Promise<void>;
  /**
   * Bytes `[offset, offset + bytes)`, any alignment, as a fresh array that starts its own ArrayBuffer: as they are
   * after all that is submitted when it is called, whatever is submitted while they travel.
   */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Copies `data` to byte `offset`, any alignment and size; resolves when `data` may change again. Whatever else uses
   * the buffer waits for that: much data goes in several steps.
   */
  write(buffer: GPUBuffer, offset: number, data: ArrayBufferView | ArrayBuffer): Promise<void>;
  /** Resolves when all submitted work has run. */
  finish(): Promise<void>;
  /** Frees everything and lets Node exit. Later operations throw device-lost. */
  close(): void;
}

/** WebGPU's buffer usage flags; the package exports no such names in Node. */
export const bufferUsage = {
  mapRead: 0x1,
  copySrc: 0x4,
  copyDst: 0x8,
  uniform: 0x40,
  storage: 0x80,
  indirect: 0x100,
  queryResolve: 0x200,
} as const;

/** Features that compute can use; the rest concerns textures and drawing. */
export const wantedFeatures: readonly string[] = [
  "shader-f16",
  "subgroups",
  "subgroup-size-control",
  "timestamp-query",
  "chromium-experimental-subgroup-matrix",
];

/** Whether an adapter computes on the CPU. */
export function isSoftware(adapter: GPUAdapter): boolean {
  const { architecture, description, device } = adapter.info;
  // The names are for drivers that call themselves something else than a CPU.
  return (
    adapter.info.isFallbackAdapter ||
    /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i.test(`${architecture} ${device} ${description}`)
  );
}

/** Limits are getters of a prototype, so that spreading them copies nothing. */
function limitsOf(limits: GPUSupportedLimits): Record<LimitName, number> {
  const result: Partial<Record<LimitName, number>> = {};
  for (const name in limits) if (name !== "__brand") result[name as LimitName] = limits[name as LimitName];
  return result as Record<LimitName, number>;
}

/** The limits of an adapter or of a device. */
export function describeLimits(limits: GPUSupportedLimits, info: GPUAdapterInfo): DeviceLimits {
  return {
    ...limitsOf(limits),
    subgroupMinSize: info.subgroupMinSize ?? 1,
    subgroupMaxSize: info.subgroupMaxSize ?? 1,
  };
}

/** The products of matrices that a subgroup of an adapter computes. */
export function matricesOf({ features, info }: GPUAdapter): readonly MatrixShape[] {
  // not in Dawn's typings
  const { subgroupMatrixConfigs = [] } = info as { readonly subgroupMatrixConfigs?: Iterable<MatrixShape> };
  if (!features.has("chromium-experimental-subgroup-matrix")) return [];
  return [...subgroupMatrixConfigs].map(({ componentType, resultComponentType, M, N, K }) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  }));
}

/** Turns of the event loop in which nothing is pending before a closed device lets its instance go. */
const turnsAfterClose = 3;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What the machine around a device gives. */
export interface DeviceHost {
  /** Bytes of the machine's memory. */
  readonly memory: number;
  /** Waits for what was submitted. */
  readonly wait: Wait;
}

/**
 * Opens an adapter.
 * @throws DeviceError device-lost
 */
export async function openAdapter(found: FoundAdapter, host: DeviceHost): Promise<Device> {
  // Dawn's typings know only the standard's feature names.
  const features = wantedFeatures.filter((name) => found.adapter.features.has(name)) as GPUFeatureName[];
  const gpu = await found.adapter
    .requestDevice({ requiredFeatures: features, requiredLimits: limitsOf(found.adapter.limits) })
    .catch((error: unknown) => {
      throw new DeviceError("device-lost", `${found.name} could not be opened: ${messageOf(error)}`);
    });
  // A device that is destroyed before the event loop has turned once ends the process now and then, when all is done
  // (one of forty on a busy machine, by a signal or not at all); after a turn none of two hundred did.
  await new Promise((resolve) => setTimeout(resolve, 1));
  return makeDevice(found, gpu, host);
}

function makeDevice(found: FoundAdapter, gpu: GPUDevice, { wait, memory: hostMemory }: DeviceHost): Device {
  const { name, kind } = found;
  let instance: GPU | undefined = found.instance;
  let pending = 0; // operations that Dawn has not answered
  let failure: DeviceError | undefined; // loss: final
  let unreported: DeviceError | undefined; // an error that no scope caught: thrown once
  const sizes = new Map<GPUBuffer, number>();
  const memory = { allocated: 0, peak: 0 };
  const limits = describeLimits(gpu.limits, found.adapter.info);

  const lost = gpu.lost.then((reason): Promise<DeviceError> | DeviceError => {
    // one that was closed is not missed
    if (failure !== undefined) return new Promise(() => {});
    failure = new DeviceError("device-lost", `${name} was lost: ${reason.message || reason.reason}.`);
    return failure;
  });
  gpu.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    unreported ??= translate(event.error, "an earlier operation");
  });

  /** `kind` of the error decides: GPUOutOfMemoryError, GPUValidationError or GPUInternalError. */
  function translate(error: GPUError, label: string): DeviceError {
    const text = error.message.trim();
    if (error.constructor.name !== "GPUOutOfMemoryError")
      return new DeviceError("validation", `${name} refused ${label}: ${text}`);
    const inUse = `${formatBytes(memory.allocated)} are allocated already`;
    // Only the first line: Dawn's second is where in its own source it gave up.
    return new DeviceError(
      "out-of-memory",
      `${name} has no memory left for ${label} (${inUse}): ${text.split("\n")[0]}.`,
    );
  }

  function check(): void {
    if (failure !== undefined) throw failure;
    if (unreported !== undefined) {
      const error = unreported;
      unreported = undefined;
      throw error;
    }
  }

  async function guarded<T>(label: string, work: () => T | Promise<T>): Promise<T> {
    check();
    return scoped(label, work);
  }

  async function submit(label: string, work: () => void): Promise<void> {
    if (failure !== undefined) throw failure;
    return scoped(label, work);
  }

  async function scoped<T>(label: string, work: () => T | Promise<T>): Promise<T> {
    const filters = ["validation", "out-of-memory", "internal"] as const;
    for (const filter of filters) gpu.pushErrorScope(filter);
    // Scopes are popped before anything is awaited: they form one stack for the whole device, and
    // operations that overlap would pop each other's.
    const settled = (async () => work())().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    const scopes = Promise.all(filters.map(() => gpu.popErrorScope())).catch(() => []);
    pending++;
    const [caught, outcome] = await wait(Promise.all([scopes, settled]));
    pending--;
    if (failure !== undefined) throw failure;
    const error = caught.find((one) => one !== null && one !== undefined);
    if (error) throw translate(error, label);
    if ("value" in outcome) return outcome.value;
    if (outcome.error instanceof Error && /^(GPUPipelineError|OperationError|AbortError)$/.test(outcome.error.name)) {
      throw new DeviceError("validation", `${name} refused ${label}: ${outcome.error.message.trim()}`);
    }
    throw outcome.error;
  }

  async function createBuffer(bytes: number, label: string, usage?: GPUBufferUsageFlags): Promise<GPUBuffer> {
    check();
    // 16: the smallest binding of array<vec4<f32>>; WebGPU refuses to bind fewer bytes than one element.
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > limits.maxBufferSize) {
      throw new DeviceError(
        "too-large",
        `${label} needs one buffer of ${formatBytes(bytes)}, but ${name} allows at most ${formatBytes(limits.maxBufferSize)} a buffer (maxBufferSize).`,
      );
    }
    const { storage, copySrc, copyDst } = bufferUsage;
    const buffer = await guarded(`${label} (${formatBytes(size)})`, () =>
      gpu.createBuffer({ size, label, usage: usage ?? storage | copySrc | copyDst }),
    );
    sizes.set(buffer, size);
    memory.allocated += size;
    memory.peak = Math.max(memory.peak, memory.allocated);
    return buffer;
  }

  /**
   * Lets the instance go once nothing waits for it: Node stays alive for as long as one is referenced, and Dawn, which
   * looks for answers in a turn of the event loop, ends the process where the instance has been collected before.
   */
  async function letGo(): Promise<void> {
    for (let quiet = 0; quiet < turnsAfterClose; quiet = pending === 0 ? quiet + 1 : 0)
      await new Promise((resolve) => setTimeout(resolve, 1));
    instance = undefined;
  }

  function free(buffer: GPUBuffer): void {
    memory.allocated -= sizes.get(buffer) ?? 0;
    sizes.delete(buffer);
    buffer.destroy();
  }

  return {
    name,
    kind,
    info: found.adapter.info,
    features: new Set(gpu.features),
    limits,
    matrices: matricesOf(found.adapter),
    gpu,
    memory,
    hostMemory,
    lost,
    createBuffer,
    holds: (buffer) => sizes.has(buffer),
    free,
    guarded,
    submit,
    read: (buffer, offset, bytes) => guarded(`reading ${buffer.label}`, () => readBuffer(gpu, buffer, offset, bytes)),
    write: (buffer, offset, data) => guarded(`writing ${buffer.label}`, () => writeBuffer(gpu, buffer, offset, data)),
    finish: () => guarded("the submitted work", () => gpu.queue.onSubmittedWorkDone()),
    close() {
      if (instance === undefined) return;
      failure = new DeviceError("device-lost", `${name} has been closed.`);
      sizes.clear();
      memory.allocated = 0;
      gpu.destroy();
      void letGo();
    },
  };
}
