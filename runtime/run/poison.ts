/** Memory that nothing has written yet, made to show: for tests. */
import { bufferUsage, type Device } from "../device/opened.js";

/** Bits of NaN, as f32 and as two f16; as an integer far out of any range. */
export const poisonWord = 0x7fff7fff;

/** Bytes that are copied at a time. */
const stretch = 2 ** 20;

/** Fills buffers with poison. */
export interface Poison {
  /** Records that the whole buffer is filled. */
  fill(encoder: GPUCommandEncoder, buffer: GPUBuffer): void;
  /** The data with poison behind it, up to so many bytes, a multiple of 4. */
  padded(data: ArrayBufferView | ArrayBuffer, bytes: number): Uint8Array<ArrayBuffer>;
  destroy(): void;
}

/** Makes the poison. */
export async function createPoison(device: Device): Promise<Poison> {
  const source = await device.createBuffer(stretch, "poison", bufferUsage.copySrc | bufferUsage.copyDst);
  await device.write(source, 0, new Uint32Array(stretch / 4).fill(poisonWord));
  return {
    fill(encoder, buffer) {
      for (let at = 0; at < buffer.size; at += stretch)
        encoder.copyBufferToBuffer(source, 0, buffer, at, Math.min(stretch, buffer.size - at));
    },
    padded(data, bytes) {
      const whole = new Uint8Array(new Uint32Array(bytes / 4).fill(poisonWord).buffer);
      whole.set(
        ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data),
      );
      return whole;
    },
    destroy: () => device.free(source),
  };
}
