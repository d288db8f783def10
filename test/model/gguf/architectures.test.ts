/** Models of each architecture written as GGUF files and read again: the same config, and every value where it was. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { planGguf } from "../../../runtime/model/export/gguf.js";
import { isRefused } from "../../../runtime/model/export/plan.js";
import { writtenMetadata } from "../../../runtime/model/gguf/written-metadata.js";
import { createGguf } from "../../../runtime/model/gguf/writer.js";
import { openModel } from "../../../runtime/model/model.js";
import { projectFile } from "../../support/project.js";

const test = suite("model/gguf/architectures");
const folder = await mkdtemp(join(tmpdir(), "espalier-gguf-architectures-"));
test.after(() => rm(folder, { recursive: true }));

/** A model with fields of its config changed, written and read again. */
async function again(name: string, changed: object): Promise<readonly string[] | null> {
  const from = join(folder, `${name} ${JSON.stringify(changed).length}`);
  await cp(projectFile(`test/data/architectures/${name}`), from, { recursive: true });
  const config = JSON.parse(await readFile(join(from, "config.json"), "utf8")) as object;
  await writeFile(join(from, "config.json"), JSON.stringify({ ...config, ...changed }));
  const model = await openModel(from);
  const plan = planGguf(model, { type: null, embedding: null, requantize: false });
  if (isRefused(plan)) {
    await model.close();
    return plan.problems;
  }
  const path = `${from}.gguf`;
  const layouts = plan.tensors.flatMap(({ parts }) => parts);
  const writer = await createGguf(path, writtenMetadata(model.config, name, plan.type), layouts);
  for (const tensor of plan.tensors) await tensor.write((part, bytes) => writer.append(part.name, bytes));
  await writer.finish();
  const read = await openModel(path);
  const told = ({ raw: _, bosToken: __, eosTokens: ___, dtype: ____, ...rest }: typeof model.config): object => rest;
  assert.equal(told(read.config), told(model.config), name);
  assert.equal(read.warnings, []);
  for (const { name: tensor } of model.tensors)
    assert.equal(await read.floats(tensor), await model.floats(tensor), tensor);
  await model.close();
  await read.close();
  return null;
}

for (const name of ["llama-biased", "llama-attention-bias", "mistral", "qwen2", "qwen3", "phi3"])
  test(name, async () => assert.is(await again(name, {}), null));

test("an architecture without such files is refused by name", async () => {
  assert.match(String(await again("gemma3", {})), /models of Gemma 3 are neither read/);
});

test("rotary scalings that a file can say, and those it cannot", async () => {
  assert.is(await again("qwen2", { rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 1000 } }), null);
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, rope_theta: 1000 };
  assert.is(await again("qwen3", { rope_parameters: yarn }), null);
  assert.match(String(await again("qwen3", { rope_parameters: { ...yarn, beta_fast: 8 } })), /YaRN/);
  assert.match(String(await again("llama", { rope_parameters: { rope_type: "dynamic", factor: 2 } })), /"dynamic"/);
  assert.match(String(await again("qwen2-window", {})), /windows of some blocks/);
});

test.run();
