/**
 * What an export of a large model takes: seconds and the most memory of the process for each target, and whether an
 * export that is killed leaves anything under its name.
 *
 *   node bench/make-model.mjs DIR 4            # four blocks of the shape of Llama 3.1 8B
 *   node bench/export.mjs DIR WORK [TARGET...]
 *
 * DIR is a dense model. WORK gets the same with linear layers of random codes, int4(128) and 2:4 of int4(128), once, and
 * each export, which is removed again. Memory is the largest resident set that the system tells of the process, with the
 * pages of files that it wrote where the system counts those; beside it stands the size of a block in bf16.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatOfSpec, normalizeFormat, shapeOf } from "../dist/compiler/formats/registry.js";
import { sectionOf } from "../dist/compiler/formats/layout.js";
import { openModel } from "../dist/runtime/model/model.js";
import { createModel } from "../dist/runtime/model/write.js";

const [dense, work, ...wanted] = process.argv.slice(2);
if (work === undefined) throw new Error("usage: node bench/export.mjs DIR WORK [TARGET...]");
const main = fileURLToPath(new URL("../dist/bundle/main.js", import.meta.url));
const mebibyte = 2 ** 20;

/** A copy of the model whose linear layers are packed, with codes at random. */
async function packed(path, spec, pattern) {
  if (existsSync(path)) return path;
  const source = await openModel(dense);
  const format = normalizeFormat(spec);
  const linears = new Set(source.linears.map(({ weight }) => weight));
  const tensors = source.tensors.map((tensor) =>
    linears.has(tensor.name) ? { ...tensor, format, pattern } : { ...tensor, format: null, pattern: { kind: "full" } },
  );
  const writer = await createModel(path, { source, tensors, recipe: null, force: false });
  let state = 88172645;
  for (const { name, shape, format: own } of tensors) {
    if (own === null) {
      await writer.copy(name);
      continue;
    }
    const sections = formatOfSpec(own).sections(own, shapeOf(shape));
    const last = sections.at(-1);
    const words = new Uint32Array(last.offset + Math.ceil(last.words / 4) * 4);
    const values = sectionOf(sections, "values");
    for (let at = values.offset; at < values.offset + values.words; at += 1) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      // no code is zero: both of every two are kept
      words[at] = state | 0x11111111;
    }
    // positions 0 and 2, scales of 2^-9
    if (own.name === "nm")
      words.fill(0x88888888, sectionOf(sections, "index").offset, sectionOf(sections, "scales").offset);
    words.fill(0x18001800, sectionOf(sections, "scales").offset);
    await writer.append(name, new Uint8Array(words.buffer));
  }
  await writer.finish();
  await source.close();
  return path;
}

/** Runs an export; `until` may kill it. */
async function run(args, until = null) {
  const report = "process.on('exit',()=>console.error('maxRSS',process.resourceUsage().maxRSS))";
  const started = performance.now();
  const child = spawn(process.execPath, ["--import", `data:text/javascript,${report}`, main, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk) => (said += chunk));
  const ended = new Promise((resolve) => child.once("close", resolve));
  if (until !== null) {
    await until();
    child.kill("SIGKILL");
  }
  const code = await ended;
  const memory = /maxRSS (\d+)/.exec(said);
  if (code !== 0 && until === null) throw new Error(said.slice(-500));
  return { seconds: (performance.now() - started) / 1000, memory: memory === null ? null : Number(memory[1]) / 1024 };
}

const int4 = { name: "int4", args: { group: 128 }, of: null };
const sparse = { name: "nm", args: { n: 2, m: 4 }, of: int4 };
const models = {
  dense,
  int4: await packed(join(work, "int4"), int4, { kind: "full" }),
  "2:4 of int4": await packed(join(work, "sparse"), sparse, { kind: "nm", n: 2, m: 4, axis: 1 }),
};
const exports = [
  ["dense", "safetensors"],
  ["dense", "gguf", "--type", "q8_0", "--requantize"],
  ["int4", "safetensors", "--type", "bf16"],
  ["int4", "compressed-tensors"],
  ["int4", "gptq"],
  ["int4", "awq"],
  ["int4", "gguf"],
  ["2:4 of int4", "compressed-tensors"],
  ["2:4 of int4", "marlin-24"],
  ["2:4 of int4", "gguf", "--type", "q4_0"],
].filter(([, to]) => wanted.length === 0 || wanted.includes(to));

const { config, linears, close } = await openModel(dense);
const weights = linears.reduce((sum, { outputs, inputs }) => sum + outputs * inputs, 0);
await close();
const block = (2 * weights) / config.layers / mebibyte;
console.log(
  `${config.layers} blocks of ${block.toFixed(0)} MiB in bf16, ${(weights / 1e9).toFixed(2)} billion weights\n`,
);
console.log("| model | export | s | ns a weight | memory, MiB |");
console.log("|---|---|---|---|---|");
for (const [name, to, ...options] of exports) {
  const out = join(work, to === "gguf" ? "out.gguf" : "out");
  const args = ["export", models[name], "--to", to, "--out", out, ...options, "--force"];
  const { seconds, memory } = await run(args);
  console.log(
    `| ${name} | ${[to, ...options].join(" ")} | ${seconds.toFixed(1)} | ${((1e9 * seconds) / weights).toFixed(0)} | ${memory.toFixed(0)} |`,
  );
  rmSync(out, { recursive: true, force: true });
}

// killed as soon as some of it is on the disk
const to = wanted.includes("gguf") ? "gguf" : "compressed-tensors";
const out = join(work, to === "gguf" ? "killed.gguf" : "killed");
const before = new Set(readdirSync(work));
const staged = () => readdirSync(work).filter((name) => !before.has(name));
await run(["export", models.int4, "--to", to, "--out", out], async () => {
  while (staged().length === 0) await setTimeout(20);
  await setTimeout(1500);
});
const left = staged();
console.log(
  `\nkilled: under its name ${existsSync(out) ? "a file" : "nothing"}; beside it ${left.join(", ") || "nothing"}`,
);
for (const name of left) rmSync(join(work, name), { recursive: true, force: true });
process.exitCode = existsSync(out) ? 1 : 0;
