/** Models and texts by their names on the hub, wherever a command takes one: asked of a hub on this machine. */
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startHub, type Hub } from "../hub/server.js";
import { writePacked } from "../model/export/support.js";
import { command, ended, start, temporaryFolder, type Ended } from "./support.js";

const test = suite("cli/hub");

const folder = temporaryFolder();
const cache = temporaryFolder();
let hub: Hub;

/** A command with the hub of this machine, an empty cache, and these variables besides. */
function run(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Ended> {
  return ended(start(command, args, { HF_ENDPOINT: hub.url, HF_HUB_CACHE: cache.path, ...env }));
}

test.before(async () => {
  const sizes = { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, head_dim: 16 };
  await writePacked(folder.path, sizes, () => null);
  const files: { [path: string]: Uint8Array } = {};
  for (const name of await readdir(folder.path)) files[name] = readFileSync(join(folder.path, name));
  hub = await startHub([
    { type: "model", name: "some/model", files, large: ["model.safetensors"], needsToken: "secret" },
    { type: "dataset", name: "some/texts", files: { "test/a.txt": "abcdefg".repeat(10) } },
  ]);
});
test.after(async () => {
  await hub.close();
  folder.remove();
  cache.remove();
});

const recipe = folder.write(
  "r.esp",
  "use quantize\n\nrecipe r(model: llama) {\n  for w in model.linears {\n    store w as pack w as int8(96) with scale int8_scale(w, 96)\n  }\n}\n",
);

test("a token is needed, and HF_TOKEN is one; check takes the name, and says what does not fit", async () => {
  const without = await run({}, "check", recipe, "--model", "some/model");
  assert.is(without.code, 1);
  assert.match(without.stderr, /error\[M181\].*some\/model[\s\S]*HF_TOKEN/);
  const checked = await run({ HF_TOKEN: "secret" }, "check", recipe, "--model", "some/model@v1");
  assert.is(checked.code, 1, checked.stderr);
  assert.match(checked.stdout, /K = 32 is not a multiple of 96/);
  assert.ok(hub.seen.some(({ at, token }) => at === "cdn" && !token));
});

test("inspect, diff and eval take names too, and texts of data sets", async () => {
  const inspected = await run({ HF_TOKEN: "secret" }, "inspect", "some/model", "--json");
  assert.is(JSON.parse(inspected.stdout).tensors.length, 11, inspected.stderr);
  const same = await run({ HF_TOKEN: "secret" }, "diff", "some/model", folder.path);
  assert.is(same.code, 0, same.stderr);
  const text = "hf://datasets/some/texts/test/a.txt";
  const how = ["--window", "8", "--limit", "1", "--device", "cpu", "--json"];
  const scored = await run({ HF_TOKEN: "secret" }, "eval", "--model", "hf://some/model", "--text", text, ...how);
  assert.is(scored.code, 0, scored.stderr);
  assert.ok(JSON.parse(scored.stdout).perplexity > 0);
});

test("HF_HUB_OFFLINE: the cache alone is asked", async () => {
  hub.seen.length = 0;
  const known = await run({ HF_HUB_OFFLINE: "1" }, "inspect", "some/model");
  assert.is(known.code, 0, known.stderr);
  const unknown = await run({ HF_HUB_OFFLINE: "1" }, "check", recipe, "--model", "some/other");
  assert.match(unknown.stderr, /error\[M182\].*`some\/other` is not in the cache/);
  assert.equal(hub.seen, []);
});

test.run();
