/**
 * What a correction of low rank gives back: perplexity and bits a weight of a model in 2:4 and 4 bits, with and without
 * one beside each weight.
 *
 *   npm run build && node bench/lowrank.mjs --model MODEL --text calibration.txt --eval text.txt --out DIR
 *     [--only wanda,wanda+slim,wanda+eora,gptq,gptq+eora,gptq+eora+trained] [--rank 32] [--group 64] [--windows 128]
 *     [--window 512] [--limit N] [--steps 150] [--rate 1e-3] [--batch 32] [--device gpu]
 *
 * wanda: a mask by Wanda, and scales of least squared error; gptq: SparseGPT, and GPTQ that keeps the mask; slim, eora:
 * the corrections of the module `lowrank`; trained: its factors by KL to the dense model, on `--text`, the packed weights
 * fixed. Each line says what the factors take: bits a weight with them.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    text: { type: "string" },
    eval: { type: "string" },
    out: { type: "string" },
    only: { type: "string", default: "wanda,wanda+slim,wanda+eora,gptq,gptq+eora,gptq+eora+trained" },
    rank: { type: "string", default: "32" },
    group: { type: "string", default: "64" },
    windows: { type: "string", default: "128" },
    window: { type: "string", default: "512" },
    limit: { type: "string" },
    steps: { type: "string", default: "150" },
    rate: { type: "string", default: "1e-3" },
    batch: { type: "string", default: "32" },
    device: { type: "string", default: "gpu" },
  },
});
for (const name of ["model", "text", "eval", "out"])
  if (options[name] === undefined) throw new Error(`--${name} is needed; the head of this file tells how it is called`);

const main = fileURLToPath(new URL("../dist/bundle/main.js", import.meta.url));

/** Runs a command; its document. */
function espalier(...args) {
  const whole = [main, ...args, "--device", options.device, "--json"];
  return JSON.parse(execFileSync(process.execPath, whole, { stdio: ["ignore", "pipe", "pipe"], maxBuffer: 2 ** 28 }));
}

const bases = {
  wanda: `let squares[k] = h[k, k]
      let q = w where mask_2of4(wanda(w, squares))
      let packed = pack q as nm(2, 4) of int4(group) with scale int4_search(q, group)`,
  gptq: `let u = inverse_factor(h)
      let sparse, keep = sparsegpt(without_dead(w, x2[w]), u, 2, 4)
      let q, s = gptq_kept_search(sparse, u, keep, group, -8.0, 7.0)
      let packed = pack q where keep as nm(2, 4) of int4(group) with scale s`,
};
const corrections = {
  slim: "let a, b = slim(w, unpack packed, size[w], rank)",
  eora: "let a, b = eora(w, unpack packed, h, rank)",
};

/** The recipe of a variant, `gptq+eora+trained`. */
function recipeOf(variant) {
  const [base, correction, trained] = variant.split("+");
  const size = correction === "slim" ? "let size = observe block on text by feature_magnitudes\n    " : "";
  const last =
    correction === undefined
      ? "store w as packed"
      : `${corrections[correction]}\n      store w as packed plus lowrank(a, b)`;
  const training = `
  train model on text by kl(steps: ${options.steps}, rate: ${options.rate}, warmup: 20, batch: ${options.batch}, norms: false, held_out: 0.01) {
    for w in model.linears { store w as w.packed plus lowrank(w.left, w.right) }
  }`;
  return `use statistics, solve, prune, sparsegpt, gptq, quantize, lowrank, train

recipe measured(model: llama, text: tokens, group = ${options.group}, rank = ${options.rank}, damp = 0.01) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    ${size}for w in block.linears {
      let h = damped(hessian(x2[w], windows(text)), damp)
      ${bases[base]}
      ${last}
    }
  }${trained === undefined ? "" : training}
}
`;
}

mkdirSync(options.out, { recursive: true });
const limit = options.limit === undefined ? [] : ["--limit", options.limit];
const scored = (model) =>
  espalier("eval", "--model", model, "--text", options.eval, "--window", options.window, ...limit);
const row = (...cells) => console.log(`| ${cells.join(" | ")} |`);
row("", "bits a weight", "perplexity", "layer error", "seconds", "device memory, GiB");
row("---", "---", "---", "---", "---", "---");
row("dense", 16, scored(options.model).perplexity.toFixed(3), "", "", "");
for (const variant of options.only.split(",")) {
  const recipe = join(options.out, `${variant}.esp`);
  writeFileSync(recipe, recipeOf(variant));
  const out = join(options.out, variant);
  try {
    const { tensors, seconds, deviceBytesPeak } = espalier(
      ...["compress", recipe, "--model", options.model, "--text", options.text, "--out", out, "--force"],
      ...["--window", options.window, "--windows", options.windows],
    );
    // all layers count as their weights do
    const weights = tensors.map(({ bytes, bitsPerWeight }) => (8 * bytes) / bitsPerWeight);
    const all = weights.reduce((sum, each) => sum + each, 0);
    const bits = tensors.reduce((sum, { bitsPerWeight }, at) => sum + bitsPerWeight * weights[at], 0) / all;
    const errors = tensors.map(({ layerError }) => layerError).filter((error) => error !== null);
    const error = errors.reduce((sum, each) => sum + each, 0) / Math.max(1, errors.length);
    const { perplexity } = scored(out);
    row(
      variant,
      bits.toFixed(3),
      perplexity.toFixed(3),
      error.toFixed(4),
      seconds.toFixed(1),
      (deviceBytesPeak / 2 ** 30).toFixed(2),
    );
  } catch (error) {
    row(
      variant,
      "failed:",
      String(error.stderr ?? error)
        .trim()
        .split("\n")
        .at(-1),
      "",
      "",
      "",
    );
  }
}
