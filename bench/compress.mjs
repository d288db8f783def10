/**
 * Where the time of a compression goes, stage by stage: what the host waits for, what is written and read, and by
 * kernel what the GPU computes.
 *
 *   npm run build && node bench/compress.mjs MODEL OUT [--recipe FILE] [--window 2048] [--windows 128] [--profile] [--top 40]
 *
 * MODEL is what `make-model.mjs` writes. Waits are those of the promises of one kind, which may overlap. With
 * `--profile` each dispatch is in a pass of its own with timestamps around it, which takes the host longer; kernels
 * stand with the function that they are of.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { createHost, standardLibrary } from "../dist/runtime/library.js";
import { compress } from "../dist/runtime/llama/compression/compress.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { openModel } from "../dist/runtime/model/model.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    recipe: { type: "string", default: "examples/sparsegpt-gptq.esp" },
    window: { type: "string", default: "2048" },
    windows: { type: "string", default: "128" },
    profile: { type: "boolean", default: false },
    top: { type: "string", default: "40" },
    cpu: { type: "boolean", default: false },
  },
});
const [directory, out] = positionals;
if (directory === undefined || out === undefined) throw new Error("usage: node bench/compress.mjs MODEL OUT");

const host = createHost();
const { value, diagnostics } = check(options.recipe, host);
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const [recipe] = value.recipes.values();

/** Calls, milliseconds and bytes by what was done, of each stage; what was done since progress was last told. */
const spent = new Map();
let since = new Map();
function add(map, what, one) {
  const before = map.get(what) ?? { times: 0, milliseconds: 0, bytes: 0 };
  const { times, milliseconds, bytes } = one;
  map.set(what, {
    times: before.times + times,
    milliseconds: before.milliseconds + milliseconds,
    bytes: before.bytes + bytes,
  });
}
const of = (stages, stage) => stages.get(stage) ?? stages.set(stage, new Map()).get(stage);
/** An object whose methods of these names are timed. */
function timed(object, label, names, bytesOf = () => 0) {
  const changed = Object.create(Object.getPrototypeOf(object), Object.getOwnPropertyDescriptors(object));
  for (const name of names) {
    const own = object[name];
    Object.defineProperty(changed, name, {
      value: (...args) => {
        const started = performance.now();
        const result = own(...args);
        const done = () =>
          add(since, `${label} ${name}`, {
            times: 1,
            milliseconds: performance.now() - started,
            bytes: bytesOf(name, args),
          });
        if (result instanceof Promise) result.then(done, done);
        else done();
        return result;
      },
    });
  }
  return changed;
}
const size = (data) => data?.byteLength ?? 0;

const opened = await openDevice({ kind: options.cpu ? "cpu" : "gpu", unchecked: true });
const device = timed(opened, "device", ["createBuffer", "read", "write", "free"], (name, args) =>
  name === "createBuffer" ? args[0] : name === "read" ? args[2] : name === "write" ? size(args[2]) : 0,
);
const plain = await createExecutor(device, { profile: options.profile });
const executor = timed(plain, "executor", ["run", "finish", "values", "read", "prepare"]);
if (options.profile) {
  const { prepare } = executor;
  let programs = 0;
  Object.defineProperty(executor, "prepare", {
    value: (program) => {
      const at = programs++;
      const named = (kernel) => ({ ...kernel, name: `${program.name}#${at} ${kernel.name}` });
      return prepare({ ...program, kernels: program.kernels.map(named) });
    },
  });
}
const caller = createCaller(executor, targetOf(device), standardLibrary());
/** Kernels by stage. */
const kernels = new Map();
let taking = Promise.resolve();
const take = (stage) => {
  taking = taking.then(async () => {
    for (const { kernel, schedule, dispatches, nanoseconds } of await plain.profile())
      add(of(kernels, stage), `${kernel} ${schedule}`, {
        times: dispatches,
        milliseconds: nanoseconds / 1e6,
        bytes: 0,
      });
  });
};

const began = performance.now();
const model = await openModel(directory);
const tokenizer = await model.tokenizer();
const ids = await tokenizer.encode(readFileSync(join(directory, "calibration.txt"), "utf8"), { prefix: true });
console.log(`${device.name}; opened and ${ids.length} tokens read in ${(performance.now() - began).toFixed(0)} ms`);

const marks = [];
let last = performance.now();
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, ".."), { recursive: true });
const started = performance.now();
const result = await compress(caller, model, recipe, {
  output: out,
  force: true,
  source: readFileSync(options.recipe, "utf8"),
  text: { ids, bos: tokenizer.bos, window: Number(options.window), windows: Number(options.windows) },
  dtype: options.cpu ? "f32" : "f16",
  onProgress: ({ stage, subject, done, total }) => {
    const now = performance.now();
    if (marks.at(-1)?.stage !== stage || marks.at(-1)?.subject !== subject)
      marks.push({ stage, subject, milliseconds: 0 });
    marks.at(-1).milliseconds += now - last;
    last = now;
    for (const [what, one] of since) add(of(spent, stage), what, one);
    since = new Map();
    if (options.profile && done === total) take(stage);
  },
});
const seconds = (performance.now() - started) / 1000;
await taking;
console.log(`compress ${seconds.toFixed(2)} s, peak ${(result.deviceBytesPeak / 2 ** 30).toFixed(2)} GiB`);
console.log(
  Object.entries(result.stageSeconds)
    .map(([name, each]) => `${name} ${each.toFixed(2)} s`)
    .join(", "),
);
for (const { stage, subject, milliseconds } of marks.filter(({ milliseconds }) => milliseconds >= 5))
  console.log(`  ${stage.padEnd(9)} ${subject.padEnd(48)} ${milliseconds.toFixed(0).padStart(7)} ms`);
for (const [stage, map] of spent) {
  console.log(`host, ${stage}`);
  for (const [what, { times, milliseconds, bytes }] of [...map].sort((a, b) => b[1].milliseconds - a[1].milliseconds))
    if (milliseconds > 5)
      console.log(
        `  ${milliseconds.toFixed(0).padStart(7)} ms ${String(times).padStart(6)} x ${what}${bytes > 0 ? `, ${(bytes / 1e6).toFixed(0)} MB` : ""}`,
      );
}
for (const [stage, map] of kernels) {
  const all = [...map.values()].reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  console.log(`GPU, ${stage}: ${all.toFixed(0)} ms`);
  const slowest = [...map].sort((a, b) => b[1].milliseconds - a[1].milliseconds);
  for (const [what, { times, milliseconds }] of slowest.slice(0, Number(options.top)))
    console.log(`  ${milliseconds.toFixed(1).padStart(9)} ms ${String(times).padStart(6)} x ${what}`);
}
await model.close();
executor.close();
opened.close();
