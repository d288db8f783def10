/** Weights that a device holds twice, in the order of rows and side by side: made once, and only where there is room. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { movedSections } from "../../compiler/formats/interleave.js";
import { graphOf } from "../check/support.js";
import { parseFormat } from "../support/format-text.js";
import { formatWords } from "../../compiler/formats/registry.js";
import { DeviceError } from "../../runtime/device/error.js";
import { openDevice } from "../../runtime/device/device.js";
import { standardLibrary } from "../../runtime/library.js";
import { createCaller } from "../../runtime/llama/call.js";
import { createChain } from "../../runtime/llama/inference/chain.js";
import { allInOrder } from "../../runtime/llama/interleave.js";
import { withArena } from "../../runtime/run/arena.js";
import { createExecutor, type DeviceTensor, type Executor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";

const test = suite("weights side by side");

const format = parseFormat("nm(2, 4) of int4(128)");
const shape = { rows: 2048, columns: 2048 };

/** A device that computes nothing, as if it had matrices. */
async function machine(
  room: number,
  movers = Infinity,
): Promise<{ executor: Executor; close: () => void; made: () => number }> {
  const device = await openDevice({ backend: "null" });
  const executor = await createExecutor(device);
  let [made, runs] = [0, 0];
  return {
    executor: {
      ...executor,
      run: (...given) =>
        runs++ >= movers ? Promise.reject(new DeviceError("out-of-memory", "no room")) : executor.run(...given),
      allocate: (form, label, bytes) => {
        if (label.includes("side by side") && made++ >= room)
          return Promise.reject(new DeviceError("out-of-memory", "no room"));
        return executor.allocate(form, label, bytes);
      },
      get memory() {
        return executor.memory;
      },
    },
    made: () => made,
    close() {
      executor.close();
      device.close();
    },
  };
}

async function weight(executor: Executor): Promise<DeviceTensor> {
  const words = formatWords(format, shape);
  return executor.upload({ dtype: "f32", shape: [shape.rows, shape.columns], format }, new Uint32Array(words));
}

const half = graphOf(
  `fn half(x: E[B, T, D], gate: f32[M, D] as F, up: f32[M, D] as F, down: f32[D, M] as F) -> E[B, T, D] {
  let square[b, t] = mean[d] f32(x[b, t, d])^2
  let n[b, t, d] = E(f32(x[b, t, d]) * rsqrt(square[b, t] + 0.01))
  let h[b, t, m] = E((sum[d] f32(n[b, t, d]) * gate[m, d]) * (sum[d] f32(n[b, t, d]) * up[m, d]))
  return y where y[b, t, d] = E(sum[m] f32(h[b, t, m]) * down[d, m])
}`,
  "half",
);

/** A block's feed-forward half, bound and run. */
async function bindHalf(executor: Executor, weights: readonly DeviceTensor[]): Promise<number> {
  const target = { ...targetOf(executor.device), subgroups: { min: 128, max: 128 }, matrices: true };
  const caller = createCaller(executor, target, standardLibrary(), { interleave: true });
  return withArena(executor, async (arena) => {
    const x = arena.own(await executor.allocate({ dtype: "f16", shape: [16, 1, 2048], format: null }, "x"));
    const chain = createChain(arena, caller, "half");
    const [gate, up, down] = weights as [DeviceTensor, DeviceTensor, DeviceTensor];
    const [y] = await chain.callGraph(half, { x, gate, up, down });
    const bound = await chain.bind([y!]);
    bound.replay();
    await executor.finish();
    return bound.dispatches;
  });
}

test("a chain's weights are put side by side once, and go with those given", async () => {
  const { executor, close, made } = await machine(Infinity);
  const weights = [await weight(executor), await weight(executor), await weight(executor)];
  const once = executor.memory.live;
  await bindHalf(executor, weights);
  assert.is(made(), 3);
  assert.ok(executor.memory.live > once, "they stay");
  await bindHalf(executor, weights);
  assert.is(made(), 3);
  weights.forEach((each) => executor.release(each));
  assert.is(executor.memory.live, 0);
  close();
});

test("where there is no room for all of them they are held once", async () => {
  const { executor, close, made } = await machine(2);
  const weights = [await weight(executor), await weight(executor), await weight(executor)];
  const once = executor.memory.live;
  assert.ok((await bindHalf(executor, weights)) > 0);
  assert.is(made(), 3);
  assert.is(executor.memory.live, once);
  // and nothing is tried again
  await bindHalf(executor, weights);
  assert.is(made(), 3);
  close();
});

test("a copy that cannot be filled is given back", async () => {
  const { executor, close } = await machine(Infinity, 3);
  const weights = [await weight(executor), await weight(executor), await weight(executor)];
  const once = executor.memory.live;
  assert.ok((await bindHalf(executor, weights)) > 0);
  assert.is(executor.memory.live, once);
  close();
});

test("a weight released while it is copied leaves nothing behind", async () => {
  const { executor, close } = await machine(Infinity);
  const [kept, gone] = [await weight(executor), await weight(executor)];
  const once = executor.memory.live;
  const caller = createCaller(executor, targetOf(executor.device), standardLibrary());
  const order = { rows: 16, columns: 128 };
  const moved = allInOrder(caller, [
    { tensor: kept, order },
    { tensor: gone, order },
  ]).then(
    () => null,
    (error: unknown) => error,
  );
  executor.release(gone);
  assert.instance(await moved, DeviceError);
  assert.is(executor.memory.live, once / 2);
  close();
});

test("two chains of one weight, of which one finds no room", async () => {
  const { executor, close } = await machine(2);
  const weights = [await weight(executor), await weight(executor), await weight(executor)];
  const [shared] = weights as [DeviceTensor];
  const both = await Promise.all([bindHalf(executor, weights), bindHalf(executor, [shared, shared, shared])]);
  assert.ok(both.every((dispatches) => dispatches > 0));
  weights.forEach((each) => executor.release(each));
  assert.is(executor.memory.live, 0);
  close();
});

test("sections that no device binds by themselves stay where they are", () => {
  const order = { rows: 16, columns: 128 };
  assert.is.not(movedSections(parseFormat("int4(32)"), { rows: 16, columns: 128 }, order), null);
  // zero points after 128 bytes of scales
  assert.is(movedSections(parseFormat("int4(32, asymmetric)"), { rows: 16, columns: 128 }, order), null);
  assert.is(movedSections(parseFormat("int4(128)"), { rows: 24, columns: 128 }, order), null);
  assert.is(movedSections(parseFormat("int4(256)"), { rows: 16, columns: 256 }, order), null);
});

test("words are put into the order of unpacking where the format has one, pieces at a time", () => {
  const order = { rows: 16, columns: 128, spread: true } as const;
  const whole = { rows: 16, columns: 128 };
  const moved = movedSections(parseFormat("nm(2, 4) of int4(64)"), whole, order)!;
  assert.equal(
    moved.map(({ section, spread }) => [section.name, spread]),
    [
      ["values", "entries"],
      ["index", "positions"],
      ["scales", null],
    ],
  );
  for (const text of ["int4(32)", "nm(2, 4) of f16", "nm(2, 4) of int4(64, asymmetric)"])
    assert.is(movedSections(parseFormat(text), whole, order), null, text);
  // pairs of words would lie in two pieces
  const narrow = { rows: 16, columns: 16 };
  const small = parseFormat("nm(2, 4) of int4(16)");
  assert.is.not(movedSections(small, { rows: 128, columns: 128 }, narrow), null);
  assert.is(movedSections(small, { rows: 128, columns: 128 }, { ...narrow, spread: true }), null);
});

test("a copy is put into the order of unpacking by the functions of its sections, and says so", async () => {
  const { executor, close } = await machine(Infinity);
  const tensor = await weight(executor);
  const own = createCaller(executor, targetOf(executor.device), standardLibrary());
  const called: string[] = [];
  const caller = {
    executor,
    prepared: (...given: Parameters<typeof own.prepared>) => {
      called.push(given[0]);
      return own.prepared(...given);
    },
  };
  const plain = { rows: 16, columns: 128 };
  const spread = { ...plain, spread: true } as const;
  const [first] = (await allInOrder(caller, [{ tensor, order: spread }]))!;
  assert.equal(called, ["entries_beside", "positions_beside", "halves_beside"]);
  assert.equal(first!.order, spread);
  // another copy, for programs that want the other order
  const [second, third] = (await allInOrder(caller, [
    { tensor, order: plain },
    { tensor, order: spread },
  ]))!;
  assert.equal(called.slice(3), ["words_beside", "words_beside", "halves_beside"]);
  assert.equal(second!.order, plain);
  assert.is(third, first);
  close();
});

test.run();
