import type { Device } from "../device/device.js";

/** Makes a buffer with these bytes, or one of so many. */
export type MakeBuffer = (
  content: ArrayBufferView | ArrayBuffer | number,
  label: string,
  usage?: number,
) => Promise<GPUBuffer>;

/** Does work with buffers that are freed at its end, good or bad. */
export async function withBuffers<T>(device: Device, work: (make: MakeBuffer) => Promise<T>): Promise<T> {
  const made: GPUBuffer[] = [];
  try {
    return await work(async (content, label, usage) => {
      const bytes = typeof content === "number" ? content : content.byteLength;
      const buffer = await device.createBuffer(bytes, label, usage);
      made.push(buffer);
      if (typeof content !== "number") await device.write(buffer, 0, content);
      return buffer;
    });
  } finally {
    for (const buffer of made) device.free(buffer);
  }
}
