import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "../support/project.js";
import { classics, espalier, temporaryFolder } from "./support.js";

const usage = suite("usage");
const folder = temporaryFolder();
usage.after(() => folder.remove());

usage("help lists the commands and ends with 0", async () => {
  const { code, stdout } = await espalier("--help");
  assert.is(code, 0);
  for (const command of [
    "compare",
    "check",
    "compile",
    "fmt",
    "new",
    "lsp",
    "run",
    "compress",
    "generate",
    "chat",
    "eval",
    "inspect",
    "bench",
    "tune",
    "devices",
  ])
    assert.match(stdout, new RegExp(`^ {2}${command} `, "m"));
});

const wrong: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["an unknown command", ["compres"], /unknown command 'compres'/],
  ["a mistyped command", ["compres"], /Did you mean compress\?/],
  ["a mistyped option", ["eval", "--model", classics, "--text", "x", "--limt", "3"], /Did you mean --limit\?/],
  [
    "a mistyped example",
    ["compress", "bestt", "--model", classics, "--out", "never", "--json"],
    /there is no recipe bestt: .*; did you mean `best`\?/,
  ],
  [
    "a mistyped treatment",
    ["sensitivity", "--model", classics, "--text", "x", "--treatments", "int44", "--json"],
    /there is no recipe int44: .*; did you mean `int4`\?/,
  ],
  ["a missing option", ["eval", "--text", "x"], /required option '--model <path>'/],
  ["nothing to score", ["eval", "--model", classics, "--json"], /something to score: --text FILE, --tasks FILE\.\.\./],
  ["nothing to compare by", ["compare", classics, classics, "--json"], /something to compare by: --tasks FILE/],
  [
    "an option that takes other values",
    ["eval", "--model", classics, "--text", "x", "--device", "tpu", "--json"],
    /Allowed choices are auto, gpu, cpu/,
  ],
  [
    "a list of nothing",
    ["sensitivity", "--model", classics, "--text", "x", "--treatments", ",", "--json"],
    /Expected recipes with commas between/,
  ],
  ["no prompt", ["generate", "--model", classics, "--json"], /a prompt is wanted: --prompt TEXT, --prompt-file FILE/],
  [
    "a prompt twice",
    ["generate", "--model", classics, "--prompt", "x", "--prompt-file", "y", "--json"],
    /a prompt is given twice/,
  ],
  [
    "samples that would all be the same",
    ["generate", "--model", classics, "--prompt", "x", "--n", "2", "--json"],
    /all samples are the same: give a temperature/,
  ],
  [
    "a system prompt without a conversation",
    ["generate", "--model", classics, "--prompt", "x", "--system", "y", "--json"],
    /give --chat, too/,
  ],
  [
    "a stop string of 10 kB",
    ["generate", "--model", classics, "--prompt", "x", "--stop", "y".repeat(10_000), "--json"],
    /Expected at most 1024 characters, found 10000/,
  ],
  [
    "a bias that is none",
    ["generate", "--model", classics, "--prompt", "x", "--logit-bias", "3", "--json"],
    /Expected the id of a token and a number from -100 to 100/,
  ],
  ["peers without a plot", ["bench", "--peers", "x.json", "--json"], /--peers belongs to --plot/],
  ["nothing to tune for", ["tune", "--json"], /Either --model or --model-shape/],
  [
    "a number out of range",
    ["generate", "--model", classics, "--prompt", "x", "--top-p", "0"],
    /Expected a number above 0, at most 1/,
  ],
];
for (const [name, args, message] of wrong) {
  usage(`${name} ends with 2`, async () => {
    const { code, stdout, stderr } = await espalier(...args);
    assert.is(code, 2);
    assert.match(stderr, message);
    if (args.includes("--json"))
      assert.match((JSON.parse(stdout) as { error: { message: string } }).error.message, message);
    else assert.is(stdout, "");
  });
}

usage("check --model tells all that does not fit the model, and --set what is checked", async () => {
  const file = folder.write(
    "selects.esp",
    `use quantize
recipe a(model: llama, group = 96) {
  for w in model.linears matching "*.q_prj" { store w as pack w as int4(group) with scale int4_scale(w, group) }
  for w in model.linears { store w as pack w as int4(group) with scale int4_scale(w, group) }
}
`,
  );
  const given = await espalier("check", file, "--model", classics);
  assert.is(given.code, 1);
  assert.match(given.stdout, /error\[E605\]: "\*\.q_prj" matches no linear layer of the model\n.*selects\.esp:3:35/);
  assert.match(given.stdout, /did you mean `"\*\.q_proj"`\?/);
  assert.match(given.stdout, /error\[E404\]: K = 256 is not a multiple of 96.*\n.*selects\.esp:4:72/);
  assert.match(given.stdout, /`group` is 96, and 64, 128 and 256 fit/);
  const set = await espalier("check", file, "--model", classics, "--set", "group=128", "--json");
  assert.is(set.code, 1);
  const { diagnostics } = JSON.parse(set.stdout) as { diagnostics: readonly { code: string }[] };
  assert.equal(
    diagnostics.map(({ code }) => code),
    ["E605"],
  );
});

usage("check --model tells what a training leaves, and refuses what it stores twice", async () => {
  const recipe = (loops: string): string =>
    `use prune, train\nrecipe a(model: llama, text: tokens) {\n  train model on text by kl(steps: 1, rate: 1e-4) {\n${loops}  }\n}\n`;
  const store = "{ store w as pack w where mask_2of4(magnitude(w.start)) as nm(2, 4) of f16 }";
  const some = folder.write("some.esp", recipe(`    for w in model.linears matching "up_proj" ${store}\n`));
  const left = await espalier("check", some, "--model", classics);
  assert.is(left.code, 0, left.stdout);
  assert.match(left.stderr, /note: The training leaves 24 of 28 layers as they are, such as model\.layers\.0\./);
  const twice = folder.write(
    "twice.esp",
    recipe(`    for w in model.linears ${store}\n    for w in model.linears matching "*.mlp.*" ${store}\n`),
  );
  const refused = await espalier("check", twice, "--model", classics);
  assert.is(refused.code, 1);
  assert.match(
    refused.stdout,
    /error\[E605\]: a training stores a layer once, and two of its loops store model\.layers\.0\.mlp\.\w+, and 11 more/,
  );
  assert.match(refused.stdout, /twice\.esp:5:/);
});

usage("check tells of the files also where the model cannot be read, and takes examples", async () => {
  const { code, stdout, stderr } = await espalier("check", "best", "bestt", "--model", "nowhere", "--json");
  assert.is(code, 1);
  const { diagnostics, error } = JSON.parse(stdout) as {
    diagnostics: readonly { code: string; help: string }[];
    error: { code: string };
  };
  assert.equal(
    diagnostics.map(({ code, help }) => [code, help]),
    [["E204", "did you mean `best`?"]],
  );
  assert.is(error.code, "M100");
  assert.match(stderr, /nowhere/);
});

usage("check prints diagnostics and ends with 1; with none, 0", async () => {
  const bad = folder.write("bad.esp", "fn f(x: f32[N]) -> f32[N] {\n  return y where y[n] = z[n]\n}\n");
  const found = await espalier("check", "--json", bad, "examples/mixed.esp");
  assert.is(found.code, 1);
  const { diagnostics } = JSON.parse(found.stdout) as {
    diagnostics: readonly { severity: string; labels: readonly { span: { file: string } }[] }[];
  };
  assert.ok(diagnostics.length > 0);
  for (const { labels } of diagnostics) assert.is(labels[0]?.span.file, bad);
  const clean = await espalier("check", "--json", "examples/mixed.esp", "examples/int4.esp");
  assert.is(clean.code, 0, clean.stdout);
  assert.equal(JSON.parse(clean.stdout), { diagnostics: [] });
});

usage("compile takes sizes, dtypes and formats together and one by one", async () => {
  const file = folder.write(
    "scale.esp",
    "fn scale(x: f32[N, K], w: f32[M, K] as F) -> f32[N, M] {\n  return y where y[n, m] = 2.0 * sum[k] x[n, k] * w[m, k]\n}\n",
  );
  const { code, stdout, stderr } = await espalier(
    "compile",
    file,
    "--emit",
    "wgsl",
    "--size",
    "N=3",
    "K=256",
    "--size",
    "M=5",
    "--size",
    "F=int4(128)",
  );
  assert.is(code, 0, stderr);
  assert.match(stdout, /@compute/);
  const without = await espalier("compile", file, "--size", "N=3");
  assert.is(without.code, 2);
  assert.match(without.stderr, /--size K=\.\.\. M=\.\.\./);
});

usage("compile prints what a recipe does to a layer", async () => {
  const { code, stdout, stderr } = await espalier(
    "compile",
    "examples/int4.esp",
    "--emit",
    "plan",
    "--size",
    "N=8",
    "K=128",
    "--json",
  );
  assert.is(code, 0, stderr);
  assert.is((JSON.parse(stdout) as { version: number }).version, 1);
});

/** Whatever needs no device to be reported is reported without one. */
const refused: readonly (readonly [string, () => readonly string[], RegExp])[] = [
  [
    "a recipe with an error",
    () =>
      compress(
        folder.write(
          "open.esp",
          "recipe a(model: llama) {\n  for w in model.linears { store w as pack w as nm(2, 4 of f16 }\n}\n",
        ),
      ),
    /error\[E1\d\d\]/,
  ],
  [
    "packing what is not provably n:m",
    () =>
      compress(
        folder.write(
          "full.esp",
          "recipe a(model: llama) {\n  for w in model.linears { store w as pack w as nm(2, 4) of f16 }\n}\n",
        ),
      ),
    /error\[E502\].*nothing guarantees/,
  ],
  [
    "a pattern that matches no module",
    () =>
      compress(
        folder.write(
          "none.esp",
          'recipe a(model: llama) {\n  for w in model.linears matching "q_prj" { store w as pack w as f16 }\n}\n',
        ),
      ),
    /none\.esp:2:\d+[^]*did you mean `"q_proj"`/,
  ],
  [
    "columns that the group does not divide",
    () => compress("examples/int4.esp", "--set", "group=96"),
    /256 is not a multiple of 96/,
  ],
  ["a group that no format has", () => compress("examples/int4.esp", "--set", "group=100"), /multiple of 8.*is 100/],
  [
    "a group of no columns",
    () => compress("examples/int4.esp", "--set", "group=0"),
    /error\[E501\].*group of int4 must be a positive multiple of 8/,
  ],
  [
    "a format that there is not",
    () =>
      compress(
        folder.write(
          "int9.esp",
          "recipe a(model: llama) {\n  for w in model.linears { store w as pack w as int9(128) }\n}\n",
        ),
      ),
    /error\[E501\].*no format `int9`/,
  ],
  [
    "a parameter that is no number",
    () => compress("examples/gptq-int4.esp", "--set", "damp=little"),
    /error\[E210\].*`damp` is a number, and is set to `little`[^]*default is 0.01/,
  ],
  [
    "an unknown parameter",
    () => compress("examples/int4.esp", "--set", "grup=64"),
    /no parameter `grup`[^]*did you mean `group`/,
  ],
  [
    "a text that is empty",
    () => compress("examples/wanda-2of4.esp", "--text", folder.write("empty.txt", "\n")),
    /empty/,
  ],
  [
    "a text that is too short",
    () => compress("examples/wanda-2of4.esp", "--text", folder.write("short.txt", "Call me Ishmael.")),
    /needs 255/,
  ],
  [
    "more windows than the text has",
    () => compress("examples/wanda-2of4.esp", "--windows", "100000"),
    /has \d+ tokens, but 100000 windows of 256 need 25500000; it is enough for \d+/,
  ],
  [
    "a GGUF file that is cut short",
    () => [
      "inspect",
      folder.write("cut.gguf", readFileSync(projectFile("test/data/gguf/classics-1l-f16.gguf")).subarray(0, 100_000)),
    ],
    /error\[M164\].*ends at byte \d+ of the data, but the file holds[^]*fetch it again/,
  ],
  [
    "an output inside of the model",
    () => ["compress", "examples/int4.esp", "--model", classics, "--out", join(classics, "smaller")],
    /lies inside/,
  ],
  [
    "an output that exists",
    () => ["compress", "examples/int4.esp", "--model", classics, "--out", folder.path],
    /exists already[^]*--force/,
  ],
  [
    "a window beyond the context",
    () => ["eval", "--model", classics, "--text", join(classics, "eval.txt"), "--window", "600"],
    /context of 512/,
  ],
  [
    "a prompt longer than the context",
    () => ["generate", "--model", classics, "--prompt", "on and on ".repeat(400)],
    /context holds 512/,
  ],
];
for (const [name, args, message] of refused) {
  usage(`${name} is refused before a device is opened, and nothing is written`, async () => {
    const line = args();
    const before = [readdirSync(folder.path), readdirSync(classics)];
    const { code, stdout, stderr } = await espalier(...line);
    assert.is(code, 1, stderr);
    assert.match(stderr, message);
    assert.not.match(stderr, /computing on/);
    assert.is(stdout, "");
    assert.equal([readdirSync(folder.path), readdirSync(classics)], before);
    assert.not(existsSync(join(folder.path, "out")));
  });
}

function compress(recipe: string, ...more: readonly string[]): readonly string[] {
  return ["compress", recipe, "--model", classics, "--out", join(folder.path, "out"), ...more];
}

usage("a recipe by its name alone is that of an example", async () => {
  const out = join(folder.path, "named");
  const { code, stderr } = await espalier("compress", "best", "--model", classics, "--out", out, "--set", "group=7");
  assert.is(code, 1);
  assert.match(stderr, /E501[^]*examples\/best\.esp/);
  assert.match(
    (await espalier("compress", "no-such-recipe", "--model", classics, "--out", out)).stderr,
    /no-such-recipe/,
  );
});

usage.run();
