/** What is recorded is submitted, whatever was wrong before; and what nobody waits for ends nothing. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bufferUsage, DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor, type DeviceTensor, type Executor } from "../../runtime/run/run.js";
import { length, shifted } from "../support/toy-programs.js";

const test = suite<{ device: Device }>("recorder");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
});
test.after(({ device }) => device.close());

const ramp = Float32Array.from({ length }, (_, index) => index);

async function failure(work: Promise<unknown>): Promise<DeviceError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof DeviceError, String(error));
  return error as DeviceError;
}

/** Makes an error that no scope catches, and waits until the device has reported it. */
async function uncaptured({ gpu }: Device): Promise<void> {
  const reported = new Promise<void>((resolve) =>
    gpu.addEventListener("uncapturederror", () => resolve(), { once: true }),
  );
  gpu.createBuffer({ size: 16, usage: bufferUsage.mapRead | bufferUsage.storage });
  await reported;
}

/** Runs with as many parameter blocks as two rings hold; gives the results. */
async function manyRuns(executor: Executor, x: DeviceTensor): Promise<readonly DeviceTensor[]> {
  const prepared = await executor.prepare(shifted);
  const results: DeviceTensor[] = [];
  for (let shift = 0; shift < 600; shift++) results.push((await executor.run(prepared, { x }, { shift }))["y"]!);
  return results;
}

test("an earlier error that nobody awaited drops no command, and is reported once", async ({ device }) => {
  const executor = await createExecutor(device, { submitLimit: 10_000 });
  const x = await executor.fill("f32", [length], ramp);
  const prepared = await executor.prepare(shifted);
  const { y } = await executor.run(prepared, { x }, { shift: 1 });
  await uncaptured(device);
  executor.flush();
  const error = await failure(executor.read(y!));
  assert.match(error.message, "an earlier operation");
  assert.equal(
    await executor.values(y!),
    ramp.map((value) => 2 * (value + 1)),
  );
  for (const [shift, result] of (await manyRuns(executor, x)).entries())
    if (shift % 100 === 7) assert.is((await executor.values(result))[1], 2 * (1 + shift));
  executor.close();
});

test("a device that is lost ends in DeviceErrors, however much is recorded after", async () => {
  const device = await openDevice({ backend: "null" });
  const executor = await createExecutor(device, { submitLimit: 10_000 });
  const x = await executor.fill("f32", [length], ramp);
  // memory that lies idle is used again without asking the device
  for (const result of await manyRuns(executor, x)) executor.release(result);
  device.gpu.destroy();
  await device.gpu.lost;
  for (let round = 0; round < 3; round++) {
    await manyRuns(executor, x).then(
      (results) => results.forEach((result) => executor.release(result)),
      (error: unknown) => assert.ok(error instanceof DeviceError && error.code === "device-lost", String(error)),
    );
    executor.flush();
  }
  assert.is((await failure(executor.finish())).code, "device-lost");
  executor.close();
  device.close();
});

test("work that was begun and is not awaited does not end the process when it fails", async () => {
  const device = await openDevice({ backend: "null" });
  const executor = await createExecutor(device);
  const x = await executor.fill("f32", [length], ramp);
  const rejected: unknown[] = [];
  const note = (reason: unknown): void => void rejected.push(reason);
  process.on("unhandledRejection", note);
  try {
    void executor.read(x);
    void executor.values(x);
    const waited = failure(executor.finish());
    device.close();
    void executor.read(x);
    void executor.values(x);
    assert.is((await waited).code, "device-lost");
    // rejections that nobody handles are reported when the queue of promises has run dry
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(rejected, []);
  } finally {
    process.off("unhandledRejection", note);
  }
});

test("what is not an executor's is refused in words, and leaves no memory behind", async ({ device }) => {
  const executor = await createExecutor(device);
  const before = executor.memory.live;
  const x = await executor.fill("f32", [length], ramp);
  const prepared = await executor.prepare(shifted);
  const other = await createExecutor(device);
  const cases: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => executor.prepare("x" as never), /a Program should be an object, found "x"/],
    [() => executor.run(shifted as never, { x }, { shift: 1 }), /`prepared` should be what this executor's `prepare`/],
    [() => executor.run(undefined as never, { x }, { shift: 1 }), /`prepared` should be/],
    [() => executor.bind(executor.prepare(shifted) as never, { x }), /`prepared` should be .* await it/],
    [() => other.run(prepared, { x }, { shift: 1 }), /`prepared` should be/],
    [() => executor.run(prepared, null as never), /inputs are given by name/],
    [() => executor.fill("f32", [2, 2], [1, 2, 3]), /f32\[2, 2\] takes 4 values, and found 3\./],
    [() => executor.fill("f32", [2], [1, 2, 3]), /takes 2 values, and found 3\./],
    [() => executor.fill("f32", [2], undefined as never, "gains"), /^gains: .* takes 2 values, and found nothing\./],
    [() => executor.fill("f64" as never, [1], [1]), /a dtype is one of f32, f16, i32, u32, bool, found "f64"/],
    [() => executor.fill("valueOf" as never, [1], [1]), /a dtype is one of/],
    [() => executor.fill("f32", [-1], []), /a size is a whole number of 0 or more, found the number -1/],
    [() => executor.fill("f32", [1.5], [1]), /found the number 1\.5/],
    [() => executor.fill("f32", 3 as never, [1]), /a shape is a list of sizes, found the number 3/],
    [() => executor.allocate({ dtype: "f32", shape: [2 ** 30, 2 ** 30], format: null }, "much"), /too many elements/],
    [
      () => executor.upload({ dtype: "f32", shape: [16], format: null }, new Float32Array(3)),
      /takes 64 bytes, padding included, and 12 were given/,
    ],
    [
      () => executor.upload({ dtype: "f32", shape: [1], format: null }, [1] as never),
      /bytes are uploaded, and found an array/,
    ],
    [() => executor.write(x, new Float32Array(1), -4), /do not fit/],
    [() => executor.write(x, new Float32Array(1), 0.5), /do not fit/],
    [() => executor.read(undefined as never), /A tensor is read, and found nothing/],
    [() => executor.values({} as never), /A tensor is read, and found an object that is no tensor/],
    [() => executor.write([1] as never, new Float32Array(1)), /A tensor is written, and found an array/],
    [() => Promise.resolve().then(() => executor.release(3 as never)), /not this executor's/],
    [() => Promise.resolve().then(() => executor.replay({} as never)), /not bound/],
    [() => Promise.resolve().then(() => executor.unbind(undefined as never)), /not bound/],
  ];
  for (const [work, message] of cases) {
    const error = await failure(work());
    assert.is(error.code, "validation");
    assert.match(error.message, message);
  }
  executor.release(x);
  assert.is(executor.memory.live, before);
  other.close();
  executor.close();
});

test("reads of few bytes are as things stood when they were asked for, also many at once", async ({ device }) => {
  const executor = await createExecutor(device);
  const x = await executor.fill("i32", [3], [0, 0, 0]);
  const reads: Promise<unknown>[] = [];
  for (let value = 1; value <= 9; value++) {
    await executor.write(x, Int32Array.of(value, -value, 7));
    reads.push(executor.values(x));
  }
  assert.equal(
    await Promise.all(reads),
    reads.map((_, at) => Int32Array.of(at + 1, -at - 1, 7)),
  );
  // one that is left, and the executor closed meanwhile
  void executor.values(x);
  executor.close();
});

test.run();
