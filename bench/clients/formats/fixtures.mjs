/**
 * Checkpoints that other tools have written, with the perplexity that their libraries give, held to ours: a table in
 * Markdown.
 *
 *   node bench/clients/formats/fixtures.mjs FOLDER [--skip-perplexity] [--again] > fixtures.md
 *
 * FOLDER has a directory for each checkpoint with `expected.json` in it, or GGUF files with `expected-NAME.json` beside
 * them, of examples/classics-3.7m. Perplexity is that of all 64 windows on the CPU driver, in f32. Each is then compressed
 * by a recipe that leaves values as they are (one layer becomes f32, the others stay packed), and exported back to its own
 * format where there is one; `--again` scores what comes of both, too. Ends with 1 where a perplexity is off by more than
 * 0.01%, or a value differs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "skip-perplexity": { type: "boolean", default: false }, again: { type: "boolean", default: false } },
});
const text = join(root, "examples", "classics-3.7m", "eval.txt");
const work = mkdtempSync(join(tmpdir(), "espalier-fixtures-"));
const recipe = join(work, "keep.esp");
writeFileSync(
  recipe,
  `recipe keep(model: llama) {
  for w in model.linears matching "model.layers.0.self_attn.v_proj" { store w as pack w as f32 }
}
`,
);

function espalier(allowed, ...args) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, "dist", "bundle", "main.js"), ...args, "--json"],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  if (!allowed.includes(status)) throw new Error(`${args.join(" ")}: ${stderr.slice(-800)}`);
  return JSON.parse(stdout);
}

function perplexity(model) {
  const how = ["--device", "cpu", "--dtype", "f32", "--activations", "f16", "--limit", "64"];
  return espalier([0], "eval", "--model", model, "--text", text, ...how).perplexity;
}

/** Tensors whose values differ. */
function differing(one, other) {
  const { tensors, onlyFirst, onlySecond, shapes } = espalier([0, 1], "diff", one, other);
  return tensors.filter(({ count }) => count > 0).length + onlyFirst.length + onlySecond.length + shapes.length;
}

/** What `inspect` says: the formats of the linear layers and of the embedding, in the containers they were in. */
function found(model) {
  const { quantization, tensors, bitsPerWeight } = espalier([0], "inspect", model);
  const counts = new Map();
  for (const { name, format, pattern } of tensors)
    if (name.includes("_proj") || name.includes("embed")) {
      const key = `${name.includes("embed") ? "embedding " : ""}${format.replace(/nonzeros: \d+/, "nonzeros: ...")}${format.startsWith("nm") || pattern === "full" ? "" : ` (${pattern})`}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  const ways = quantization?.layers.map(({ container, what, count }) => `${count} ${container} (${what})`) ?? [];
  const dense = quantization?.dense.length ?? 0;
  return {
    ways: [...ways, ...(dense > 0 ? [`${dense} as they are`] : [])].join(", "),
    formats: [...counts].map(([key, count]) => (key.startsWith("embedding") ? key : `${count} ${key}`)).join(", "),
    bits: bitsPerWeight.toFixed(3),
  };
}

/** The format to export back to, with options. */
function target(path, config) {
  if (path.endsWith(".gguf")) return ["gguf"];
  const { quant_method: method, format, sparsity_config: sparsity } = config.quantization_config ?? {};
  if (method === "gptq" || method === "awq") return [method];
  if (format === "marlin-24") return ["marlin-24"];
  if (format !== undefined && format !== "dense") return ["compressed-tensors"];
  return [sparsity === undefined ? "safetensors" : sparsity.format];
}

const fixtures = positionals.flatMap((folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (existsSync(join(path, "expected.json"))) return [{ path, expected: join(path, "expected.json") }];
    if (name !== "gguf") return [];
    return readdirSync(path)
      .filter((file) => file.endsWith(".gguf"))
      .map((file) => ({ path: join(path, file), expected: join(path, `expected-${file.slice(0, -5)}.json`) }));
  }),
);
console.log(
  "| fixture | found | formats | bits a weight | expected | ours | off | compressed: tensors that differ | exported back as | differ |",
);
console.log("|---|---|---|---|---|---|---|---|---|---|");
let failed = 0;
for (const [at, { path, expected: file }] of fixtures.entries()) {
  const expected = JSON.parse(readFileSync(file, "utf8"));
  // scales widened to f32 first, where that differs
  const figure = expected.float32_scales?.perplexity ?? expected.perplexity;
  const { ways, formats, bits } = found(path);
  const out = join(work, `${at}`);
  espalier([0], "compress", recipe, "--model", path, "--out", out, "--device", "cpu");
  const config = path.endsWith(".gguf") ? {} : JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
  const [to, ...options] = target(path, config);
  const back = join(work, `${at}-back${to === "gguf" ? ".gguf" : ""}`);
  let exported = to;
  try {
    espalier([0], "export", out, "--to", to, "--out", back, ...options);
  } catch (error) {
    exported = `${to}: ${
      String(error.message)
        .match(/error\[\w+\]: (.*)/)?.[1]
        ?.slice(0, 120) ?? error.message
    }`;
  }
  const kept = differing(path, out);
  const same = existsSync(back) ? differing(path, back) : null;
  if (kept !== 0 || same !== 0) failed++;
  const scores = values["skip-perplexity"] ? [] : [path, ...(values.again ? [out, back] : [])].map(perplexity);
  const off = scores.map((score) => Math.abs(score / figure - 1));
  if (off.some((each) => !(each <= 1e-4))) failed++;
  console.log(
    `| ${basename(path)} | ${ways} | ${formats} | ${bits} | ${figure.toFixed(4)} | ${scores.map((score) => score.toFixed(4)).join(", ")} | ${off.map((each) => `${(100 * each).toFixed(4)}%`).join(", ")} | ${kept} | ${exported} | ${same ?? "not written"} |`,
  );
  process.stderr.write(`${basename(path)}\n`);
}
rmSync(work, { recursive: true, force: true });
process.exitCode = failed === 0 ? 0 : 1;
