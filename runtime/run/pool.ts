/** Buffers that are free for reuse, by size. */
import type { Device } from "../device/device.js";

export interface BufferPool {
  /** Bytes that lie idle. */
  readonly idleBytes: number;
  /** The size to make a buffer for `bytes` with, if none is idle. */
  sizeOf(bytes: number): number;
  /** An idle buffer that holds `bytes`, or undefined. Its contents are left over from its last use. */
  take(bytes: number): GPUBuffer | undefined;
  give(buffer: GPUBuffer): void;
  /**
   * Destroys idle buffers, those given longest ago first, until at most `keep` bytes lie idle. No recorded but
   * unsubmitted work may use them.
   */
  trim(keep: number): void;
}

/**
 * Bytes that a buffer for `bytes` is made with: few enough sizes that buffers meet again, at most a sixteenth too many.
 */
export function sizeClass(bytes: number): number {
  const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 4));
  return Math.ceil(bytes / step) * step;
}

/** Makes an empty pool. All buffers given must have been made with a size of `sizeOf`. */
export function createPool(device: Device): BufferPool {
  /** In the order in which they were given. */
  const idle = new Set<GPUBuffer>();
  const bySize = new Map<number, GPUBuffer[]>();
  let idleBytes = 0;
  const sizeOf = (bytes: number): number => (sizeClass(bytes) > device.limits.maxBufferSize ? bytes : sizeClass(bytes));
  return {
    sizeOf,
    get idleBytes() {
      return idleBytes;
    },
    take(bytes) {
      // The latest given: its memory is the likeliest to be in a cache.
      const buffer = bySize.get(sizeOf(bytes))?.pop();
      if (buffer === undefined) return undefined;
      idle.delete(buffer);
      idleBytes -= buffer.size;
      return buffer;
    },
    give(buffer) {
      idle.add(buffer);
      idleBytes += buffer.size;
      const list = bySize.get(buffer.size);
      if (list === undefined) bySize.set(buffer.size, [buffer]);
      else list.push(buffer);
    },
    trim(keep) {
      for (const buffer of idle) {
        if (idleBytes <= keep) return;
        idle.delete(buffer);
        idleBytes -= buffer.size;
        const list = bySize.get(buffer.size) ?? [];
        list.splice(list.indexOf(buffer), 1);
        device.free(buffer);
      }
    },
  };
}
