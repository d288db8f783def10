/** What is read, written and compiled while a device computes: as soon as it may be, once, and not mixed up. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { standardLibrary } from "../../../runtime/library.js";
import { createCaller, type Caller } from "../../../runtime/llama/call.js";
import { calibrationRun } from "../../../runtime/llama/compression/calibration-run.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { createTreater } from "../../../runtime/llama/compression/treat.js";
import { createWorkingModel } from "../../../runtime/llama/compression/working-model.js";
import type { WeightRecord } from "../../../runtime/llama/long-runs/manifest.js";
import { calibrationWindows } from "../../../runtime/llama/windows.js";
import type { Model } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, exampleRecipe } from "../recipes.js";

const test = suite("ahead");
const { caller, model, bos, folder } = await openToyWorkshop(test, "ahead");
const ids = await calibrationIds(model);

/** The same machine, which notes what is compiled, called a GPU. */
function noting(): { readonly caller: Caller; readonly compiled: string[] } {
  const compiled: string[] = [];
  const executor = Object.create(
    caller.executor,
    Object.getOwnPropertyDescriptors(caller.executor),
  ) as Caller["executor"];
  Object.defineProperty(executor, "prepare", {
    value: (program: Parameters<typeof executor.prepare>[0]) => {
      compiled.push(program.name);
      return caller.executor.prepare(program);
    },
  });
  return {
    caller: createCaller(executor, { ...caller.target, kind: "gpu" }, standardLibrary()),
    compiled,
  };
}

test("the next block's weights are read once, beside those of the block that is worked on", async () => {
  const read: string[] = [];
  const watched: Model = {
    ...model,
    readInto(name, target, begin) {
      read.push(name);
      return model.readInto(name, target, begin);
    },
  };
  const working = createWorkingModel(caller, watched);
  const [first, second] = watched.blocks;
  const own = await Promise.all(first!.linears.map((linear) => working.given(linear)));
  const before = read.length;
  await working.expect(second!);
  assert.is(read.length, before + second!.linears.length);
  // the block that is worked on is still there, and what was expected is there when it is its turn
  assert.equal(await Promise.all(first!.linears.map((linear) => working.given(linear))), own);
  working.unload();
  for (const linear of second!.linears) await working.given(linear);
  assert.is(read.length, before + second!.linears.length);
  // and gone when it is not
  await working.expect(first!);
  working.release();
  assert.is(caller.executor.memory.live, 0);
});

test("weights are written once and one after the other, also where two ask for it at the same time", async () => {
  const added: string[] = [];
  let writing = 0;
  const working = createWorkingModel(caller, model, {
    weights: new Map(),
    read: () => Promise.resolve(),
    async add({ name }, pieces) {
      assert.is(writing++, 0, "two weights are written at the same time");
      for await (const piece of pieces) assert.ok(piece.length > 0);
      writing--;
      added.push(name);
    },
  });
  const linears = model.blocks[0]!.linears;
  for (const linear of linears) {
    const tensor = await caller.executor.fill("f32", [4], [1, 2, 3, 4]);
    const record: WeightRecord = {
      name: linear.weight,
      format: { name: "f32", args: {}, of: null },
      shape: [1, 4],
      pattern: { kind: "full" },
      bytes: 16,
      relativeError: 0,
      layerError: null,
      seconds: 0,
    };
    working.replace(record, tensor);
  }
  await Promise.all([working.keep(), working.keep()]);
  assert.equal(
    added,
    linears.map(({ weight }) => weight),
  );
  working.release();
});

test("a treatment is compiled before it is asked for, and not again", async () => {
  const { caller: watched, compiled } = noting();
  const { recipe } = exampleRecipe("sparsegpt-gptq.esp");
  const working = createWorkingModel(watched, model);
  const treater = createTreater(watched, model, working);
  const steps = recipe.steps.flatMap((step) => (step.kind === "blocks" ? step.body : [step]));
  const [treatment] = steps.flatMap((step) => (step.kind === "linears" ? step.treatments : []));
  const observe = steps.find((step) => step.kind === "observe");
  const linear = model.blocks[0]!.linears[0]!;
  await treater.prepare([{ linear, treatment: treatment! }]);
  await new Promise((resolve) => setTimeout(resolve, 0));
  const ahead = compiled.splice(0);
  assert.equal(
    ahead.map((name) => /shared$/.test(name)),
    [true, false],
    ahead.join(),
  );
  const size = linear.inputs;
  const gram = Float32Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 2 : 0.1));
  await withArena(watched.executor, async (arena) => {
    const statistic = arena.own(await watched.executor.fill("f32", [size, size], gram));
    const inputs = new Map(model.blocks[0]!.linears.map(({ parameter }) => [parameter, statistic]));
    const statistics = new Map([[observe?.kind === "observe" ? observe.id : -1, inputs]]);
    await treater.treat([{ linear, treatment: treatment! }], {
      windows: 1,
      tokens: 8,
      statistics,
      gram: () => statistic,
    });
  });
  assert.equal(
    compiled.filter((name) => ahead.includes(name)),
    [],
  );
  working.release();
});

test("a pass that observes has the statistics and the next pass compiled", async () => {
  const { caller: watched, compiled } = noting();
  const working = createWorkingModel(watched, model);
  const windows = calibrationWindows(ids, 24, bos, 4);
  const calibration = await calibrationRun(watched, model, working, windows, {
    dtype: "f32",
    batch: 2,
    spill: () => Promise.reject(new Error("nothing is spilled")),
    ownGram: true,
    withDense: false,
    onPass: () => {},
  });
  assert.is(compiled.splice(0)[0], "whole_block_received");
  await calibration.observe(0, []);
  // before the sums that the first statistic is added to, which follow the block
  assert.equal(compiled.splice(0).slice(0, 2), ["gram", "whole_block"]);
  calibration.forget();
  await calibration.advance(0);
  assert.equal(compiled, []);
  await calibration.release();
  working.release();
});

test("a compression is the same, whatever is done ahead", async () => {
  const { recipe, source } = exampleRecipe("sparsegpt-gptq.esp");
  const options = { source, text: { ids, bos, windows: 3, window: 24 }, dtype: "f32" } as const;
  const plain = await compress(caller, model, recipe, { ...options, output: join(folder, "plain") });
  const watched = await compress(noting().caller, model, recipe, { ...options, output: join(folder, "ahead") });
  assert.equal(
    watched.tensors.map(({ name, bytes }) => [name, bytes]),
    plain.tensors.map(({ name, bytes }) => [name, bytes]),
  );
  watched.tensors.forEach((tensor, at) =>
    assert.ok(Math.abs(tensor.relativeError - plain.tensors[at]!.relativeError) < 0.02, tensor.name),
  );
});

test.run();
