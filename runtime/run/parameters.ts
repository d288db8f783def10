/** The parameters of recorded dispatches: blocks of one uniform buffer, written once a submit. */
import { bufferUsage, type Device } from "../device/opened.js";
import type { Pipelines } from "./pipelines.js";

export interface ParameterRing {
  /** Whether `blocks` more blocks of `bytes` fit before the next `clear`. */
  fits(blocks: number, bytes: number): boolean;
  /** Puts the words of a block in, and gives the dynamic offset to bind it with. */
  put(words: Uint32Array): number;
  /** The bind group of group 1 for a block of so many bytes. */
  group(bytes: number): GPUBindGroup;
  /** Queues the write of what was put in; call right before the submit. */
  write(): void;
  /** Empties the ring, whatever became of the submit. */
  clear(): void;
  destroy(): void;
}

const ringBytes = 65536;

/** Makes the ring; one for an executor. */
export async function createParameterRing(device: Device, pipelines: Pipelines): Promise<ParameterRing> {
  const alignment = device.limits.minUniformBufferOffsetAlignment;
  const buffer = await device.createBuffer(ringBytes, "parameters", bufferUsage.uniform | bufferUsage.copyDst);
  const staging = new Uint32Array(ringBytes / 4);
  const group = parameterGroups(device, pipelines, buffer);
  let used = 0;
  const slot = (bytes: number): number => Math.ceil(Math.max(bytes, 16) / alignment) * alignment;
  return {
    fits: (blocks, bytes) => used + blocks * slot(bytes) <= ringBytes,
    put(words) {
      const offset = used;
      staging.set(words, offset / 4);
      used += slot(words.byteLength);
      return offset;
    },
    group,
    write() {
      if (used > 0) device.gpu.queue.writeBuffer(buffer, 0, staging, 0, used / 4);
    },
    clear() {
      used = 0;
    },
    destroy: () => device.free(buffer),
  };
}

/**
 * The bind groups of group 1 over a buffer of parameter blocks, one for each length of a block, made when asked for.
 */
export function parameterGroups(
  device: Device,
  pipelines: Pipelines,
  buffer: GPUBuffer,
): (bytes: number) => GPUBindGroup {
  const groups = new Map<number, GPUBindGroup>();
  return (bytes) => {
    let group = groups.get(bytes);
    if (group === undefined) {
      group = device.gpu.createBindGroup({
        layout: pipelines.parameterLayout(bytes),
        entries: [{ binding: 0, resource: { buffer, size: bytes } }],
      });
      groups.set(bytes, group);
    }
    return group;
  };
}
