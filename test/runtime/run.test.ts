import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Program } from "../../compiler/plan/program.js";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor, type DeviceTensor, type Executor } from "../../runtime/run/run.js";
import { sizeClass } from "../../runtime/run/pool.js";
import { targetOf } from "../../runtime/run/target.js";
import { denseValues, denseWords, sameForm } from "../../runtime/run/tensor.js";
import { accumulate, dispatch, kernel, length, shifted } from "../support/toy-programs.js";
import { notRun } from "../support/not-run.js";

const test = suite<{ device: Device; executor: Executor }>("runtime/run");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
});
test.before.each(async (context) => {
  context.executor = await createExecutor(context.device, { poison: true });
});
test.after.each(({ executor }) => executor.close());
test.after(({ device }) => device.close());

const ramp = Float32Array.from({ length }, (_, index) => index);

async function failure(work: Promise<unknown> | (() => unknown)): Promise<DeviceError> {
  const error = await Promise.resolve(
    typeof work === "function" ? new Promise((resolve) => resolve(work())) : work,
  ).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, DeviceError);
  return error as DeviceError;
}

/** The one tensor of that name. */
function only(outputs: Readonly<Record<string, DeviceTensor>>, name: string): DeviceTensor {
  assert.equal(Object.keys(outputs), [name]);
  return outputs[name] as DeviceTensor;
}

test("runs see what earlier runs wrote, and parameters arrive", async ({ executor }) => {
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const y = only(await executor.run(prepared, { x }, { shift: 1 }), "y");
  const z = only(await executor.run(prepared, { x: y, shift: -0.5 }), "y");
  assert.equal(
    await executor.values(z),
    ramp.map((value) => 2 * (2 * (value + 1) - 0.5)),
  );
  assert.equal(
    await executor.values(y),
    ramp.map((value) => 2 * (value + 1)),
  );
  assert.equal([z.dtype, z.shape, z.format, z.bytes], ["f32", [length], null, 64]);
});

test("a mutable input is its own final state", async ({ executor }) => {
  const prepared = await executor.prepare(accumulate);
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], ramp);
  for (let round = 0; round < 3; round++) assert.is(only(await executor.run(prepared, { x, state }), "state"), state);
  assert.equal(
    await executor.values(state),
    ramp.map((value) => 4 * value),
  );
});

test("outputs go where the caller wants them", async ({ executor }) => {
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const whole = await executor.allocate({ dtype: "f32", shape: [1024], format: null }, "both");
  const part: DeviceTensor = { ...whole, shape: [length], offset: 1024, bytes: 64 };
  assert.is(only(await executor.run(prepared, { x }, { shift: 0 }, { y: part }), "y"), part);
  assert.equal(
    await executor.values(part),
    ramp.map((value) => 2 * value),
  );
  const error = await failure(executor.run(prepared, { x: part }, { shift: 0 }, { y: part }));
  assert.match(error.message, "y is written, and shares its memory with x");
});

test("long recordings are split, and the parameters of each dispatch are its own", async ({ device }) => {
  const executor = await createExecutor(device, { submitLimit: 7 });
  const prepared = await executor.prepare(shifted);
  let x = await executor.fill("f32", [length], ramp);
  let expected = 0;
  for (let round = 0; round < 300; round++) {
    const y = only(await executor.run(prepared, { x }, { shift: -round - expected }), "y");
    expected = 2 * -round;
    executor.release(x);
    x = y;
    // The other elements double each round: start again before they overflow.
    if (round % 16 === 15) {
      const values = await executor.values(x);
      assert.is(values[0], expected, `round ${round}`);
      await executor.write(x, new Float32Array(length));
      expected = 0;
    }
  }
  executor.close();
});

test("more parameter blocks than the ring holds, in one submit", async ({ device }) => {
  const executor = await createExecutor(device, { submitLimit: 10000 });
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const results: DeviceTensor[] = [];
  for (let round = 0; round < 600; round++)
    results.push(only(await executor.run(prepared, { x }, { shift: round }), "y"));
  for (const round of [0, 1, 255, 256, 257, 511, 512, 599])
    assert.is((await executor.values(results[round] as DeviceTensor))[0], 2 * round);
  executor.close();
});

test("repeats play their steps for each value, one within another, and over many submits", async ({ device }) => {
  const executor = await createExecutor(device, { submitLimit: 7 });
  // state[i] += x * (place + 100 * turn): sums that show which values were seen
  const add = kernel(
    "add",
    "target_[i] + x * f32(bitcast<i32>(parameters.place) + 100 * bitcast<i32>(parameters.turn))",
    ["place", "turn"],
  );
  const program: Program = {
    ...accumulate,
    kernels: [add],
    steps: [
      {
        kind: "repeat",
        parameter: "turn",
        from: 1,
        to: 4,
        by: 1,
        steps: [{ kind: "repeat", parameter: "place", from: 0, to: 20, by: 8, steps: [dispatch(0, 0, 1)] }],
      },
    ],
  };
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], ramp);
  await executor.run(await executor.prepare(program), { x, state });
  // place takes 0, 8, 16, in each of the turns 1, 2, 3
  assert.equal([...(await executor.values(state))], [...ramp.map((value) => value * (1 + 3 * 24 + 100 * 3 * 6))]);
  executor.close();
});

test("released memory is used again, after the work that was recorded before", async ({ executor }) => {
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const y = only(await executor.run(prepared, { x }, { shift: 1 }), "y");
  const before = executor.memory;
  executor.release(x);
  assert.is(executor.memory.live, before.live - 256);
  assert.is(executor.memory.idle, before.idle + 256);
  const next = await executor.fill(
    "f32",
    [length],
    ramp.map(() => 100),
  );
  assert.is(next.buffer, x.buffer);
  assert.equal(
    await executor.values(y),
    ramp.map((value) => 2 * (value + 1)),
    "the recorded run read the old values",
  );
  assert.equal(
    await executor.values(next),
    ramp.map(() => 100),
  );
});

test("temporaries return to the pool, and the pool has a limit", async ({ device }) => {
  const executor = await createExecutor(device, { idleLimit: 512 });
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const results: DeviceTensor[] = [];
  for (let round = 0; round < 5; round++) results.push(only(await executor.run(prepared, { x }, { shift: 1 }), "y"));
  assert.equal(executor.memory, { live: 6 * 256, idle: 256 }, "one temporary served all runs");
  results.forEach((result) => executor.release(result));
  await executor.finish();
  assert.equal(executor.memory, { live: 256, idle: 512 });
  executor.trim();
  assert.equal(executor.memory, { live: 256, idle: 0 });
  executor.close();
});

test("with poison, memory that nothing has written is NaN in every dtype, fresh or used before", async ({
  executor,
}) => {
  const form = { dtype: "f32", shape: [length], format: null } as const;
  const unwritten = async (tensor: DeviceTensor): Promise<boolean> =>
    [...(await executor.values(tensor))].every(Number.isNaN);
  const used = await executor.fill("f32", [length], ramp);
  executor.release(used);
  const again = await executor.allocate(form, "again");
  assert.is(again.buffer, used.buffer, "it came from the pool");
  assert.ok(await unwritten(again));
  assert.ok(await unwritten(await executor.allocate({ ...form, dtype: "f16" }, "halves")));
  const odd = await executor.fill("f32", [1], [5]);
  assert.equal([...new Float32Array((await executor.read(odd)).buffer)], [5, NaN, NaN, NaN]);
  // a temporary that is read before it is written, in a run and in each replay
  const hasty: Program = {
    ...shifted,
    steps: shifted.steps.filter((step) => step.kind !== "dispatch" || step.kernel === 1),
  };
  const prepared = await executor.prepare(hasty);
  const x = await executor.fill("f32", [length], ramp);
  assert.ok(await unwritten(only(await executor.run(prepared, { x }, { shift: 1 }), "y")));
  const bound = await executor.bind(prepared, { x }, { shift: 1 });
  for (let round = 0; round < 2; round++) {
    executor.replay(bound);
    assert.ok(await unwritten(only(bound.outputs, "y")));
  }
});

test("arguments that do not fit are refused in words", async ({ executor }) => {
  const prepared = await executor.prepare(shifted);
  const inPlace = await executor.prepare(accumulate);
  const x = await executor.fill("f32", [length], ramp);
  const wrong = await executor.fill("i32", [4, 4], new Int32Array(length));
  const message = async (work: Promise<unknown>): Promise<string> => (await failure(work)).message;
  assert.is(await message(executor.run(prepared, {}, { shift: 1 })), "shifted: x was not given.");
  assert.is(
    await message(executor.run(prepared, { x: wrong }, { shift: 1 })),
    "shifted: x is f32[16], but i32[4, 4] was given.",
  );
  assert.is(
    await message(executor.run(prepared, { x: 3 }, { shift: 1 })),
    "shifted: x is a tensor f32[16], but the number 3 was given.",
  );
  assert.is(await message(executor.run(prepared, { x })), "shifted: shift is a scalar f32, but nothing was given.");
  assert.is(
    await message(executor.run(inPlace, { x, state: x })),
    "accumulate: state is written, and shares its memory with x.",
  );
  assert.is(await message(executor.run(prepared, { x }, { shift: 1 }, { z: x })), "shifted has no output z.");
  assert.match(await message(executor.write(x, new Float32Array(17))), "do not fit");
  executor.release(x);
  assert.is(await message(executor.run(prepared, { x }, { shift: 1 })), "shifted: x has been released.");
  assert.match(await message(executor.read(x)), "has been released");
  assert.match((await failure(() => executor.release(x))).message, "was released before");
  assert.match(
    await message(executor.prepare({ ...shifted, features: ["no-such-feature"] })),
    "needs the feature no-such-feature",
  );
});

test("a kernel that the device refuses is shown with its line", async ({ executor }) => {
  const error = await failure(
    executor.prepare({ ...shifted, kernels: [kernel("broken", "x + nothing"), shifted.kernels[1]!] }),
  );
  assert.is(error.code, "validation");
  assert.match(error.message, "kernel broken");
  assert.match(error.message, "5 |   target_[i] = x + nothing;");
  assert.match(error.message, "unresolved value 'nothing'");
  await executor.prepare(shifted);
});

test("a fault of recorded work is thrown by what waits for it", async ({ executor }) => {
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  const y = only(await executor.run(prepared, { x }, { shift: 1 }), "y");
  // gone before what is recorded is submitted
  x.buffer.destroy();
  assert.match((await failure(executor.read(y))).message, /refused the recorded kernels: .*destroyed/);
  const other = await executor.fill("f32", [length], ramp);
  assert.is((await executor.values(only(await executor.run(prepared, { x: other }, { shift: 1 }), "y")))[0], 2);
});

test("each kernel is timed", async ({ device }) => {
  if (!device.features.has("timestamp-query")) return notRun("the device has no timestamp-query");
  const executor = await createExecutor(device, { profile: true, submitLimit: 3 });
  const prepared = await executor.prepare(shifted);
  const x = await executor.fill("f32", [length], ramp);
  for (let round = 0; round < 4; round++) await executor.run(prepared, { x }, { shift: 1 });
  const times = await executor.profile();
  assert.equal(times.map(({ kernel: name, dispatches }) => [name, dispatches]).sort(), [
    ["double", 4],
    ["shift", 4],
  ]);
  assert.ok(times.every(({ nanoseconds }) => nanoseconds >= 0));
  assert.equal(await executor.profile(), []);
  executor.close();
});

test("dense values go to bytes and back", () => {
  const back = (dtype: Parameters<typeof denseWords>[0], values: readonly number[]): number[] => {
    const words = denseWords(dtype, values);
    return [...denseValues(dtype, values.length, new Uint8Array(words.buffer))];
  };
  assert.equal(back("f32", [1, -0.5, 2 ** -149]), [1, -0.5, 2 ** -149]);
  assert.equal(back("f16", [1, 2049, 65520, -(2 ** -24)]), [1, 2048, Infinity, -(2 ** -24)]);
  assert.equal(back("i32", [-1, 7]), [-1, 7]);
  assert.equal(back("u32", [0xffffffff]), [0xffffffff]);
  assert.equal(back("bool", [0, 5, 1]), [0, 1, 1]);
});

test("forms are compared by what they mean", () => {
  const dense = { dtype: "f16", shape: [2, 3], format: null } as const;
  const int4 = { name: "int4", args: { group: 128, symmetric: true }, of: null };
  assert.ok(sameForm(dense, { ...dense, format: { name: "f16", args: {}, of: null } }));
  assert.not.ok(sameForm(dense, { ...dense, shape: [3, 2] }));
  assert.not.ok(sameForm(dense, { ...dense, format: int4 }));
  assert.ok(
    sameForm({ ...dense, format: { ...int4, args: { symmetric: true, group: 128 } } }, { ...dense, format: int4 }),
  );
});

test("size classes waste at most a sixteenth, and are few", () => {
  const classes = new Set<number>();
  for (let bytes = 16; bytes < 2 ** 22; bytes += 4080) {
    const size = sizeClass(bytes);
    assert.ok(size >= bytes && size % 256 === 0 && size - bytes < Math.max(256, bytes / 16 + 1));
    assert.is(sizeClass(size), size);
    classes.add(size);
  }
  assert.ok(classes.size < 250);
});

test("the target says what the device has", ({ device }) => {
  const target = targetOf(device);
  assert.is(target.kind, "cpu");
  assert.is(target.subgroups !== null, device.features.has("subgroups"));
  assert.ok(target.maxInvocations >= 128 && target.maxBinding >= 2 ** 27 && target.maxStorageBuffers >= 8);
});

test.run();
