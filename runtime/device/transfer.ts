/** Copies between buffers and JavaScript, any alignment and size, in bounded pieces. */

/** WebGPU copies whole 4-byte words. */
const word = 4;
/** Bytes of a staging buffer: large enough for full speed, small beside any model. */
const usualPiece = 32 * 2 ** 20;
/** Pieces that may wait in Dawn's own staging memory before the queue is drained. */
const backlog = 8;

/**
 * Bytes `[offset, offset + bytes)` of `buffer`, which needs the usage copySrc, as they are after what is submitted now:
 * all copies are queued before anything is awaited, and take as much memory until they have arrived.
 */
export async function readBuffer(
  gpu: GPUDevice,
  buffer: GPUBuffer,
  offset: number,
  bytes: number,
  piece = usualPiece,
): Promise<Uint8Array<ArrayBuffer>> {
  const result = new Uint8Array(bytes);
  const staged: { readonly staging: GPUBuffer; readonly skip: number; readonly at: number; readonly bytes: number }[] =
    [];
  try {
    const encoder = gpu.createCommandEncoder();
    for (let done = 0; done < bytes; ) {
      const begin = offset + done;
      const start = begin - (begin % word);
      const end = Math.min(offset + bytes, start + piece);
      const size = Math.ceil((end - start) / word) * word;
      const staging = gpu.createBuffer({ size, usage: 0x1 | 0x8, label: "staging" }); // mapRead | copyDst
      staged.push({ staging, skip: begin - start, at: done, bytes: end - begin });
      encoder.copyBufferToBuffer(buffer, start, staging, 0, size);
      done = end - offset;
    }
    gpu.queue.submit([encoder.finish()]);
    for (const { staging, skip, at, bytes: own } of staged) {
      await staging.mapAsync(0x1); // GPUMapMode.READ
      result.set(new Uint8Array(staging.getMappedRange()).subarray(skip, skip + own), at);
      staging.destroy();
    }
  } finally {
    for (const { staging } of staged) staging.destroy();
  }
  return result;
}

/**
 * Writes `data` at byte `offset` of `buffer`, which needs copyDst, and copySrc if a word is written in part. Much data,
 * and words in part, go in several steps: whatever else uses the buffer has to wait for the end.
 */
export async function writeBuffer(
  gpu: GPUDevice,
  buffer: GPUBuffer,
  offset: number,
  data: ArrayBufferView | ArrayBuffer,
  piece = usualPiece,
): Promise<void> {
  let bytes =
    data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const start = offset - (offset % word);
  const end = Math.ceil((offset + bytes.length) / word) * word;
  if (end - start !== bytes.length) {
    // A word in part: its other bytes are read back and kept. Only the two end words can be so.
    const whole = new Uint8Array(end - start);
    if (start !== offset) whole.set(await readBuffer(gpu, buffer, start, word), 0);
    if (end !== offset + bytes.length) whole.set(await readBuffer(gpu, buffer, end - word, word), whole.length - word);
    whole.set(bytes, offset - start);
    bytes = whole;
  }
  for (let done = 0, waiting = 0; done < bytes.length; ) {
    const size = Math.min(piece, bytes.length - done);
    gpu.queue.writeBuffer(buffer, start + done, bytes, done, size);
    done += size;
    waiting += size;
    if (waiting >= backlog * piece && done < bytes.length) {
      gpu.queue.submit([]);
      await gpu.queue.onSubmittedWorkDone();
      waiting = 0;
    }
  }
}
