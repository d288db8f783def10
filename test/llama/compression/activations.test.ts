import { readdir, rm, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { passBlock } from "../../../runtime/llama/compression/calibrate.js";
import { unpackBlock } from "../../../runtime/llama/weights.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { isFinite, layerError } from "../../../runtime/llama/measure.js";
import { calibrationRun } from "../../../runtime/llama/compression/calibration-run.js";
import { calibrationWindows } from "../../../runtime/llama/windows.js";
import { createWorkingModel } from "../../../runtime/llama/compression/working-model.js";
import { createSpill, temporaryDisk, type SpillDisk } from "../../../runtime/llama/long-runs/spill.js";
import { ModelError } from "../../../runtime/model/error.js";
import { openArena } from "../../../runtime/run/arena.js";
import { close } from "../../support/tolerance.js";
import { toyWidth } from "../../support/toy-model.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, exampleRecipe, patchedModel, writtenRecipe } from "../recipes.js";

const test = suite("activations and layer errors");
const { caller, model, bos, folder } = await openToyWorkshop(test, "activations");
const ids = await calibrationIds(model);
const text = { ids, bos, windows: 3, window: 24 };

/** A disk with room for so many bytes, which it learns of only when it is full. */
function smallDisk(room: number, free = Infinity): SpillDisk {
  let left = room;
  return {
    folder: () => mkdtemp(join(folder, "disk-")),
    free: () => Promise.resolve(free),
    write(handle, bytes, position) {
      left -= bytes.length;
      if (left < 0) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC", syscall: "write" });
      return temporaryDisk.write(handle, bytes, position);
    },
  };
}

test("what is spilled comes back, and leaves nothing", async () => {
  const disk = { ...temporaryDisk, folder: () => mkdtemp(join(folder, "spill-")) };
  const spill = await createSpill(3, 64, disk);
  for (const slot of [2, 0, 1]) await spill.write(slot, new Uint8Array(64).fill(slot + 1));
  await spill.write(0, new Uint8Array(64).fill(9));
  const found = new Uint8Array(64);
  for (const [slot, value] of [
    [0, 9],
    [1, 2],
    [2, 3],
  ] as const) {
    await spill.read(slot, found);
    assert.ok(found.every((byte) => byte === value));
  }
  await spill.close();
  await spill.close();
  assert.equal(
    (await readdir(folder)).filter((name) => name.startsWith("spill-")),
    [],
  );
});

test("a disk that is full is reported before or while spilling, and nothing is written", async () => {
  const { recipe, source } = exampleRecipe("wanda-2of4.esp");
  for (const disk of [smallDisk(Infinity, 1000), smallDisk(100_000)]) {
    const error = await compress(caller, model, recipe, {
      output: join(folder, "full"),
      source,
      text: { ...text, windows: 200 },
      memory: 0,
      disk,
    }).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ModelError && error.code === "M153", String(error));
  }
  assert.equal(await readdir(folder), []);
  assert.is(caller.executor.memory.live, 0);
});

test("NaN in what a layer receives names the layer; NaN in a weight names the weight", async () => {
  const { recipe, source } = exampleRecipe("wanda-2of4.esp");
  const nan = Uint8Array.of(0xc0, 0x7f); // of bf16
  const inside = await patchedModel(
    join(folder, "nan"),
    [{ tensor: "model.layers.1.mlp.up_proj.weight", begin: 0, bytes: nan }],
    model.directory,
  );
  const refusal = async (work: Promise<unknown>): Promise<string> => {
    const error = await work.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof LlamaError && error.code === "not-finite", String(error));
    return error instanceof Error ? error.message : "";
  };
  assert.match(
    await refusal(compress(caller, inside, recipe, { output: join(folder, "out"), source, text })),
    /^What model\.layers\.1\.mlp\.down_proj receives .* NaN or infinite/,
  );
  const plain = exampleRecipe("int4.esp");
  assert.match(
    await refusal(compress(caller, inside, plain.recipe, { output: join(folder, "out"), source: plain.source })),
    /The weight model\.layers\.1\.mlp\.up_proj\.weight of the model holds values that are NaN/,
  );
  await inside.close();
  await rm(join(folder, "nan"), { recursive: true });
  assert.equal(await readdir(folder), []);
});

test("dead features and groups of zeros are compressed like any other", async () => {
  const { recipe, source } = exampleRecipe("wanda-2of4-int4.esp");
  const row = 2 * toyWidth;
  // rows of gate_proj that are zero make features of down_proj that are; a row of o_proj is a group of zeros
  const dead = await patchedModel(
    join(folder, "dead"),
    [
      { tensor: "model.layers.0.mlp.gate_proj.weight", begin: 0, bytes: new Uint8Array(9 * row) },
      { tensor: "model.layers.0.self_attn.o_proj.weight", begin: row, bytes: new Uint8Array(row) },
      { tensor: "model.layers.1.self_attn.k_proj.weight", begin: 0, bytes: new Uint8Array(toyWidth * row) },
    ],
    model.directory,
  );
  const report = await compress(caller, dead, recipe, { output: join(folder, "dead-out"), source, text });
  assert.ok(
    report.tensors.every(
      (one) => Number.isFinite(one.relativeError) && one.layerError !== null && Number.isFinite(one.layerError),
    ),
  );
  const gone = report.tensors.find(({ name }) => name === "model.layers.1.self_attn.k_proj.weight");
  assert.is(gone?.relativeError, 0);
  assert.is(gone?.layerError, 0);
  await dead.close();
  for (const name of ["dead", "dead-out"]) await rm(join(folder, name), { recursive: true });
});

test("the layer error is that of its definition, at awkward sizes", async () => {
  const { executor } = caller;
  let seed = 1;
  const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647 - 0.5;
  for (const [tokens, outputs, inputs] of [
    [5, 3, 7],
    [1, 1, 1],
    [37, 18, 66],
  ] as const) {
    const values = (count: number): Float32Array<ArrayBuffer> => Float32Array.from({ length: count }, random);
    const [x, w, o] = [values(tokens * inputs), values(outputs * inputs), values(outputs * inputs)];
    let [change, size] = [0, 0];
    for (let t = 0; t < tokens; t++) {
      for (let n = 0; n < outputs; n++) {
        let [d, y] = [0, 0];
        for (let k = 0; k < inputs; k++) {
          const [a, b, c] = [x[t * inputs + k] ?? 0, w[n * inputs + k] ?? 0, o[n * inputs + k] ?? 0];
          d += (b - c) * a;
          y += c * a;
        }
        change += d * d;
        size += y * y;
      }
    }
    const tensors = [
      await executor.fill("f32", [tokens, inputs], x),
      await executor.fill("f32", [outputs, inputs], w),
      await executor.fill("f32", [outputs, inputs], o),
    ] as const;
    const [gram] = await caller.call("gram", { x: tensors[0] });
    if (gram === undefined) throw new Error("no gram");
    const found = await layerError(caller, tensors[1], tensors[2], gram);
    assert.ok(
      Math.abs((found ?? NaN) / Math.sqrt(change / size) - 1) < 1e-4,
      `${found} for ${Math.sqrt(change / size)}`,
    );
    for (const tensor of [...tensors, gram]) executor.release(tensor);
  }
  for (const [values, expected] of [
    [[1, 3.4e38, -3.4e38], true],
    [[1, NaN, 2], false],
    [[0, 0, -Infinity], false],
  ] as const) {
    const tensor = await executor.fill("f32", [3], values);
    assert.is(await isFinite(caller, tensor), expected);
    executor.release(tensor);
  }
});

test("what is observed of the model as given does not see what became of the blocks before", async () => {
  const source = `use statistics\nfn given(x: E[T, K], dense: E[T, K]) -> f32[K] {\n  return s where s[k] = sum[t] f32(dense[t, k])^2\n}\nfn drift(x: E[T, K], dense: E[T, K]) -> f32[K, K] {\n  return c where c[i, j] = sum[t] (f32(dense[t, i]) - f32(x[t, i])) * f32(x[t, j])\n}\nrecipe r(model: llama, text: tokens) {\n  for block in model.blocks {\n    let a = observe block on text by feature_squares\n    let b = observe block on text by given\n    let c = observe block on text by drift\n    for w in block.linears {\n      let v[n, k] = w[n, k] + a[w][k] + b[w][k] + c[w][k, k]\n      store w as v\n    }\n  }\n}\n`;
  const { recipe } = writtenRecipe(source);
  const steps = recipe.steps
    .flatMap((step) => (step.kind === "blocks" ? step.body : []))
    .filter((step) => step.kind === "observe");
  const name = "model.layers.0.mlp.down_proj.weight";
  const working = createWorkingModel(caller, model);
  const windows = calibrationWindows(ids, 24, bos, 3);
  // with room for nothing, both texts' activations go through files
  const run = await calibrationRun(caller, model, working, windows, {
    dtype: "f32",
    memory: 0,
    ownGram: false,
    withDense: true,
    spill: createSpill,
    onPass: () => undefined,
  });
  const seen = async (
    block: number,
  ): Promise<{ readonly now: Float64Array; readonly given: Float64Array; readonly drift: Float64Array }> => {
    await run.observe(block, steps);
    const values = async (at: number): Promise<Float64Array> =>
      Float64Array.from(await caller.executor.values(run.seen().statistics.get(steps[at]!.id)!.get("gate")!));
    return { now: await values(0), given: await values(1), drift: await values(2) };
  };
  const first = await seen(0);
  close(first.given, first.now, "chain", "before anything is compressed");
  assert.ok(first.drift.every((value) => value === 0));
  run.forget();
  const zeros = await caller.executor.fill("f32", [toyWidth, toyWidth], new Float32Array(toyWidth * toyWidth));
  working.replace(
    {
      name,
      format: { name: "f32", args: {}, of: null },
      pattern: { kind: "full" },
      shape: [toyWidth, toyWidth],
      bytes: 4 * toyWidth * toyWidth,
      relativeError: 1,
      layerError: null,
      seconds: 0,
    },
    zeros,
  );
  await run.advance(0);
  const second = await seen(1);
  assert.ok(second.drift.some((value) => value !== 0));
  await run.release();
  working.release();

  const untouched = createWorkingModel(caller, model);
  const plain = await calibrationRun(caller, model, untouched, windows, {
    dtype: "f32",
    ownGram: false,
    withDense: true,
    spill: createSpill,
    onPass: () => undefined,
  });
  await plain.advance(0);
  await plain.observe(1, steps);
  const expected = Float64Array.from(
    await caller.executor.values(plain.seen().statistics.get(steps[0]!.id)!.get("gate")!),
  );
  close(second.given, expected, "chain", "the model as given");
  assert.not.equal([...second.now], [...expected]);
  // where nothing is compressed there is nothing to take along
  const arena = openArena(caller.executor);
  const weights = await unpackBlock(caller, await untouched.block(1, "dense", arena), "f32", arena);
  const observers = steps.map(({ id, graph }) => ({ id, graph }));
  const alone = await passBlock(caller, weights, plain.activations, observers, arena);
  const values = async (at: number): Promise<readonly number[]> => [
    ...(await caller.executor.values(alone.get(steps[at]!.id)!.get("gate")!)),
  ];
  close(await values(1), expected, "chain", "the model as given, alone");
  assert.ok((await values(2)).every((value) => value === 0));
  arena.close();
  await plain.release();
  untouched.release();
});

test("where a recipe observes X^T X, layer errors come from that, else from the runtime's own, and both agree", async () => {
  const rule = (observe: string): ReturnType<typeof writtenRecipe> =>
    writtenRecipe(
      `use statistics, prune\nrecipe r(model: llama, text: tokens) {\n  for block in model.blocks {\n    let x = observe block on text by ${observe}\n    for w in block.linears matching "q_proj" {\n      store w as pack (w where mask_2of4(magnitude(w))) as nm(2, 4) of f16\n    }\n  }\n}\n`,
    );
  const errors: (readonly (number | null)[])[] = [];
  for (const [observe, layerErrors] of [
    ["gram", false],
    ["feature_squares", undefined],
    ["feature_squares", false],
  ] as const) {
    const { recipe, source } = rule(observe);
    const report = await compress(caller, model, recipe, {
      output: join(folder, "agree"),
      source,
      text,
      layerErrors,
      force: true,
    });
    errors.push(report.tensors.map((one) => one.layerError));
  }
  assert.is(errors[0]?.length, 4);
  assert.equal(errors[1], errors[0]);
  assert.ok(errors[2]?.every((error) => error === null));
  const plain = exampleRecipe("magnitude-2of4.esp");
  const report = await compress(caller, model, plain.recipe, {
    output: join(folder, "agree"),
    source: plain.source,
    text,
    layerErrors: true,
    force: true,
  });
  assert.ok(report.tensors.every((one) => one.layerError !== null));
  assert.ok(report.deviceBytesPeak > 0);
});

test.run();
