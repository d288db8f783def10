/**
 * What other tools make of exported models, held to what Espalier makes of them: a table in Markdown.
 *
 *   node bench/clients/formats/run.mjs --python ENV/bin/python [--old-python ENV/bin/python] [--node FOLDER] \
 *     [--windows 8] [DIR...] > results.md
 *
 * README.md says what the environments hold. Models are made in a temporary folder; each DIR is one more to export.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..", "..");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string" },
    "old-python": { type: "string" },
    node: { type: "string" },
    windows: { type: "string", default: "8" },
  },
});
const example = join(root, "examples", "classics-3.7m");
const text = join(example, "eval.txt");
const work = mkdtempSync(join(tmpdir(), "espalier-clients-"));

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${args.join(" ")}: ${stderr.slice(-500)}`);
  return stdout;
}
const espalier = (...args) => run(process.execPath, [join(root, "dist", "bundle", "main.js"), ...args]);

/** Our perplexity: activations in f32, nothing rounded but weights. */
function ours(model) {
  const how = ["--device", "cpu", "--dtype", "f32", "--activations", "f16", "--limit", values.windows, "--json"];
  return JSON.parse(espalier("eval", "--model", model, "--text", text, ...how)).perplexity;
}

/** Tools that did not run. */
const broken = [];

/** What a tool prints for paths: lines of JSON among others. */
function theirs(kind, paths) {
  const command = { python: values.python, old: values["old-python"], llama: process.execPath }[kind];
  if (command === undefined || paths.length === 0 || (kind === "llama" && values.node === undefined)) return [];
  const script = kind === "llama" ? [join(here, "llama.mjs"), values.node] : [join(here, "checkpoint.py")];
  let printed = "";
  try {
    printed = run(command, [...script, text, values.windows, ...paths]);
  } catch (error) {
    // what one tool lacks is told at the end: the others are heard all the same
    process.stderr.write(`${error.message}\n`);
    broken.push(kind);
  }
  return printed
    .split("\n")
    .filter((line) => line.startsWith('{"path"'))
    .map((line) => JSON.parse(line));
}

function compressed(recipe, ...settings) {
  const out = join(work, recipe);
  espalier("compress", recipe, "--model", example, "--out", out, "--device", "cpu", ...settings);
  return out;
}

/** A model, and what it is exported to: the target and further options. */
const exports = [
  ["dense bf16", example, ["safetensors"], ["gguf"], ["gguf", "--type", "q8_0", "--requantize"]],
  ["", example, ["gguf", "--type", "q4_0", "--embedding-type", "q6_k", "--requantize"]],
  ["", example, ["gguf", "--type", "q4_k", "--embedding-type", "q6_k", "--requantize"]],
  ["", example, ["gguf", "--type", "q6_k", "--embedding-type", "q6_k", "--requantize"]],
  ["", example, ["safetensors", "--max-shard-size", "2MB"]],
  ["int4(128)", compressed("int4"), ["safetensors"], ["compressed-tensors"], ["gptq"], ["awq"], ["gguf"]],
  [
    "int4(128, asymmetric)",
    compressed("int4-asymmetric"),
    ["compressed-tensors"],
    ["gptq"],
    ["awq"],
    ["gguf", "--requantize"],
    ["gguf", "--type", "q8_0"],
  ],
  ["int8(128)", compressed("int8"), ["compressed-tensors"], ["gptq"], ["gguf"]],
  ["int3(64)", compressed("gptq-int3", "--windows", "4"), ["gptq"], ["safetensors"], ["gguf"]],
  [
    "2:4 of int4(128)",
    join(root, "examples", "classics-3.7m-recovered"),
    ["compressed-tensors"],
    ["gptq"],
    ["gguf", "--type", "q4_0"],
  ],
  ["2:4 of bf16", compressed("magnitude-2of4"), ["safetensors"], ["sparse-24-bitmask"]],
  ["bitmask of f16", compressed("unstructured"), ["safetensors"], ["sparse-bitmask"]],
  ...positionals.map((path) => [path.split("/").at(-1), path, ["safetensors"], ["compressed-tensors"], ["gptq"]]),
];

const rows = [];
for (const [name, model, ...targets] of exports) {
  const own = ours(model);
  for (const [to, ...options] of targets) {
    const path = join(work, `${rows.length}${to === "gguf" ? ".gguf" : ""}`);
    try {
      espalier("export", model, "--to", to, "--out", path, ...options);
    } catch (error) {
      rows.push({ name, to: [to, ...options].join(" "), path, error: String(error.message).slice(0, 120) });
      continue;
    }
    const rounded = options.includes("--requantize");
    rows.push({ name, to: [to, ...options].join(" "), path, ours: rounded ? ours(path) : own });
    process.stderr.write(`${name} as ${to}\n`);
  }
}
const made = rows.filter(({ error }) => error === undefined).map(({ path }) => path);
const isSparse = (path) => rows.find((row) => row.path === path).to.startsWith("sparse-");
const found = [
  ...theirs(
    "python",
    made.filter((path) => !isSparse(path)),
  ),
  ...theirs("old", made.filter(isSparse)),
  ...theirs(
    "llama",
    made.filter((path) => path.endsWith(".gguf")),
  ),
];
/** What a tool refuses by itself, in its words: known, and no fault of the files. */
const knownRefusals = [
  { to: "compressed-tensors", says: /actorder='group' has been removed/, why: "groups by activation, since 0.19" },
];
console.log(`| model | export | read by | perplexity of theirs | ours | difference |`);
console.log("|---|---|---|---|---|---|");
let failed = 0;
for (const { name, to, path, ours: own, error } of rows) {
  const readers = found.filter((each) => each.path === path);
  if (readers.length === 0) console.log(`| ${name} | ${to} | | ${error ?? "not run"} | ${own?.toFixed(4) ?? ""} | |`);
  for (const { loader, perplexity, error: problem } of readers) {
    const known = knownRefusals.find((each) => each.to === to && problem !== undefined && each.says.test(problem));
    if (known !== undefined) {
      console.log(`| ${name} | ${to} | | refused by the library itself, known: ${known.why} | ${own.toFixed(4)} | |`);
      continue;
    }
    const difference = Math.abs(perplexity / own - 1);
    const limit = loader === "llama.cpp" ? 0.01 : 0.001;
    if (!(difference <= limit)) failed++;
    console.log(
      `| ${name} | ${to} | ${loader ?? ""} | ${problem?.replace(/\s+/g, " ") ?? perplexity.toFixed(4)} | ${own.toFixed(4)} | ${problem === undefined ? `${(100 * difference).toFixed(4)}%` : "failed"} |`,
    );
  }
}
rmSync(work, { recursive: true, force: true });
process.exitCode = failed === 0 && broken.length === 0 ? 0 : 1;
