/**
 * What an export of a large model takes: seconds, those of the CPU, and the most memory of the process for each target,
 * and what an export that is killed leaves on the disk.
 *
 *   node bench/make-model.mjs DIR 32 llama-3.1-8b --holes     # takes no room: only packed layers are filled
 *   node bench/export.mjs DIR WORK [MODEL:TARGET...]          # int4:gptq, dense:safetensors, ...
 *
 * DIR is a dense model. WORK gets the same with linear layers of random codes, int4(128) and 2:4 of int4(128), once each
 * (5.6 and 4.8 GB of 32 blocks), and each export, which is removed again. Dense exports are those of a DIR that has
 * weights, as many blocks as the disk holds twice: they are left out where nothing is named and DIR has more than eight.
 *
 * Memory: the largest resident set that the kernel tells (VmHWM), with pages of files that are mapped; and the largest of
 * what is the process's own (RssAnon, looked at each 20 ms), which is what grows. Pages that the kernel keeps of files
 * that are read and written are nobody's. Beside it stands the size of a block in bf16. All 32 blocks took,
 * on 2026-11-29, in MiB of the process's own: int4(128) to compressed-tensors 209, gptq 340, awq 329, gguf 206; 2:4 of it
 * to compressed-tensors 198, marlin-24 283, gguf as q4_0 194; 63 to 209 s beside others on two cores. A block has 416.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatOfSpec, normalizeFormat, shapeOf } from "../dist/compiler/formats/registry.js";
import { sectionOf } from "../dist/compiler/formats/layout.js";
import { openModel } from "../dist/runtime/model/model.js";
import { createModel } from "../dist/runtime/model/write.js";

const [dense, work, ...wanted] = process.argv.slice(2);
if (work === undefined) throw new Error("usage: node bench/export.mjs DIR WORK [MODEL:TARGET...]");
mkdirSync(work, { recursive: true });
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

/** What the kernel says of a process, in KiB; 0 where it says nothing. */
function memoryOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    return { whole: field("VmHWM"), own: field("RssAnon"), mapped: field("RssFile") };
  } catch {
    return { whole: 0, own: 0, mapped: 0 };
  }
}

/** Runs an export; `until` may kill it. */
async function run(args, until = null) {
  const report = "process.on('exit',()=>{const u=process.cpuUsage();console.error('CPU',u.user+u.system)})";
  const started = performance.now();
  const child = spawn(process.execPath, ["--import", `data:text/javascript,${report}`, main, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk) => (said += chunk));
  const ended = new Promise((resolve) => child.once("close", resolve));
  const most = { whole: 0, own: 0, mapped: 0 };
  const watch = setInterval(() => {
    for (const [name, size] of Object.entries(memoryOf(child.pid))) most[name] = Math.max(most[name], size);
  }, 20);
  if (until !== null) {
    await until();
    child.kill("SIGKILL");
  }
  const code = await ended;
  clearInterval(watch);
  if (code !== 0 && until === null) throw new Error(said.slice(-500));
  return {
    ended: code === 0,
    seconds: (performance.now() - started) / 1000,
    memory: most,
    cpu: Number(/CPU (\d+)/.exec(said)?.[1]) / 1e6,
  };
}

const int4 = { name: "int4", args: { group: 128 }, of: null };
const sparse = { name: "nm", args: { n: 2, m: 4 }, of: int4 };
const exports = [
  ["dense", "safetensors"],
  ["dense", "gguf", "--type", "q8_0", "--requantize"],
  ["int4", "safetensors", "--type", "bf16"],
  ["int4", "compressed-tensors"],
  ["int4", "gptq"],
  ["int4", "awq"],
  ["int4", "gguf"],
  ["sparse", "compressed-tensors"],
  ["sparse", "marlin-24"],
  ["sparse", "gguf", "--type", "q4_0"],
];

const { config, linears, close } = await openModel(dense);
const weights = linears.reduce((sum, { outputs, inputs }) => sum + outputs * inputs, 0);
await close();
const chosen = exports.filter(([model, to]) =>
  wanted.length === 0
    ? config.layers <= 8 || (model !== "dense" && to !== "safetensors")
    : wanted.includes(`${model}:${to}`),
);
const models = { dense };
for (const [name, spec, pattern] of [
  ["int4", int4, { kind: "full" }],
  ["sparse", sparse, { kind: "nm", n: 2, m: 4, axis: 1 }],
])
  if (chosen.some(([model]) => model === name)) models[name] = await packed(join(work, name), spec, pattern);

const block = (2 * weights) / config.layers / mebibyte;
console.log(
  `${config.layers} blocks of ${block.toFixed(0)} MiB in bf16, ${(weights / 1e9).toFixed(2)} billion weights\n`,
);
console.log(
  "| model | export | s | of the CPU | ns a weight there | written, GB | VmHWM, MiB | own | mapped | killed halfway |",
);
console.log("|---|---|---|---|---|---|---|---|---|---|");
const titles = { dense: "dense", int4: "int4(128)", sparse: "2:4 of int4(128)" };

/** Names, sizes and times of what is there: a file, or the files of a directory. */
function filesAt(path) {
  if (!existsSync(path)) return [];
  const names = statSync(path).isFile() ? [""] : readdirSync(path);
  return names.map((name) => {
    const { size, mtimeMs } = statSync(join(path, name));
    return { name, size, mtimeMs };
  });
}

let failed = 0;
for (const [name, to, ...options] of chosen) {
  const out = join(work, to === "gguf" ? "out.gguf" : "out");
  const args = ["export", models[name], "--to", to, "--out", out, ...options];
  const beside = new Set(readdirSync(work));
  const left = () => readdirSync(work).filter((each) => !beside.has(each));
  const clear = () => left().forEach((each) => rmSync(join(work, each), { recursive: true, force: true }));
  const { seconds, memory, cpu } = await run(args);
  const written = filesAt(out);
  const bytes = written.reduce((sum, { size }) => sum + size, 0);
  // halfway over one that is there: it stays as it was
  const over = await run([...args, "--force"], () => setTimeout(500 * seconds));
  const kept = JSON.stringify(filesAt(out)) === JSON.stringify(written);
  clear();
  // and where there is none: nothing under the name
  const anew = await run(args, () => setTimeout(500 * seconds));
  const absent = !existsSync(out);
  const rest = left().length;
  clear();
  // a machine that had been busy is through sooner than half of the time it took before
  const wasKilled = !over.ended && !anew.ended;
  if (!wasKilled || !kept || !absent) failed += 1;
  const killed = !wasKilled
    ? "not told: it had ended before"
    : `${kept ? "the old one is whole" : "THE OLD ONE IS HURT"}; ${absent ? "none under the name" : "A PART UNDER THE NAME"}, ${rest} beside`;
  const mib = ({ whole, own, mapped }) => [whole, own, mapped].map((size) => (size / 1024).toFixed(0)).join(" | ");
  console.log(
    `| ${titles[name]} | ${[to, ...options].join(" ")} | ${seconds.toFixed(1)} | ${cpu.toFixed(1)} | ${((1e9 * cpu) / weights).toFixed(1)} | ${(bytes / 1e9).toFixed(2)} | ${mib(memory)} | ${killed} |`,
  );
}
process.exitCode = failed === 0 ? 0 : 1;
