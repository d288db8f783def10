/**
 * Fine-tuning of a dense model and of the same in 2:4, by one recipe and the same settings, on problems with solutions
 * (GSM8K): what the sparse one keeps.
 *
 *   npm run build && node bench/finetune.mjs --dense MODEL [--sparse MODEL] --train train.jsonl --test test.jsonl --out DIR
 *     [--text mix.txt[=WEIGHT]... --recover-steps 300] [--epochs 2] [--rate 5e-5] [--batch 16] [--window 512]
 *     [--group 64] [--limit N] [--max-tokens 256] [--only dense,2:4,int4] [--device gpu]
 *
 * `--sparse` is a model in 2:4; without it, one is made of the dense model by `recovered-2of4` on `--text`. Each is
 * fine-tuned (`finetuned`, `finetuned-2of4`, and `finetuned-2of4-int4` of the same sparse model), then scored on the
 * test problems: perplexity of the reference solutions, and exact match of the final number by greedy decoding.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { discordance, recoveries } from "../dist/runtime/llama/tasks/paired.js";

const { values: options } = parseArgs({
  options: {
    dense: { type: "string" },
    sparse: { type: "string" },
    train: { type: "string" },
    test: { type: "string" },
    out: { type: "string" },
    text: { type: "string", multiple: true, default: [] },
    "recover-steps": { type: "string", default: "300" },
    epochs: { type: "string", default: "2" },
    rate: { type: "string", default: "5e-5" },
    batch: { type: "string", default: "16" },
    window: { type: "string", default: "512" },
    group: { type: "string", default: "64" },
    limit: { type: "string" },
    "max-tokens": { type: "string", default: "256" },
    only: { type: "string", default: "dense,2:4,int4" },
    device: { type: "string", default: "gpu" },
  },
});
for (const name of ["dense", "train", "test", "out"])
  if (options[name] === undefined) throw new Error(`--${name} is needed; the head of this file tells how it is called`);

const main = fileURLToPath(new URL("../dist/bundle/main.js", import.meta.url));

/** Runs a command; its document. */
function espalier(...args) {
  const whole = [main, ...args, "--device", options.device, "--json"];
  return JSON.parse(execFileSync(process.execPath, whole, { stdio: ["ignore", "pipe", "pipe"], maxBuffer: 2 ** 28 }));
}

function compress(recipe, model, out, texts, set) {
  if (existsSync(out)) return null;
  const { seconds, deviceBytesPeak } = espalier(
    ...["compress", recipe, "--model", model, "--out", out, "--window", options.window],
    ...texts.flatMap((text) => ["--text", text]),
    ...set.flatMap((each) => ["--set", each]),
  );
  console.log(
    `${recipe}: ${seconds.toFixed(0)} s, ${(deviceBytesPeak / 2 ** 30).toFixed(2)} GiB of the device's memory`,
  );
  return seconds;
}

const out = (name) => join(options.out, name);
const wanted = new Set(options.only.split(","));
let { sparse } = options;
if (sparse === undefined && (wanted.has("2:4") || wanted.has("int4"))) {
  sparse = out("recovered");
  compress("recovered-2of4", options.dense, sparse, options.text, [`steps=${options["recover-steps"]}`]);
}
const settings = [`epochs=${options.epochs}`, `rate=${options.rate}`, `batch=${options.batch}`];
const models = [
  { name: "dense", recipe: "finetuned", from: options.dense, set: settings },
  { name: "2:4", recipe: "finetuned-2of4", from: sparse, set: settings },
  { name: "int4", recipe: "finetuned-2of4-int4", from: sparse, set: [...settings, `group=${options.group}`] },
].filter(({ name }) => wanted.has(name));

const limits = options.limit === undefined ? [] : ["--limit", options.limit];
const found = [];
for (const { name, recipe, from, set } of models) {
  const model = out(recipe);
  compress(recipe, from, model, [options.train], set);
  const { perplexity } = espalier("eval", "--model", model, "--text", options.test, "--window", options.window);
  const { exactMatch } = espalier(
    ...["eval", "--model", model, "--exact-match", options.test, "--max-tokens", options["max-tokens"]],
    ...["--solutions", `${model}.jsonl`, ...limits],
  );
  const { accuracy, standardError, correct, problems, withoutNumber, newTokens, seconds } = exactMatch;
  found.push({ name, right: exactMatch.right });
  console.log(
    `${name}: perplexity of the solutions ${perplexity.toFixed(4)}, exact match ${(100 * accuracy).toFixed(2)} +- ${(100 * standardError).toFixed(2)}% (${correct} of ${problems}; ${withoutNumber} without a number), ${newTokens} tokens in ${seconds.toFixed(0)} s`,
  );
}
const [dense, ...others] = found;
if (dense?.name === "dense")
  for (const { name, right } of others) {
    const pairs = right.map((each, at) => [dense.right[at], each]);
    const probability = `p = ${discordance(pairs).probability.toFixed(4)}`;
    const solved = dense.right.filter(Boolean).length;
    if (solved === 0) {
      // there is nothing that a share could be of
      const own = right.filter(Boolean).length;
      console.log(
        `${name} over dense: ${own} against 0 of ${pairs.length} exact matches, no share to tell; ${probability}`,
      );
      continue;
    }
    const { value, interval } = recoveries([pairs]).mean;
    const percent = (share) => (100 * share).toFixed(1);
    console.log(
      `${name} over dense: ${percent(value)}% of the exact matches (95%: ${percent(interval.low)} to ${percent(interval.high)}), ${probability}`,
    );
  }
