/** Reads of few bytes: what a token is. Their copies are recorded behind what they wait for, and submitted with it. */
import { bufferUsage, type Device } from "../device/opened.js";
import type { Recorder } from "./recorder.js";

export interface Reads {
  /** Whether these bytes are few, and lie as copies need them. */
  takes(offset: number, bytes: number): boolean;
  /** Records the copy and submits it with all before; the bytes, when it has run. */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>>;
  destroy(): void;
}

/** The most bytes, and the buffers for them that are kept. */
const most = { bytes: 1024, kept: 4 } as const;

/** Makes readers of few bytes, none yet. */
export function createReads(device: Device, recorder: Recorder): Reads {
  const idle: GPUBuffer[] = [];
  const { mapRead, copyDst } = bufferUsage;
  return {
    takes: (offset, bytes) => bytes <= most.bytes && offset % 4 === 0 && bytes % 4 === 0,
    async read(buffer, offset, bytes) {
      const staging =
        idle.pop() ?? device.gpu.createBuffer({ size: most.bytes, usage: mapRead | copyDst, label: "read" });
      recorder.copy(buffer, offset, staging, bytes);
      recorder.flush();
      try {
        await device.guarded(`reading ${buffer.label}`, () => staging.mapAsync(1)); // GPUMapMode.READ
        const found = new Uint8Array(staging.getMappedRange(0, most.bytes)).slice(0, bytes);
        staging.unmap();
        if (idle.length < most.kept) idle.push(staging);
        else staging.destroy();
        return found;
      } catch (error) {
        staging.destroy();
        throw error;
      }
    },
    destroy() {
      for (const buffer of idle.splice(0)) buffer.destroy();
    },
  };
}
