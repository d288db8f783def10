/** Models whose files have two fields for one thing, scored: as the Hugging Face library reads them. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openModel } from "../../../runtime/model/model.js";
import { writeTensors } from "../../model/support.js";
import { classics, openWorkshop } from "../machine.js";

const test = suite("two fields for one thing, scored");
const { caller, model, bos, folder } = await openWorkshop(test, "twins");
const text = await readFile(join(classics, "eval.txt"), "utf8");
const ids = [...(await (await model.tokenizer()).encode(text.slice(0, 4096), { prefix: false }))];
const config = JSON.parse(await readFile(join(classics, "config.json"), "utf8")) as {
  readonly [name: string]: unknown;
};

/** Perplexity of the model in a directory over 512 tokens, and what opening it warns of. */
async function scored(
  directory: string,
): Promise<{ readonly perplexity: string; readonly warnings: readonly string[] }> {
  const given = await openModel(directory);
  const session = await openSession(caller, given, { dtype: "f32" });
  try {
    const result = await perplexity(session, ids, { window: 256, bos, limit: 2 });
    return { perplexity: result.perplexity.toFixed(2), warnings: given.warnings };
  } finally {
    session.release();
    await given.close();
  }
}

async function folderOf(name: string, changed: object): Promise<string> {
  const directory = join(folder, name);
  await mkdir(directory);
  await writeFile(join(directory, "config.json"), JSON.stringify({ ...config, ...changed }));
  await copyFile(join(classics, "model.safetensors"), join(directory, "model.safetensors"));
  return directory;
}

test("`rope_scaling` beside `rope_parameters`", async () => {
  const scaling = {
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 64,
  };
  const { perplexity, warnings } = await scored(await folderOf("scaled", { rope_scaling: scaling }));
  assert.is(perplexity, "50.69"); // 33.02 without the scaling
  assert.match(warnings.join(), /`rope_scaling` and `rope_parameters` say different things/);
});

test("an output head beside `tie_word_embeddings`", async () => {
  const directory = await folderOf("headed", {});
  const head: { readonly name: string; readonly dtype: "BF16"; readonly shape: readonly number[] } = {
    name: "lm_head.weight",
    dtype: "BF16",
    shape: [2048, 256],
  };
  const halved = await model.read("model.embed_tokens.weight");
  // half of each bf16: one less in the exponent, whose last bit is the highest of the low byte
  const values = new Uint16Array(halved.buffer);
  for (let at = 0; at < values.length; at++) if ((values[at]! & 0x7f80) > 0x80) values[at]! -= 0x80;
  const names = model.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const bytes = new Map(await Promise.all(names.map(async ({ name }) => [name, await model.read(name)] as const)));
  await writeTensors(join(directory, "model.safetensors"), [...names, head], (name) => bytes.get(name) ?? halved);
  const { perplexity, warnings } = await scored(directory);
  assert.is(perplexity, "48.65"); // 33.02 with the embedding for a head
  assert.match(warnings.join(), /`tie_word_embeddings` is true, but `lm_head.weight` is there/);
});

test.run();
