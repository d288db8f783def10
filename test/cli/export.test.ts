/** The commands that work on files of models, run as a user runs them. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writePacked } from "../model/export/support.js";
import { espalier, temporaryFolder } from "./support.js";

const test = suite("cli/export");

const folder = temporaryFolder();
test.after(() => {
  folder.remove();
  rmSync(`${folder.path}-gptq`, { recursive: true, force: true });
});

test.before(async () => {
  const sizes = { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, head_dim: 16 };
  folder.write("config.json", "");
  await writePacked(folder.path, sizes, () => "int4(32)");
});

test("export says what it wrote, in words and in JSON", async () => {
  const said = await espalier("export", folder.path, "--to", "gptq", "--out", `${folder.path}-gptq`);
  assert.is(said.code, 0, said.stderr);
  assert.match(said.stdout, /^stored as +tensors +rounded +largest error\n/);
  assert.match(said.stdout, /\ngptq +7 +0 +0\.00000\n/);
  assert.match(readFileSync(join(`${folder.path}-gptq`, "README.md"), "utf8"), /as gptq/);
  const json = await espalier(
    "export",
    folder.path,
    "--to",
    "gptq",
    "--out",
    `${folder.path}-gptq`,
    "--force",
    "--json",
  );
  const { files, tensors } = JSON.parse(json.stdout);
  assert.equal(files, ["README.md", "config.json", "model.safetensors", "quantize_config.json", "tokenizer.json"]);
  assert.is(tensors.length, 11);
});

test("what cannot be written ends with 1, a wrong use with 2", async () => {
  const refused = await espalier("export", folder.path, "--to", "marlin-24", "--out", `${folder.path}-m`);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /error\[M155\].*cannot be written as marlin-24.*\n {2}= help: possible for this model/);
  const wrong = await espalier("export", folder.path, "--to", "ggml", "--out", `${folder.path}-m`);
  assert.is(wrong.code, 2);
});

test.run();
