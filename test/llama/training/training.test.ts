/** Training by a recipe, end to end on a model of a few thousand weights. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress, type Compression, type CompressOptions } from "../../../runtime/llama/compression/compress.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { openMachine } from "../machine.js";
import { writtenRecipe, type Written } from "../recipes.js";
import { tinyModel } from "../tiny.js";
import { sparse, trainingRecipe } from "./support.js";

const test = suite("training");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-training-"));
const model = await tinyModel(join(folder, "model"));
test.after(async () => {
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

/** A text in which much repeats. */
const text = { ids: Array.from({ length: 640 }, (_, at) => (at * at * 7 + at * 3) % 61), bos: null, window: 16 };

function train(
  { recipe, source }: Written,
  name: string,
  options: Partial<CompressOptions> = {},
): Promise<Compression> {
  return compress(caller, model, recipe, { output: join(folder, name), source, text, ...options });
}

async function bytesOf(name: string): Promise<readonly Buffer[]> {
  const files = (await readdir(join(folder, name))).sort();
  return Promise.all(files.map((file) => readFile(join(folder, name, file))));
}

async function decoded(from: Model, name: string): Promise<Float32Array> {
  const { format, shape } = from.tensor(name);
  return formatOfSpec(format!).decode(format!, shapeOf(shape), new Uint32Array((await from.read(name)).buffer));
}

const mean = (some: readonly { readonly loss: number }[]): number =>
  some.reduce((sum, { loss }) => sum + loss, 0) / some.length;

test("the whole model: the loss falls, the best is kept, the pattern holds, and the same comes again", async () => {
  const written = trainingRecipe(sparse);
  const notes: string[] = [];
  const [report] = (await train(written, "once", { note: (line) => notes.push(line) })).trainings;
  assert.match(notes[0] ?? "", /^note: Training takes .* for weights, moments and gradients/);
  assert.match(notes[1] ?? "", /^note: This recipe trains.* take about \d+ .*`one-shot`/);
  assert.equal([report!.what, report!.loss, report!.steps, report!.planned], ["the model", "kl", 12, 12]);
  assert.is(report!.losses.length, 12);
  assert.equal(
    report!.watched.map(({ step }) => step),
    [0, 6, 12],
  );
  assert.ok(mean(report!.losses.slice(-3)) < 0.9 * mean(report!.losses.slice(0, 3)), JSON.stringify(report!.losses));
  assert.ok(report!.best!.step > 0);
  const trained = await openModel(join(folder, "once"));
  assert.equal(trained.tensor("model.layers.0.mlp.up_proj.weight").pattern, { kind: "nm", n: 2, m: 4, axis: 1 });
  const gain = await trained.floats("model.layers.0.input_layernorm.weight");
  const before = await model.floats("model.layers.0.input_layernorm.weight");
  assert.ok(
    gain.some((value, at) => value !== before[at]),
    "gains are trained",
  );
  await trained.close();
  await train(written, "again");
  assert.equal(await bytesOf("once"), await bytesOf("again"));
});

test("a run that was stopped goes on to the same bytes, and to no others", async () => {
  const written = trainingRecipe(sparse, { settings: { watch: 4 } });
  await train(written, "whole");
  let steps = 0;
  const stopping = {
    pointSeconds: 0,
    onProgress: ({ stage }: { readonly stage: string }) => {
      if (stage === "train" && ++steps === 10) throw new Error("pulled the plug");
    },
  };
  const failed = await train(written, "stopped", stopping).then(
    () => "",
    (error: unknown) => String(error),
  );
  assert.match(failed, /pulled the plug/);
  const other = trainingRecipe(sparse, { settings: { watch: 4, seed: 1 } });
  const refused = await train(other, "stopped", { resume: true }).then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(refused instanceof LlamaError && refused.code === "resume", String(refused));
  const notes: string[] = [];
  const [report] = (await train(written, "stopped", { resume: true, note: (line) => notes.push(line) })).trainings;
  assert.ok(
    notes.some((line) => /after 8 of 12 steps/.test(line)),
    notes.join("\n"),
  );
  assert.is(report!.losses.length, 12);
  assert.equal(await bytesOf("stopped"), await bytesOf("whole"));
});

test("a model whose tables were stored before is trained as it is then, towards the one that was given", async () => {
  const same = trainingRecipe("store w as pack w as f32", { settings: { steps: 2, norms: false, watch: 2 } });
  const first = async (name: string, loop: string): Promise<number> => {
    const source = same.source.replace("  train model", `  for w in model.${loop} }\n  train model`);
    const [report] = (await train({ ...writtenRecipe(source) }, name)).trainings;
    return report!.watched[0]!.loss;
  };
  const stored = "store w as pack w as int4(8) with scale int4_scale(w, 8)";
  const as = await first("tables as they were", "tables { store w as pack w as f32");
  const [embedding, head] = [
    await first("embedding", `embedding { ${stored}`),
    await first("head", `head { ${stored}`),
  ];
  assert.ok(as < 1e-6 && embedding > 1e-4 && head > 1e-4, `${as}, ${embedding}, ${head}`);
});

test("blocks have a loss beside the model's: it counts as it is weighted, and falls", async () => {
  const once = { steps: 1, held_out: 0 };
  const first = async (beside: string | undefined, name: string): Promise<number> => {
    const [report] = (await train(trainingRecipe(sparse, { ...(beside && { beside }), settings: once }), name))
      .trainings;
    return report!.losses[0]!.loss;
  };
  const [alone, one, three] = [
    await first(undefined, "beside-0"),
    await first("square_head(weight: 1)", "beside-1"),
    await first("square_head(weight: 3)", "beside-3"),
  ];
  assert.ok(one > alone + 0.01, `${alone}, ${one}`);
  assert.ok(Math.abs(three - alone - 3 * (one - alone)) < 1e-3 * three, `${alone}, ${one}, ${three}`);
  // weighted so, nothing of the model's own loss is left to speak of
  const written = trainingRecipe(sparse, { beside: "square_head(weight: 1000)" });
  const [report] = (await train(written, "beside")).trainings;
  assert.is(report!.loss, "kl and square_head");
  const [before, after] = [report!.watched[0]!.loss, report!.watched.at(-1)!.loss];
  assert.ok(after < 0.8 * before, `${before} -> ${after}`);
});

test("a block at a time: its error falls", async () => {
  const written = trainingRecipe(sparse, { scope: "block", loss: "block_error" });
  const [report] = (await train(written, "block")).trainings;
  assert.is(report!.what, "block 0");
  assert.ok(mean(report!.losses.slice(-3)) < 0.8 * mean(report!.losses.slice(0, 3)), JSON.stringify(report!.losses));
});

test("rounding to a grid is in every pass, and what is stored is on it; only what is said is trained", async () => {
  const body = `if w matches "*_proj" {
    let kept = w where mask_2of4(magnitude(w.start))
    store w as pack kept as nm(2, 4) of int4(8) with scale int4_scale(kept, 8)
  }`.replace('"*_proj"', '"up_proj"');
  const written = trainingRecipe(body, { loss: "cross_entropy", settings: { norms: false } });
  const report = await train(written, "int4");
  assert.equal(
    report.tensors.map(({ name, pattern, format }) => [name, pattern, format]),
    [["model.layers.0.mlp.up_proj.weight", "2:4", "nm(2, 4) of int4(8, symmetric)"]],
  );
  const [training] = report.trainings;
  assert.ok(mean(training!.losses.slice(-3)) < mean(training!.losses.slice(0, 3)), JSON.stringify(training!.losses));
  const trained = await openModel(join(folder, "int4"));
  const name = "model.layers.0.input_layernorm.weight";
  assert.equal(await trained.floats(name), await model.floats(name));
  await trained.close();
  // and a model that is packed already is trained as it is unpacked
  const packed = await openModel(join(folder, "int4"));
  const again = await compress(caller, packed, written.recipe, {
    output: join(folder, "of packed"),
    source: written.source,
    text,
  });
  assert.ok(again.trainings[0]!.losses.every(({ loss }) => Number.isFinite(loss)));
  await packed.close();
});

test("scales alone: codes and mask stay, the loss falls", async () => {
  const kept = "let kept = w where mask_2of4(magnitude(w.start))";
  const first = trainingRecipe(`${kept}\n store w as pack kept as nm(2, 4) of int4(8) with scale int4_scale(kept, 8)`);
  await train(first, "on a grid");
  const second = trainingRecipe(
    `let scale = trained_scale(w, w.start, 8)
    store w as pack rescaled(w.start, scale, 8) where mask_2of4(magnitude(w.start)) as nm(2, 4) of int4(8) with scale whole_scale(scale)`,
    { loss: "cross_entropy", settings: { norms: false, rate: 1e-2 } },
  );
  const before = await openModel(join(folder, "on a grid"));
  const [report] = (
    await compress(caller, before, second.recipe, { output: join(folder, "scales"), source: second.source, text })
  ).trainings;
  assert.ok(mean(report!.losses.slice(-3)) < mean(report!.losses.slice(0, 3)), JSON.stringify(report!.losses));
  assert.ok(report!.best!.step > 0);
  const after = await openModel(join(folder, "scales"));
  let moved = 0;
  for (const name of ["q_proj", "o_proj"].map((each) => `model.layers.0.self_attn.${each}.weight`)) {
    const [was, is] = [await decoded(before, name), await decoded(after, name)];
    for (let group = 0; group < was.length; group += 8) {
      const ratios = Array.from({ length: 8 }, (_, at) => is[group + at]! / was[group + at]!).filter(
        (ratio) => !Number.isNaN(ratio),
      );
      for (const ratio of ratios)
        assert.ok(Math.abs(ratio / ratios[0]! - 1) < 1e-6, `${name} ${group}: ${ratios.join()}`);
      if (ratios.some((ratio) => ratio !== 1)) moved++;
    }
  }
  assert.ok(moved > 10, `${moved} scales have moved`);
  await before.close();
  await after.close();
});

test("f16 on a device without it is refused before anything is read", async () => {
  const other = { ...caller, target: { ...caller.target, f16: false } };
  const { recipe, source } = trainingRecipe(sparse);
  try {
    await compress(other, model, recipe, { output: join(folder, "half"), source, text, dtype: "f16" });
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof LlamaError && error.code === "bad-option", String(error));
    assert.match(String(error), /does not compute in it; f32 works everywhere/);
  }
});

test("a text shorter than a batch is refused", async () => {
  try {
    await train(trainingRecipe(sparse, { settings: { batch: 64 } }), "short");
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof LlamaError && error.code === "text-too-short", String(error));
    assert.match(String(error), /64 windows of 16 tokens, and the text has 40/);
  }
});

test.run();
