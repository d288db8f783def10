/** What becomes of a model that was rotated: stopped and gone on with, exported, its tables, the type of its weights. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { CompressOptions } from "../../../runtime/llama/compression/compression.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { stateOf } from "../../../runtime/llama/long-runs/saved-state.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, exampleRecipe, writtenRecipe, type Written } from "../recipes.js";
import { sameFiles } from "../../support/same-files.js";

const test = suite("llama/rotated-models");
const { caller, model, bos, folder } = await openToyWorkshop(test, "rotated-models");
const ids = await calibrationIds(model);
const text = { ids, bos, windows: 2, window: 16 };
const gptq = exampleRecipe("rotated-gptq-int4.esp", { group: 64 });
const rotated = exampleRecipe("rotated.esp");

const run = ({ recipe, source }: Written, name: string, options: Partial<CompressOptions> = {}) =>
  compress(caller, model, recipe, { output: join(folder, name), source, text, ...options });

class Killed extends Error {}

/** Stops a run when it has come to `subject` for the `count`th time. */
async function killed(written: Written, name: string, subject: string, count = 1, resume = false): Promise<void> {
  let seen = 0;
  const onProgress: CompressOptions["onProgress"] = (progress) => {
    if (progress.stage === "compress" && progress.subject.startsWith(subject) && ++seen === count) throw new Killed();
  };
  const error = await run(written, name, { onProgress, resume }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, Killed);
}

const same = (a: string, b: string): Promise<void> => sameFiles(join(folder, a), join(folder, b));

/** The perplexity of a model on some of the text. */
async function perplexityOf(given: Model): Promise<number> {
  const session = await openSession(caller, given, { dtype: "f32" });
  try {
    return (await perplexity(session, ids.slice(0, 128), { window: 32, bos })).perplexity;
  } finally {
    session.release();
  }
}

async function perplexityAt(path: string): Promise<number> {
  const opened = await openModel(path);
  try {
    return await perplexityOf(opened);
  } finally {
    await opened.close();
  }
}

test("stopped within the rotation, and within a block behind it, a run goes on to the same files", async () => {
  await run(gptq, "whole");
  // embedding, then blocks: some of them are rotated on the disk already
  await killed(gptq, "parts", "the residual stream", 3);
  await killed(gptq, "parts", "model.layers.1.", 1, true);
  assert.is((await stateOf(join(folder, "parts")))?.finished, 2, "the rotation and the first block");
  const notes: string[] = [];
  const report = await run(gptq, "parts", { resume: true, note: (line) => notes.push(line) });
  assert.match(notes[0]!, /^Going on after 2 of \d+ steps/);
  await same("whole", "parts");
  // errors are of the rotated weights, those of before the stop among them
  assert.ok(report.tensors.every(({ relativeError }) => relativeError < 0.3));
});

test("exported to safetensors and to GGUF, and read back, it has the perplexity it had", async () => {
  await run(rotated, "rotated");
  const path = join(folder, "rotated");
  const given = await perplexityOf(model);
  const own = await perplexityAt(path);
  assert.ok(Math.abs(own / given - 1) < 1e-3, `${own}, and ${given} before`);
  const opened = await openModel(path);
  for (const [to, output] of [
    ["safetensors", join(folder, "exported")],
    ["gguf", join(folder, "exported.gguf")],
  ] as const) {
    await exportModel(opened, { to, output });
    assert.is(await perplexityAt(output), own, to);
  }
  // and packed
  const packed = await openModel(join(folder, "whole"));
  for (const [to, output] of [
    ["safetensors", join(folder, "packed")],
    ["gguf", join(folder, "packed.gguf")],
    ["compressed-tensors", join(folder, "packed-ct")],
  ] as const) {
    await exportModel(packed, { to, output });
    const [back, before] = [await perplexityAt(output), await perplexityOf(packed)];
    assert.ok(Math.abs(back / before - 1) < 1e-5, `${to}: ${back}, and ${before} before`);
  }
  await packed.close();
  await opened.close();
});

test("a head that is the embedding becomes a table of its own, wherever the model goes", async () => {
  assert.ok(model.config.tiedEmbeddings);
  for (const path of [join(folder, "rotated"), join(folder, "exported"), join(folder, "exported.gguf")]) {
    const opened = await openModel(path);
    assert.not(opened.config.tiedEmbeddings, path);
    const [embedding, head] = [
      await opened.floats("model.embed_tokens.weight", 0, 256),
      await opened.floats("lm_head.weight", 0, 256),
    ];
    assert.ok(
      embedding.some((value, at) => Math.abs(value - head[at]!) > 1e-3),
      "the last norm is in the head alone",
    );
    assert.equal(opened.warnings, []);
    await opened.close();
  }
});

test("weights are written in f16, and what a recipe makes of them before is made of f32", async () => {
  const opened = await openModel(join(folder, "rotated"));
  for (const { name, shape, format, dtype } of opened.tensors)
    assert.is(format?.name ?? dtype.toLowerCase(), shape.length === 2 ? "f16" : "f32", name);
  await opened.close();
  const kept = writtenRecipe(`use rotation
recipe kept(model: llama) {
  for w in model.stream { scale w by random_hadamard(w.columns, u32(1)) }
  for w in model.linears { store w as pack w as f32 }
  for w in model.tables { store w as pack w as f32 }
}
`);
  const { tensors } = await run(kept, "kept");
  assert.ok(tensors.every(({ relativeError }) => relativeError === 0));
  const [given, single, half] = [
    await perplexityOf(model),
    await perplexityAt(join(folder, "kept")),
    await perplexityAt(join(folder, "rotated")),
  ];
  assert.ok(Math.abs(single / given - 1) < 1e-5, `${single}, and ${given} before`);
  assert.ok(Math.abs(half / given - 1) > Math.abs(single / given - 1));
});

test("what is evaluated of a run is what it has written", async () => {
  const evaluation = { ids: ids.slice(0, 128), bos, window: 32 };
  const { perplexities, tensors } = await run(rotated, "evaluated", { evaluation });
  const found = perplexities.find(({ of }) => of === "compressed")?.value;
  assert.is(found, await perplexityAt(join(folder, "evaluated")));
  assert.ok(
    tensors.every(({ format, relativeError }) => format === "f16" && relativeError > 0 && relativeError < 2 ** -11),
  );
});

test.run();
