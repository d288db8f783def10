/** What the command line says of results that are worth nothing, and how it ends then. */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { createHost } from "../../runtime/library.js";
import { projectFile } from "../support/project.js";
import { classics, espalier, temporaryFolder } from "./support.js";

const warnings = suite("cli/warnings");
const folder = temporaryFolder();
warnings.after(() => folder.remove());

mkdirSync(join(folder.path, "lib"));
folder.write(
  "lib/upside.esp",
  `/// The weights with the other sign, and larger.
fn upside(w: f32[N, K], times: f32) -> f32[N, K] {
  return v where v[n, k] = -times * w[n, k]
}
`,
);
const recipe = folder.write(
  "r.esp",
  `use "./lib/upside.esp"
recipe ruined(model: llama, times = 20) {
  for w in model.linears {
    store w as pack upside(w, times) as bf16
  }
}
`,
);
const common = ["--model", classics, "--device", "cpu", "--window", "16"];

warnings(
  "a ruined model ends with warnings on stderr, in the JSON and on the page, and --max-error refuses it",
  async () => {
    const out = join(folder.path, "out");
    const page = join(folder.path, "page.html");
    const line = ["compress", recipe, ...common, "--out", out, "--json"];
    const { code, stdout, stderr } = await espalier(
      ...[...line, "--set", "times=30", "--report", page, "--eval", join(classics, "eval.txt"), "--limit", "1"],
    );
    assert.is(code, 0, stderr);
    const report = JSON.parse(stdout) as {
      perplexities: readonly { value: number }[];
      warnings: readonly { kind: string; tensor: string | null; value: number; message: string }[];
    };
    assert.equal(
      [...new Set(report.warnings.map(({ kind }) => kind))],
      ["weight-lost", "worse-than-chance", "perplexity-lost"],
    );
    assert.is(report.warnings.filter(({ tensor }) => tensor !== null).length, 28);
    const notes = stderr.split("\n").filter((note) => note.startsWith("warning: "));
    assert.is(notes.filter((note) => /weight error 3[01]\.\d{3}: the weights are no better/.test(note)).length, 29);
    assert.match(
      stderr,
      /^warning: 28 of 28 layers are lost; the worst: model\.layers\..*\n {2}= help: the model is most likely of no use so.*\nwarning: .*worse than guessing.*\n {2}= help: .*\nwarning: the perplexity on the evaluation text went from .*\n {2}= help: compress it less/m,
    );
    const html = readFileSync(page, "utf8");
    assert.match(html, /<section class="warnings" role="alert"><h2>Warnings<\/h2><ul><li>model\.layers\.0\./);

    // what was saved is whole: it checks and compresses where it lies, by the command that it names
    assert.equal(
      readdirSync(out).filter((name) => name.endsWith(".esp")),
      ["recipe-upside.esp", "recipe.esp"],
    );
    assert.equal(check(join(out, "recipe.esp"), createHost()).diagnostics, []);
    const [first = ""] = readFileSync(join(out, "recipe.esp"), "utf8").split("\n");
    assert.match(first, /^\/\/ Saved by espalier \S+: espalier compress recipe\.esp --recipe ruined --set times=30$/);

    const refused = await espalier(
      ...["compress", join(out, "recipe.esp"), ...first.split(" ").slice(8), ...common],
      ...["--out", join(folder.path, "again"), "--json", "--max-error", "0.5"],
    );
    assert.is(refused.code, 1);
    assert.match(refused.stdout, /"code": "error-too-large"[^]*has a weight error of 3[01]\./);
    assert.not.ok(existsSync(join(folder.path, "again")));
    const wrong = await espalier(...line, "--max-error", "-1");
    assert.is(wrong.code, 2);
  },
);

warnings("eval warns of a model that guessing would beat", async () => {
  const line = ["--model", join(folder.path, "out"), "--device", "cpu"];
  const scored = await espalier(
    "eval",
    ...line,
    "--text",
    join(classics, "eval.txt"),
    "--window",
    "16",
    "--limit",
    "1",
    "--json",
  );
  assert.is(scored.code, 0, scored.stderr);
  const { perplexity, warnings: reported } = JSON.parse(scored.stdout) as {
    perplexity: number;
    warnings: readonly { kind: string; value: number }[];
  };
  assert.equal(
    reported.map(({ kind, value }) => [kind, value]),
    [["worse-than-chance", perplexity]],
  );
  assert.match(
    scored.stderr,
    /^warning: the model is worse than guessing on the given text: .*2048 tokens\n {2}= help: /m,
  );
});

warnings("generate says where a text ends before it begins", async () => {
  const model = join(folder.path, "model");
  cpSync(classics, model, { recursive: true });
  const line = ["generate", "--model", model, "--device", "cpu", "--prompt", "It was", "--max-tokens", "1", "--json"];
  const { stdout, stderr } = await espalier(...line);
  const { ids, ended } = JSON.parse(stdout) as { readonly ids: readonly number[]; readonly ended: string };
  assert.is(ended, "length");
  assert.not.match(stderr, /note:/);
  writeFileSync(join(model, "generation_config.json"), JSON.stringify({ eos_token_id: ids.at(-1) }));
  const silent = await espalier(...line);
  assert.is(silent.code, 0, silent.stderr);
  assert.match(silent.stdout, /"newTokens": 0,\n "ended": "eos"/);
  assert.match(
    silent.stderr,
    /^note: there is no text to show: the first new token that the model chose is one that ends/m,
  );
});

warnings("check says what of a model its config leaves out", async () => {
  const lying = join(folder.path, "lying");
  cpSync(projectFile("test/data/architectures/llama-biased"), lying, { recursive: true });
  const config = JSON.parse(readFileSync(join(lying, "config.json"), "utf8")) as object;
  writeFileSync(join(lying, "config.json"), JSON.stringify({ ...config, attention_bias: false }));
  const { code, stderr } = await espalier("check", recipe, "--model", lying);
  assert.is(code, 0);
  assert.match(stderr, /^warning: 8 tensors have no place in a Llama .*`model\.layers\.0\.self_attn\.k_proj\.bias`/m);
});

warnings.run();
