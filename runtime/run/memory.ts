/** The memory of an executor: tensors that live, what runs borrow, and what lies idle. */
import type { Program } from "../../compiler/plan/program.js";
import type { Device } from "../device/device.js";
import { DeviceError } from "../device/error.js";
import type { Range } from "./bindings.js";
import { createPool } from "./pool.js";
import { isTensor, type DeviceTensor } from "./tensor.js";

/** Buffers that a program's steps allocate. */
export interface Claim {
  /** Those that it has freed again, and those that it has not, by their ids in the program. */
  readonly free: readonly GPUBuffer[];
  readonly retained: ReadonlyMap<number, GPUBuffer>;
  /** Those of a scratch, which stay that's. */
  readonly shared: readonly GPUBuffer[];
}

/**
 * Buffers that programs share which are bound to them and run one after the other: what these compute with in between.
 * What a program puts out is not among them.
 */
export interface Scratch {
  readonly buffers: GPUBuffer[];
}

/** Bytes in buffers: of tensors that are not released, and kept for reuse. */
export interface ExecutorMemory {
  readonly live: number;
  readonly idle: number;
}

export interface Memory {
  readonly use: ExecutorMemory;
  /** A tensor's own buffer becomes one that lives. */
  own(tensor: DeviceTensor): DeviceTensor;
  /** @throws DeviceError validation where it is not a tensor that lives here */
  release(tensor: DeviceTensor): void;
  isReleased(tensor: DeviceTensor): boolean;
  /** Lets a tensor be released when another is. */
  tie(tensor: DeviceTensor, to: DeviceTensor): void;
  /** How many tensors have been released: while it stays, what lived still does. */
  readonly releases: number;
  /** Buffers that live although they are no tensor's, and the end of that; tensors in them are released with them. */
  hold(buffers: readonly GPUBuffer[]): void;
  letGo(buffers: readonly GPUBuffer[], tensors: readonly DeviceTensor[]): void;
  /** @throws DeviceError out-of-memory, when what lay idle was freed and it was still too little; too-large */
  obtain(bytes: number, label: string): Promise<GPUBuffer>;
  /**
   * Memory for what a program allocates, put among `ranges`; what it frees may be used again by what it allocates
   * later. The buffers are the caller's until it recycles them; those of `scratch` stay that's, which grows by what it
   * had no room for.
   */
  claim(program: Program, ranges: Map<number, Range>, scratch?: Scratch | null): Promise<Claim>;
  /** For buffers that are no tensor's and not needed any more; what is recorded already still finds them. */
  recycle(buffers: Iterable<GPUBuffer>): void;
  /** Destroys what lies idle beyond what may, or beyond `keep` bytes; nothing may be recorded that uses it. */
  trim(keep?: number): void;
}

export interface MemoryOptions {
  /** Bytes that may lie idle. */
  readonly idleLimit: number;
  /** Whether what a program frees is used again by what it allocates later. */
  readonly reuse: boolean;
  /** Submits what is recorded, so that nothing submitted later uses what lies idle now. */
  readonly flush: () => void;
  /** Waits until what is submitted has run. */
  readonly finish: () => Promise<void>;
}

/** The most bytes that a program has allocated at once. */
export function bytesAtOnce({ steps, buffers }: Program): number {
  let [now, most] = [0, 0];
  for (const step of steps) {
    if (step.kind !== "alloc" && step.kind !== "free") continue;
    const bytes = buffers[step.buffer]?.bytes ?? 0;
    now += step.kind === "alloc" ? bytes : -bytes;
    most = Math.max(most, now);
  }
  return most;
}

/** How many times as large as what is asked for a buffer of a scratch may be: a larger one is left for what needs it. */
const mostSpare = 4;

/** Makes an account of memory, empty. */
export function createMemory(device: Device, { idleLimit, reuse, flush, finish }: MemoryOptions): Memory {
  const pool = createPool(device);
  /** Bytes of the buffers of tensors that live. */
  const live = new Map<GPUBuffer, number>();
  let liveBytes = 0;
  const released = new WeakSet<DeviceTensor>();
  let releases = 0;

  async function obtain(bytes: number, label: string): Promise<GPUBuffer> {
    const idle = pool.take(bytes);
    if (idle !== undefined) return idle;
    const size = pool.sizeOf(bytes);
    try {
      return await device.createBuffer(size, label);
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== "out-of-memory" || pool.idleBytes === 0) throw error;
      flush();
      await finish();
      // what other calls have recorded meanwhile may use what they have given back
      flush();
      pool.trim(0);
      return device.createBuffer(size, label);
    }
  }

  function recycle(buffers: Iterable<GPUBuffer>): void {
    for (const buffer of buffers) pool.give(buffer);
  }

  const tied = new WeakMap<DeviceTensor, readonly DeviceTensor[]>();

  return {
    get use() {
      return { live: liveBytes, idle: pool.idleBytes };
    },
    own(tensor) {
      live.set(tensor.buffer, tensor.buffer.size);
      liveBytes += tensor.buffer.size;
      return tensor;
    },
    release(tensor) {
      const size = isTensor(tensor) ? live.get(tensor.buffer) : undefined;
      if (size === undefined || released.has(tensor))
        throw new DeviceError(
          "validation",
          "A tensor was released that is not this executor's, or was released before.",
        );
      released.add(tensor);
      releases++;
      live.delete(tensor.buffer);
      liveBytes -= size;
      pool.give(tensor.buffer);
      for (const each of tied.get(tensor) ?? []) if (!released.has(each)) this.release(each);
    },
    tie(tensor, to) {
      tied.set(to, [...(tied.get(to) ?? []), tensor]);
    },
    isReleased: (tensor) => released.has(tensor),
    get releases() {
      return releases;
    },
    hold(buffers) {
      for (const buffer of buffers) liveBytes += buffer.size;
    },
    letGo(buffers, tensors) {
      for (const buffer of buffers) {
        liveBytes -= buffer.size;
        pool.give(buffer);
      }
      for (const tensor of tensors) released.add(tensor);
      releases += tensors.length;
    },
    obtain,
    recycle,
    async claim(program, ranges, scratch = null) {
      const free: GPUBuffer[] = [];
      const retained = new Map<number, GPUBuffer>();
      // what the program frees is nothing that it puts out
      const freed = new Set(
        scratch === null ? [] : program.steps.flatMap((step) => (step.kind === "free" ? [step.buffer] : [])),
      );
      const unused = new Set(scratch?.buffers ?? []);
      const borrowed = new Map<number, GPUBuffer>();
      const used = new Set<GPUBuffer>();
      const borrow = async (bytes: number, shared: Scratch, label: string): Promise<GPUBuffer> => {
        const fitting = [...unused].filter(({ size }) => size >= bytes && size <= mostSpare * pool.sizeOf(bytes));
        const [least] = fitting.sort((a, b) => a.size - b.size);
        if (least !== undefined) {
          unused.delete(least);
          return least;
        }
        const made = await obtain(bytes, label);
        liveBytes += made.size;
        shared.buffers.push(made);
        return made;
      };
      try {
        for (const step of program.steps) {
          if (step.kind === "dispatch" || step.kind === "repeat") continue;
          const wanted = program.buffers[step.buffer];
          const isOurs = retained.has(step.buffer) || borrowed.has(step.buffer);
          if (wanted === undefined || ranges.has(step.buffer) !== isOurs) continue; // given by the caller
          if (step.kind === "alloc" && scratch !== null && freed.has(step.buffer)) {
            const buffer = await borrow(wanted.bytes, scratch, `${program.name}, buffer ${step.buffer}`);
            borrowed.set(step.buffer, buffer);
            used.add(buffer);
            ranges.set(step.buffer, { buffer, offset: 0, bytes: wanted.bytes });
          } else if (step.kind === "alloc") {
            const fit = reuse ? free.findIndex((buffer) => buffer.size === pool.sizeOf(wanted.bytes)) : -1;
            const buffer =
              free.splice(fit, fit < 0 ? 0 : 1)[0] ??
              (await obtain(wanted.bytes, `${program.name}, buffer ${step.buffer}`));
            retained.set(step.buffer, buffer);
            ranges.set(step.buffer, { buffer, offset: 0, bytes: wanted.bytes });
          } else {
            const [own, shared] = [retained.get(step.buffer), borrowed.get(step.buffer)];
            if (own !== undefined) free.push(own);
            if (shared !== undefined && reuse) unused.add(shared);
            retained.delete(step.buffer);
            borrowed.delete(step.buffer);
          }
        }
      } catch (error) {
        recycle([...free, ...retained.values()]);
        throw error;
      }
      return { free, retained, shared: [...used] };
    },
    trim: (keep = idleLimit) => pool.trim(keep),
  };
}
