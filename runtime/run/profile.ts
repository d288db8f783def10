/** GPU time of each kernel, by timestamp queries around each dispatch. */
import { bufferUsage, type Device } from "../device/opened.js";

/** The time that all dispatches of a kernel took since the profile was last taken. */
export interface KernelTime {
  readonly kernel: string;
  readonly schedule: string;
  readonly dispatches: number;
  readonly nanoseconds: number;
}

/** A dispatch's kernel. */
export interface Timed {
  readonly name: string;
  readonly schedule: string;
}

export interface Profiler {
  /** Dispatches that fit into one submit. */
  readonly capacity: number;
  /** The timestamps to write around the next dispatch. */
  time(kernel: Timed): GPUComputePassTimestampWrites;
  /** Ends the batch: call after the last pass, before the encoder is finished. */
  resolve(encoder: GPUCommandEncoder): void;
  /** What was measured since the last call, the slowest first; all work must be submitted. */
  take(): Promise<readonly KernelTime[]>;
  destroy(): void;
}

const capacity = 512;
const bytes = 2 * 8 * capacity;

/** Makes a profiler, or null where the device has no timestamps. */
export function createProfiler(device: Device): Profiler | null {
  if (!device.features.has("timestamp-query")) return null;
  const querySet = device.gpu.createQuerySet({ type: "timestamp", count: 2 * capacity, label: "profile" });
  let current: Timed[] = [];
  let batches: { readonly kernels: readonly Timed[]; readonly buffer: GPUBuffer }[] = [];
  return {
    capacity,
    time(kernel) {
      const at = current.push(kernel) - 1;
      return { querySet, beginningOfPassWriteIndex: 2 * at, endOfPassWriteIndex: 2 * at + 1 };
    },
    resolve(encoder) {
      if (current.length === 0) return;
      const buffer = device.gpu.createBuffer({
        size: bytes,
        usage: bufferUsage.queryResolve | bufferUsage.copySrc,
        label: "profile",
      });
      encoder.resolveQuerySet(querySet, 0, 2 * current.length, buffer, 0);
      batches.push({ kernels: current, buffer });
      current = [];
    },
    async take() {
      const taken = batches;
      batches = [];
      // kernels of one name are told apart, as the products of a block
      const times = new Map<Timed, KernelTime>();
      const read = await Promise.allSettled(
        taken.map(({ kernels, buffer }) => device.read(buffer, 0, 16 * kernels.length)),
      );
      for (const { buffer } of taken) buffer.destroy();
      for (const [batch, { kernels }] of taken.entries()) {
        const outcome = read[batch]!;
        if (outcome.status === "rejected") throw outcome.reason;
        const stamps = new BigUint64Array(outcome.value.buffer);
        kernels.forEach((kernel, at) => {
          const { name, schedule } = kernel;
          const before = times.get(kernel) ?? { kernel: name, schedule, dispatches: 0, nanoseconds: 0 };
          // Some drivers let the end fall before the beginning now and then.
          const spent = Math.max(0, Number((stamps[2 * at + 1] ?? 0n) - (stamps[2 * at] ?? 0n)));
          times.set(kernel, { ...before, dispatches: before.dispatches + 1, nanoseconds: before.nanoseconds + spent });
        });
      }
      return [...times.values()].sort((a, b) => b.nanoseconds - a.nanoseconds);
    },
    destroy() {
      querySet.destroy();
      for (const { buffer } of batches) buffer.destroy();
    },
  };
}
