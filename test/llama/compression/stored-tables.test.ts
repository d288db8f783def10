/** A model whose embedding and head are packed is a model like any other: every command takes it. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress, type CompressOptions } from "../../../runtime/llama/compression/compress.js";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openScheduler } from "../../../runtime/llama/serving/scheduler.js";
import { differenceOf } from "../../../runtime/model/difference.js";
import { ModelError } from "../../../runtime/model/error.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel } from "../../../runtime/model/model.js";
import { openToyWorkshop } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("llama/stored tables");
const { caller, model, folder } = await openToyWorkshop(test, "stored-tables", 32);
const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"] as const;
const ids = Array.from({ length: 48 }, (_, at) => (at * at * 7 + at * 3) % 200);

const written = writtenRecipe(`use quantize, prune
recipe r(model: llama) {
  for w in model.embedding {
    let kept = w where mask_2of4(magnitude(w))
    store w as pack kept as nm(2, 4) of int4(32) with scale int4_scale(kept, 32)
  }
  for w in model.head { store w as pack w as int8(32) with scale int8_scale(w, 32) }
  for w in model.linears { store w as pack w as int4(32) with scale int4_scale(w, 32) }
}
`);
const run = (name: string, options: Partial<CompressOptions> = {}): ReturnType<typeof compress> =>
  compress(caller, model, written.recipe, { output: join(folder, name), source: written.source, ...options });

test("a run that is stopped behind the tables and gone on with gives the same files", async () => {
  await run("whole");
  const stop = new Error("stopped");
  const stopped = run("parts", {
    onProgress: ({ stage, subject }) => {
      if (stage === "compress" && subject.startsWith("model.layers.1.")) throw stop;
    },
  });
  assert.is(await stopped.catch((error: unknown) => error), stop);
  const notes: string[] = [];
  await run("parts", { resume: true, note: (line) => notes.push(line) });
  assert.match(notes.join("\n"), /Going on after 3 of 6 steps/);
  for (const file of await readdir(join(folder, "whole")))
    assert.ok((await readFile(join(folder, "whole", file))).equals(await readFile(join(folder, "parts", file))), file);
});

test("it is what its decoded values are: to a text, a prompt, clients, and `diff`", async () => {
  const packed = await openModel(join(folder, "whole"));
  const { tensors } = await inspect(join(folder, "whole"));
  const shown = tensors.filter(({ name }) => name === embedding || name === head);
  assert.equal(shown.map(({ format }) => format).sort(), ["int8(32, symmetric)", "nm(2, 4) of int4(32, symmetric)"]);
  await exportModel(packed, { to: "safetensors", output: join(folder, "dense") });
  const dense = await openModel(join(folder, "dense"));
  const { same, tensors: differences } = await differenceOf(packed, dense);
  assert.ok(
    same,
    differences
      .filter(({ count }) => count > 0)
      .map(({ name }) => name)
      .join(),
  );
  const changed = await differenceOf(model, packed);
  assert.equal(changed.onlySecond, [head]);
  assert.equal(changed.config, [{ field: "tiedEmbeddings", first: true, second: false }]);

  const session = await openSession(caller, packed, { dtype: "f32" });
  const other = await openSession(caller, dense, { dtype: "f32" });
  try {
    const options = { window: 24, bos: null };
    const [ours, theirs] = [await perplexity(session, ids, options), await perplexity(other, ids, options)];
    assert.ok(Math.abs(ours.perplexity / theirs.perplexity - 1) < 1e-4, `${ours.perplexity}, ${theirs.perplexity}`);
    const prompt = ids.slice(0, 9);
    const greedy = { maxNewTokens: 6, eosTokens: [], temperature: 0 };
    const wanted = (await generate(other, prompt, greedy)).ids;
    assert.equal((await generate(session, prompt, greedy)).ids, wanted);
    const scheduler = await openScheduler(session, { sequences: 2 });
    const found: number[] = [];
    const { tokens } = scheduler.submit({ prompt, maxNewTokens: 6, stopTokens: [], sampling: { temperature: 0 } });
    for await (const { id } of tokens) found.push(id);
    await scheduler.close();
    assert.equal(found, [...wanted]);
  } finally {
    session.release();
    other.release();
    await dense.close();
    await packed.close();
  }
});

test("other tools get it exactly, or are refused it", async () => {
  const packed = await openModel(join(folder, "whole"));
  const fault = await exportModel(packed, { to: "gguf", output: join(folder, "m.gguf") }).catch((e: unknown) => e);
  assert.ok(fault instanceof ModelError);
  assert.match(fault.message, /`model.embed_tokens.weight`: GGUF has no type for .*`--embedding-type q4_0` stores/);
  await exportModel(packed, { to: "compressed-tensors", output: join(folder, "ct") });
  const back = await openModel(join(folder, "ct"));
  assert.is(back.tensor(head).format?.name, "int8");
  assert.ok((await differenceOf(packed, back)).same);
  await back.close();
  // AWQ has one grid for all layers, and its readers never look for a packed head
  const awq = await exportModel(packed, { to: "awq", output: join(folder, "awq") });
  assert.is(awq.tensors.find(({ source }) => source === head)?.stored, "f32");
  await packed.close();
});

test.run();
