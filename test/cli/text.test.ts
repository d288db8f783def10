import { readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { doubledStart, readTokens } from "../../runtime/cli/text.js";
import { readTokenizer } from "../../runtime/model/tokenizer/tokenizer.js";
import { classics, espalier, temporaryFolder } from "./support.js";

const test = suite("cli/text");
const tokenizer = await readTokenizer(classics, { vocabSize: 2048, bosToken: 0, eosTokens: [1] });

test("a text that writes out the token that is put before it is warned of once", async () => {
  const folder = temporaryFolder();
  const notes: string[] = [];
  const output = { note: (line: string) => void notes.push(line), alarm: (text: string) => text };
  await readTokens(folder.write("plain.txt", "said <|begin_of_text|> he"), tokenizer, output);
  assert.equal(notes, []);
  const ids = await readTokens(folder.write("twice.txt", "<|begin_of_text|>said he"), tokenizer, output);
  assert.is(ids[0], 0);
  assert.is(notes.length, 1);
  assert.match(notes.join(), /^warning: the text `.*twice\.txt` begins with `<\|begin_of_text\|>`, and another/);
  folder.remove();

  const prompt = await tokenizer.encode("<|begin_of_text|>said he", { prefix: true });
  assert.equal([...prompt.subarray(0, 2)], [0, 0]);
  assert.match(doubledStart(tokenizer, prompt.subarray(1)) ?? "", /another `<\|begin_of_text\|>` is put before it/);
  assert.is(doubledStart(tokenizer, await tokenizer.encode("said he", { prefix: false })), null);
  assert.is(doubledStart({ ...tokenizer, bos: null }, prompt), null);
});

/** A folder with the small model, files of it changed; its weights are linked. */
async function changedModel(changes: Readonly<Record<string, string>>): Promise<ReturnType<typeof temporaryFolder>> {
  const folder = temporaryFolder();
  for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"])
    folder.write(name, changes[name] ?? (await readFile(join(classics, name), "utf8")));
  await symlink(join(classics, "model.safetensors"), join(folder.path, "model.safetensors"));
  return folder;
}

test("what the files of a model contradict each other in is a warning on stderr, with --json, too", async () => {
  const config = JSON.parse(await readFile(join(classics, "config.json"), "utf8")) as object;
  const { path, remove } = await changedModel({ "config.json": JSON.stringify({ ...config, rope_theta: 500000 }) });
  const { stdout, stderr, code } = await espalier("eval", "--model", path, "--text", join(path, "none"), "--json");
  assert.is(code, 1);
  assert.match(stderr, /^warning: `rope_parameters.rope_theta` = 10000 is taken, and not `rope_theta` = 500000$/m);
  assert.equal(Object.keys(JSON.parse(stdout) as object), ["error"]);
  remove();
});

test("a tokenizer that is cut off ends a compress that reads no text before anything is computed", async () => {
  const { path, remove } = await changedModel({ "tokenizer.json": `{"version": "1.0", "model": {"vocab": {` });
  const { stderr, code } = await espalier("compress", "int4", "--model", path, "--out", join(path, "..", "never"));
  assert.is(code, 1);
  assert.match(stderr, /error\[M104\]: .*tokenizer\.json` is not valid JSON/);
  remove();
});

test.run();
