// What several devices are worth: `compress`, `sensitivity` and `generate --batch` on one of them and on all, from
// process start to end, and whether the results are the same to the byte.
//   node bench/several.mjs [DEVICES] [MODEL]
// DEVICES is what --devices takes, gpu:0,gpu:1 where it is left out; MODEL a directory with a calibration.txt, where it
// is left out one of SmolLM2-135M's shape with random weights (make-model.mjs).
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [devices = "gpu:0,gpu:1", given] = process.argv.slice(2);
const [first] = devices.split(",");
const folder = mkdtempSync(join(tmpdir(), "espalier-several-"));
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const model = given ?? join(folder, "model");
if (given === undefined)
  execFileSync(process.execPath, [here("make-model.mjs"), model, "30", "smollm2-135m"], { stdio: "ignore" });

/** Runs a command to its end, and gives what it took and its document. */
function run(args, on) {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [here("../dist/bundle/main.js"), ...args, ...on, "--json"],
    {
      encoding: "utf8",
      maxBuffer: 2 ** 28,
    },
  );
  if (status !== 0) throw new Error(`espalier ${args[0]} ${on.join(" ")} ended with ${status}: ${stderr}`);
  return { seconds: (performance.now() - started) / 1000, document: JSON.parse(stdout) };
}
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const digestOfFolder = (path) =>
  digest(
    readdirSync(path)
      .sort()
      .map((name) => `${name} ${digest(readFileSync(join(path, name)))}`)
      .join("\n"),
  );

const text = join(model, existsSync(join(model, "eval.txt")) ? "eval.txt" : "calibration.txt");
const prompts = join(folder, "prompts.jsonl");
const words = readFileSync(text, "utf8").split(/\s+/).slice(0, 4096);
const many = first.startsWith("cpu") ? 8 : 256;
writeFileSync(
  prompts,
  Array.from(
    { length: many },
    (_, at) =>
      `${JSON.stringify({ prompt: words.slice(8 * at, 8 * at + 8).join(" "), max_tokens: 64, seed: at, temperature: 1 })}\n`,
  ).join(""),
);
const windows = first.startsWith("cpu")
  ? ["--window", "256", "--windows", "16"]
  : ["--window", "1024", "--windows", "128"];
const works = {
  "compress sparsegpt-2of4": (on, name) => {
    const out = join(folder, name);
    const { seconds, document } = run(["compress", "sparsegpt-2of4", "--model", model, "--out", out, ...windows], on);
    const result = digestOfFolder(out);
    rmSync(out, { recursive: true });
    return { seconds, result, told: JSON.stringify(document.stageSeconds) };
  },
  "sensitivity --by kind": (on) => {
    const { seconds, document } = run(
      [
        "sensitivity",
        "--model",
        model,
        "--text",
        text,
        "--by",
        "kind",
        "--limit",
        "4",
        "--treatments",
        "magnitude-2of4,wanda-2of4",
      ],
      on,
    );
    return {
      seconds,
      result: digest(JSON.stringify(document.rows.map((row) => ({ ...row, seconds: 0 })))),
      told: `${document.rows.length} tries`,
    };
  },
  "generate --batch": (on, name) => {
    const out = join(folder, `${name}.jsonl`);
    const { seconds, document } = run(["generate", "--model", model, "--batch", prompts, "--out", out], on);
    return {
      seconds,
      result: digest(readFileSync(out)),
      told: `${(document.newTokens / document.seconds).toFixed(0)} new tokens/s without the start`,
    };
  },
};
try {
  for (const [name, work] of Object.entries(works)) {
    const [one, all] = [work(["--device", first], "one"), work(["--devices", devices], "all")];
    const same = one.result === all.result ? "the same bytes" : `OTHER BYTES (${one.result}, ${all.result})`;
    console.log(
      `${name}: ${one.seconds.toFixed(1)} s on ${first}, ${all.seconds.toFixed(1)} s on ${devices} (${(one.seconds / all.seconds).toFixed(2)} times), ${same}`,
    );
    console.log(`  ${one.told}\n  ${all.told}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
