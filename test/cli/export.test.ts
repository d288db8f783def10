/** The commands that work on files of models, run as a user runs them. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writePacked } from "../model/export/support.js";
import { ended, espalier, temporaryFolder } from "./support.js";

const test = suite("cli/export");

const folder = temporaryFolder();
test.after(() => {
  folder.remove();
  rmSync(`${folder.path}-gptq`, { recursive: true, force: true });
});

const sizes = { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, head_dim: 16 };

test.before(async () => {
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

test("diff ends with 0 where the values are the same, with 1 where they are not", async () => {
  const same = await espalier("diff", folder.path, `${folder.path}-gptq`, "--all");
  assert.is(same.code, 0, same.stderr);
  assert.match(same.stdout, /\n0 tensors of 11 differ\n$/);
  const coarse = `${folder.path}-coarse`;
  const rounded = ["--to", "safetensors", "--type", "bf16", "--requantize", "--out", coarse];
  await espalier("export", folder.path, ...rounded);
  const other = await espalier("diff", folder.path, coarse);
  rmSync(coarse, { recursive: true, force: true });
  assert.is(other.code, 1, other.stderr);
  assert.match(other.stdout, /int4\(32\) -> bf16.*\n/);
  assert.match(other.stdout, /\n7 tensors of 11 differ\n$/);
});

test("compress --to writes both, and finds a place that is taken before it begins", async () => {
  const dense = temporaryFolder();
  try {
    await writePacked(dense.path, sizes, () => null);
    const out = join(dense.path, "..", `${basename(dense.path)}-small`);
    const to = ["--model", dense.path, "--out", out, "--set", "group=32", "--device", "cpu", "--to"];
    const done = await espalier("compress", "int4", ...to, "gguf");
    assert.is(done.code, 0, done.stderr);
    assert.match(done.stdout, /\nQ4_0 +7 +0 +0\.00000\n/);
    const same = await espalier("diff", out, `${out}.gguf`);
    assert.is(same.code, 0, same.stdout);
    rmSync(out, { recursive: true });
    const taken = await espalier("compress", "int4", ...to, "gguf");
    assert.is(taken.code, 1);
    assert.match(taken.stderr, /error\[M150\].*-small\.gguf` exists already/);
    assert.not(existsSync(out));
    for (const each of [`${out}.gguf`, `${out}.md`]) rmSync(each);
  } finally {
    dense.remove();
  }
});

test("what cannot be written ends with 1, a wrong use with 2", async () => {
  const refused = await espalier("export", folder.path, "--to", "marlin-24", "--out", `${folder.path}-m`);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /error\[M155\].*cannot be written as marlin-24.*\n {2}= help: possible for this model/);
  const wrong = await espalier("export", folder.path, "--to", "ggml", "--out", `${folder.path}-m`);
  assert.is(wrong.code, 2);
});

test("an export that is killed leaves nothing under its name, and the next one is whole", async () => {
  for (const [to, out] of [
    ["gptq", `${folder.path}-killed`],
    ["gguf", `${folder.path}-killed.gguf`],
  ] as const) {
    const script = folder.write(
      "killed.mjs",
      `import { exportModel, openModel } from ${JSON.stringify(new URL("../../bundle/index.js", import.meta.url).href)};
const model = await openModel(${JSON.stringify(folder.path)});
const onProgress = (name, done) => done === 6 && process.kill(process.pid, "SIGKILL");
await exportModel(model, { to: "${to}", output: ${JSON.stringify(out)}, onProgress });
`,
    );
    const killed = await ended(spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "pipe"] }));
    assert.is(killed.signal, "SIGKILL", killed.stderr);
    assert.not(existsSync(out));
    const whole = await espalier("export", folder.path, "--to", to, "--out", out);
    assert.is(whole.code, 0, whole.stderr);
    assert.is((await espalier("diff", folder.path, out)).code, 0);
  }
  const own = (name: string): boolean => name.includes(`${basename(folder.path)}-killed`);
  for (const name of readdirSync(dirname(folder.path)).filter(own))
    rmSync(join(dirname(folder.path), name), { recursive: true });
});

test.run();
