/** The devices of a machine, in Node. */
import { totalmem } from "node:os";
import { findCpu, findGpu, findGpus, findNull, type FoundGpu, type Unchecked } from "./adapter.js";
import { DeviceError } from "./error.js";
import {
  describeLimits,
  matricesOf,
  openAdapter,
  wantedFeatures,
  type Device,
  type DeviceDescription,
  type DeviceKind,
  type FoundAdapter,
} from "./opened.js";
import { makePatientWait } from "./patience.js";
import { plainWait } from "./wait.js";

export { DeviceError, formatBytes, type DeviceErrorCode } from "./error.js";
export { bufferUsage } from "./opened.js";
export type {
  Device,
  DeviceDescription,
  DeviceKind,
  DeviceLimits,
  DeviceMemory,
  MatrixShape,
} from "./opened.js";

export interface DeviceOptions {
  /** `auto` (the default): a real GPU if there is one, else the CPU. */
  readonly kind?: "auto" | "gpu" | "cpu";
  /** Which of the devices that `listDevices` gives; with the kind `gpu` or `cpu`, which of those of that kind. */
  readonly index?: number | undefined;
  /** Gets one line when `auto` had to take the CPU. */
  readonly log?: (line: string) => void;
  /** `null`: a device that compiles shaders and computes nothing; `kind` is then ignored. */
  readonly backend?: "null";
  /**
   * `"kernels"` drops Dawn's clamping of indices and its zeroing of workgroup memory: for programs whose kernels are proven
   * to stay in range and to write before they read. An index out of range then reads or overwrites foreign memory, or ends
   * the process. `true` drops its validation of calls, too: for programs that the compiler of this process has made and
   * an executor runs, which ask for nothing that WebGPU would refuse. A Program from a file is for a checked device.
   */
  readonly unchecked?: Unchecked;
}

/**
 * Opens a device.
 * @throws DeviceError no-gpu when the machine has none of that kind
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const found = await find(options);
  return openAdapter(found, { memory: totalmem(), wait: found.kind === "cpu" ? makePatientWait() : plainWait });
}

/** A device of this machine, not opened. */
export interface ListedDevice extends DeviceDescription {
  /** Whether `auto` takes it. */
  readonly default: boolean;
  /** Whether it can be opened; see `FoundGpu`. */
  readonly reachable: boolean;
  /** Where a GPU is on the bus, as `0000:3b:00.0`; null where that is not known. */
  readonly place: string | null;
}

/** What this machine has, best first: `openDevice({ index })` opens one. */
export async function listDevices(): Promise<readonly ListedDevice[]> {
  return (await findAll(false)).map((one, index) => ({
    name: one.name,
    kind: one.kind,
    default: index === 0,
    reachable: one.reachable,
    place: one.place,
    features: new Set(wantedFeatures.filter((name) => one.adapter.features.has(name))),
    limits: describeLimits(one.adapter.limits, one.adapter.info),
    matrices: matricesOf(one.adapter),
  }));
}

async function findAll(unchecked: Unchecked): Promise<readonly FoundGpu[]> {
  const cpu = await findCpu(unchecked).catch((error: unknown) => {
    if (error instanceof DeviceError) return undefined;
    throw error;
  });
  return [...(await findGpus(unchecked)), ...(cpu === undefined ? [] : [{ ...cpu, place: null, reachable: true }])];
}

/**
 * The device of that number, from 0, among `all` or those of a kind.
 * @throws DeviceError no-gpu, where there is none or it cannot be distinguished from another
 */
export function deviceAt<T extends Pick<FoundGpu, "name" | "kind" | "reachable">>(
  all: readonly T[],
  index: number,
  kind: DeviceKind | null = null,
): T {
  const devices = kind === null ? all : all.filter((one) => one.kind === kind);
  const word = kind === null || kind === "null" ? "device" : kind === "gpu" ? "GPU" : "CPU driver";
  const found = devices[index];
  const listed = devices.map(({ name }, at) => `${at} ${name}`).join(", ");
  if (found === undefined)
    throw new DeviceError(
      "no-gpu",
      `There is no ${word} ${index} on this machine. ${devices.length === 0 ? "It has none." : `It has: ${listed}.`}`,
    );
  if (!found.reachable)
    throw new DeviceError(
      "no-gpu",
      `The ${word} ${index} is called ${found.name} as ${word} ${devices.findIndex(({ name }) => name === found.name)} is, and this machine's Vulkan loader does not choose between them: one of 1.4.323 or newer does. Or let this process see only the other one, as containers do with NVIDIA_VISIBLE_DEVICES.`,
    );
  return found;
}

async function find({ kind = "auto", index, log, backend, unchecked = false }: DeviceOptions): Promise<FoundAdapter> {
  if (backend === "null") return findNull();
  if (index !== undefined) {
    const among = kind === "gpu" ? await findGpus(unchecked) : await findAll(unchecked);
    const found = deviceAt(among, index, kind === "auto" ? null : kind);
    return (await found.itself?.()) ?? found;
  }
  if (kind === "gpu") return findGpu(unchecked);
  if (kind === "cpu") return findCpu(unchecked);
  const [gpu] = await findGpus(unchecked);
  if (gpu !== undefined) return gpu;
  const cpu = await findCpu(unchecked);
  log?.(`No GPU found: computing on ${cpu.name}, which is slow; choose a device with --device.`);
  return cpu;
}
