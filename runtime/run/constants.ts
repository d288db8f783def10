/** The parameters of dispatches that are bound for good: blocks of a uniform buffer that is written once. */
import { bufferUsage, type Device } from "../device/opened.js";
import { parameterGroups } from "./parameters.js";
import { parameterBlock, type Dispatch } from "./play.js";
import type { Pipelines } from "./pipelines.js";

/** Blocks that are being collected: each text of words once. */
export interface ConstantBlocks {
  /** Where a dispatch's block will lie. */
  add(dispatch: Dispatch): number;
  /** Makes the buffer, and the bind groups of group 1, one for each length of a block. */
  make(): Promise<{ readonly buffer: GPUBuffer | null; group(bytes: number): GPUBindGroup }>;
}

/** Collects the parameter blocks of a program's dispatches. */
export function collectBlocks(device: Device, pipelines: Pipelines): ConstantBlocks {
  const alignment = device.limits.minUniformBufferOffsetAlignment;
  const offsets = new Map<string, number>();
  const blocks: { readonly offset: number; readonly words: Uint32Array }[] = [];
  let used = 0;
  return {
    add(dispatch) {
      const words = parameterBlock(dispatch);
      const key = words.join();
      const known = offsets.get(key);
      if (known !== undefined) return known;
      const offset = used;
      offsets.set(key, offset);
      blocks.push({ offset, words });
      used += Math.ceil(Math.max(dispatch.kernel.parameterBytes, 16) / alignment) * alignment;
      return offset;
    },
    async make() {
      if (used === 0)
        return {
          buffer: null,
          group() {
            throw new Error("no dispatch has parameters");
          },
        };
      const whole = new Uint32Array(used / 4);
      for (const { offset, words } of blocks) whole.set(words, offset / 4);
      const buffer = await device.createBuffer(used, "constant parameters", bufferUsage.uniform | bufferUsage.copyDst);
      try {
        await device.write(buffer, 0, whole);
      } catch (error) {
        device.free(buffer);
        throw error;
      }
      return { buffer, group: parameterGroups(device, pipelines, buffer) };
    },
  };
}
