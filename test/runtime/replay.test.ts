/** Programs that are bound once and replayed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { linkPrograms } from "../../compiler/plan/link.js";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import type { Scratch } from "../../runtime/run/memory.js";
import { createExecutor, type Executor } from "../../runtime/run/run.js";
import { accumulate, length, shifted } from "../support/toy-programs.js";

const test = suite<{ device: Device; executor: Executor }>("replay");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
});
test.before.each(async (context) => {
  context.executor = await createExecutor(context.device, { poison: true });
});
test.after.each(({ executor }) => executor.close());
test.after(({ device }) => device.close());

const ramp = Float32Array.from({ length }, (_, index) => index);

/** state += 2 (2 (x + first) + shift), by three programs. */
const step = linkPrograms(
  "step",
  [
    { program: shifted, names: { y: "h", shift: "first" } },
    { program: shifted, names: { x: "h", y: "z" } },
    { program: accumulate, names: { x: "z" } },
  ],
  ["state", "z"],
);

test("a replay computes what a run does, on what stands in its tensors then", async ({ executor }) => {
  const prepared = await executor.prepare(JSON.parse(JSON.stringify(step)) as typeof step);
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], new Float32Array(length));
  const bound = await executor.bind(prepared, { x, state, first: 1, shift: 0.5 });
  assert.is(bound.outputs["state"], state);
  const added = ramp.map((value) => 2 * (2 * (value + 1) + 0.5));
  for (let count = 1; count <= 3; count++) {
    executor.replay(bound);
    assert.equal(
      await executor.values(state),
      added.map((value) => count * value),
    );
  }
  assert.equal(await executor.values(bound.outputs["z"]!), added);
  // a write between two replays stands between them
  executor.replay(bound);
  await executor.write(x, new Float32Array(length));
  executor.replay(bound);
  assert.equal(
    await executor.values(state),
    added.map((value) => 4 * value + 5),
  );
});

test("programs that share a scratch compute as they would alone, and take less", async ({ executor }) => {
  const prepared = await executor.prepare(step);
  const x = await executor.fill("f32", [length], ramp);
  const scratch: Scratch = { buffers: [] };
  const before = executor.memory.live;
  const made = [];
  for (const first of [1, 2]) {
    const state = await executor.fill("f32", [length], new Float32Array(length));
    made.push({ state, first, bound: await executor.bind(prepared, { x, state }, { first, shift: 0.5 }, {}, scratch) });
  }
  const size = x.buffer.size;
  // two states and two results of their own, and three temporaries for both
  assert.is(executor.memory.live - before, 7 * size);
  for (const { bound } of [...made, ...made]) executor.replay(bound);
  for (const { state, first, bound } of made) {
    const added = ramp.map((value) => 2 * (2 * (value + first) + 0.5));
    assert.equal(await executor.values(bound.outputs["z"]!), added);
    assert.equal(
      await executor.values(state),
      added.map((value) => 2 * value),
    );
  }
  for (const { bound, state } of made) {
    executor.unbind(bound);
    executor.release(state);
  }
  executor.discard(scratch);
  assert.is(executor.memory.live, before);
});

test("a replay makes nothing on the device", async ({ device, executor }) => {
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], ramp);
  const bound = await executor.bind(await executor.prepare(step), { x, state }, { first: 1, shift: 0.5 });
  const made: string[] = [];
  const { gpu } = device;
  const spied = ["createBuffer", "createBindGroup", "createComputePipelineAsync", "createShaderModule"] as const;
  for (const name of spied)
    Object.defineProperty(gpu, name, {
      configurable: true,
      value: (...args: never[]) => {
        made.push(name);
        return (GPUDevice.prototype[name] as (...given: never[]) => unknown).apply(gpu, args);
      },
    });
  try {
    for (let count = 0; count < 40; count++) executor.replay(bound);
    executor.flush();
  } finally {
    for (const name of spied) delete (gpu as unknown as Record<string, unknown>)[name];
  }
  await executor.finish();
  assert.equal(made, []);
});

test("memory of what is bound is given back, once", async ({ device, executor }) => {
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], ramp);
  const prepared = await executor.prepare(step);
  executor.trim();
  const before = { live: executor.memory.live, allocated: device.memory.allocated };
  const bound = await executor.bind(prepared, { x, state, first: 0, shift: 0 });
  assert.ok(executor.memory.live > before.live);
  executor.unbind(bound);
  executor.trim();
  assert.equal({ live: executor.memory.live, allocated: device.memory.allocated }, before);
  assert.throws(() => executor.unbind(bound), /not bound/);
  assert.throws(() => executor.replay(bound), /not bound/);
});

test("a tensor that was released, or does not fit, is refused", async ({ executor }) => {
  const prepared = await executor.prepare(step);
  const x = await executor.fill("f32", [length], ramp);
  const state = await executor.fill("f32", [length], ramp);
  const refused = async (given: Parameters<Executor["bind"]>[1], words: RegExp): Promise<void> => {
    const before = executor.memory.live;
    try {
      await executor.bind(prepared, given);
    } catch (error) {
      assert.ok(error instanceof DeviceError && words.test(error.message), String(error));
      assert.is(executor.memory.live, before);
      return;
    }
    assert.unreachable();
  };
  await refused({ x, first: 0, shift: 0 }, /state was not given/);
  await refused({ x, state, first: 0 }, /shift is a scalar/);
  await refused({ x, state: x, first: 0, shift: 0 }, /shares its memory/);
  const bound = await executor.bind(prepared, { x, state, first: 0, shift: 0 });
  executor.release(x);
  assert.throws(() => executor.replay(bound), /was released/);
});

test.run();
