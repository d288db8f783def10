/** Copies between buffers and JavaScript, cut into pieces far smaller than in use, so that every border is met. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDevice, type Device } from "../../runtime/device/device.js";
import { readBuffer, writeBuffer } from "../../runtime/device/transfer.js";

const test = suite<{ device: Device; buffer: GPUBuffer }>("transfer");

const size = 128;
const start = Uint8Array.from({ length: size }, (_, at) => at);

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
  context.buffer = await context.device.createBuffer(size, "bytes");
});
test.before.each(({ device, buffer }) => device.write(buffer, 0, start));
test.after(({ device }) => device.close());

const ranges = [
  [0, 128],
  [0, 0],
  [1, 127],
  [3, 2],
  [5, 91],
  [15, 17],
  [16, 16],
  [29, 35],
  [127, 1],
] as const;

test("reads of any alignment come whole from pieces of any size", async ({ device, buffer }) => {
  for (const piece of [4, 12, 16, 64, 1024])
    for (const [offset, length] of ranges)
      assert.equal(
        await readBuffer(device.gpu, buffer, offset, length, piece),
        start.slice(offset, offset + length),
        `${length} at ${offset} in pieces of ${piece}`,
      );
});

test("writes of any alignment in pieces of any size keep their neighbours", async ({ device, buffer }) => {
  const expected = start.slice();
  for (const piece of [4, 12, 16, 64, 1024])
    for (const [offset, length] of ranges) {
      const data = Uint8Array.from({ length }, (_, at) => 7 * piece + 13 * offset + 3 * at);
      expected.set(data, offset);
      await writeBuffer(device.gpu, buffer, offset, data, piece);
      assert.equal(await device.read(buffer, 0, size), expected, `${length} at ${offset} in pieces of ${piece}`);
    }
});

test("any view of memory is written by its bytes", async ({ device, buffer }) => {
  const memory = Uint32Array.of(1, 2, 3, 4).buffer;
  for (const [data, bytes] of [
    [memory, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]],
    [new Uint16Array(memory, 4, 3), [2, 0, 0, 0, 3, 0]],
    [new DataView(memory, 11, 2), [0, 4]],
  ] as const) {
    await writeBuffer(device.gpu, buffer, 8, data);
    assert.equal([...(await device.read(buffer, 8, bytes.length))], bytes);
  }
});

test("a read is what was there when it was asked for, in however many pieces it travels", async ({
  device,
  buffer,
}) => {
  const later = start.map((value) => 255 - value);
  const reading = readBuffer(device.gpu, buffer, 0, size, 16);
  const again = readBuffer(device.gpu, buffer, 3, 120, 16);
  device.gpu.queue.writeBuffer(buffer, 0, later);
  const after = readBuffer(device.gpu, buffer, 0, size, 16);
  assert.equal(await reading, start);
  assert.equal(await again, start.slice(3, 123));
  assert.equal(await after, later);
});

test("what a read stages is gone with it, also where it fails", async ({ device, buffer }) => {
  const made: GPUBuffer[] = [];
  const { gpu } = device;
  Object.defineProperty(gpu, "createBuffer", {
    configurable: true,
    value: (descriptor: GPUBufferDescriptor) => {
      made.push((Object.getPrototypeOf(gpu) as GPUDevice).createBuffer.call(gpu, descriptor));
      return made.at(-1);
    },
  });
  try {
    await readBuffer(gpu, buffer, 0, size, 16);
    const error = await device
      .guarded("a read beyond the end", () => readBuffer(gpu, buffer, 64, size, 16))
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    assert.match(String(error), /refused a read beyond the end/);
  } finally {
    delete (gpu as unknown as Record<string, unknown>)["createBuffer"];
  }
  assert.is(made.length, 16);
  // a buffer that is destroyed cannot be mapped
  for (const staging of made)
    assert.instance(
      await device
        .guarded("mapping", () => staging.mapAsync(1))
        .then(
          () => null,
          (thrown: unknown) => thrown,
        ),
      Error,
    );
  await device.finish();
});

test.run();
