/**
 * 2:4 masks that are learned, block by block, beside those of SparseGPT: perplexity, seconds and GPU memory.
 *
 *   npm run build && node bench/masks.mjs --model MODEL --text calibration.txt --score test.txt
 *     [--only masks,weights,both] [--window 512] [--windows 128] [--epochs 8] [--rate 1e-3] [--mask-epochs 4]
 *     [--mask-rate 0.05] [--strength 3] [--noise 1] [--from sparsegpt] [--batch 8] [--seed 0] [--device gpu]
 *
 * `--from`: what is chosen among, where a mask is learned: the weights that SparseGPT left, or all of the dense model's.
 * `sparsegpt`: nothing is trained; `weights`: the kept weights under SparseGPT's mask; `masks`: the masks alone, from
 * SparseGPT's; `both`: masks, then weights. One row each. The same seed draws the same noise.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    text: { type: "string" },
    score: { type: "string" },
    only: { type: "string", default: "sparsegpt,weights,masks,both" },
    window: { type: "string", default: "512" },
    windows: { type: "string", default: "128" },
    epochs: { type: "string", default: "8" },
    rate: { type: "string", default: "1e-3" },
    "mask-epochs": { type: "string", default: "4" },
    "mask-rate": { type: "string", default: "0.05" },
    strength: { type: "string", default: "3" },
    noise: { type: "string", default: "1" },
    from: { type: "string", default: "sparsegpt" },
    batch: { type: "string", default: "8" },
    seed: { type: "string", default: "0" },
    device: { type: "string", default: "gpu" },
  },
});
for (const name of ["model", "text", "score"])
  if (options[name] === undefined) throw new Error(`--${name} is needed; the head of this file tells how it is called`);

const number = (text) => (/[.e]/.test(text) ? String(Number(text)) : `${text}.0`);
const learned = `
    train block on text by block_error(epochs: ${options["mask-epochs"]}, rate: ${options["mask-rate"]}, batch: ${options.batch}, seed: ${options.seed}, held_out: 0.02, norms: false) {
      for w in block.linears {
        ${options.from === "dense" ? "let whole = w.dense" : "let whole[n, k] = select(w.start[n, k] == 0.0, w.dense[n, k], w.start[n, k])"}
        let logits = parameter(prior_logits(w.start, ${number(options.strength)}))
        let drawn = explored(logits, ${number(options.noise)}, ${options.seed}, w.step, w.steps, w.number)
        store w as pack chosen(whole, drawn, 2.0 * 0.05^(w.step / w.steps)) as nm(2, 4) of f16
      }
    }`;
const weights = `
    train block on text by block_error(epochs: ${options.epochs}, rate: ${options.rate}, batch: ${options.batch}, seed: ${options.seed}, held_out: 0.02) {
      for w in block.linears {
        store w as pack w where mask_2of4(magnitude(w.start)) as nm(2, 4) of f16
      }
    }`;
const bodies = { sparsegpt: "", weights, masks: learned, both: `${learned}${weights}` };

const main = fileURLToPath(new URL("../dist/bundle/main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "espalier-masks-"));

/** Runs a command; its document. */
function espalier(...args) {
  const whole = [main, ...args, "--device", options.device, "--json"];
  return JSON.parse(
    execFileSync(process.execPath, whole, { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 }),
  );
}

try {
  for (const name of options.only.split(",")) {
    const recipe = join(folder, `${name}.esp`);
    writeFileSync(
      recipe,
      `use statistics, prune, solve, sparsegpt, train, masks
recipe tried(model: llama, text: tokens) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears {
      let u = walk_factor(x2[w], windows(text), 0.01)
      let sparse, _keep = sparsegpt(without_dead(w, x2[w]), u, 2, 4)
      store w as pack sparse as nm(2, 4) of f16
    }${bodies[name]}
  }
}
`,
    );
    const out = join(folder, name);
    const made = espalier(
      ...["compress", recipe, "--model", options.model, "--out", out, "--text", options.text],
      ...["--window", options.window, "--windows", options.windows],
    );
    const scored = espalier("eval", "--model", out, "--text", options.score, "--window", options.window);
    const last = made.trainings?.at(-1);
    console.log(
      [
        name.padEnd(10),
        `perplexity ${scored.perplexity.toFixed(3)}`,
        `${made.seconds.toFixed(0)} s`,
        `${(made.deviceBytesPeak / 2 ** 30).toFixed(2)} GiB`,
        ...(last === undefined
          ? []
          : [
              `last block: held out ${last.watched[0].loss.toPrecision(3)} to ${last.best.loss.toPrecision(3)}`,
              `${made.trainings.filter(({ best }) => best.step === 0).length} of ${made.trainings.length} trainings gave nothing`,
            ]),
      ].join("  "),
    );
    rmSync(out, { recursive: true });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
