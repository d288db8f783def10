/**
 * Tiles of matrices for packed weights against dense ones, many cuts in one run:
 *
 *   npm run build && node bench/packed-tiles.mjs [--tokens 16,64,2048] [--shapes qkv,o,gate+up,down] [--formats NAME,...]
 *     [--seconds 80] [--json] [--null]
 *
 * The products of a layer of Llama 3.1 8B's shape, gate and up as the pair they are, by the cut that the compiler takes
 * and by those of `cuts`. Each is held to sums on the host, for all outputs of some tokens; weights take turns over more
 * memory than the cache holds. Last come layers: as the compiler cuts them, and by the best of each product. What does
 * not fit in the time is left out. `--null` only compiles, on the backend that computes nothing.
 */
import { parseArgs } from "node:util";
import { compileStages } from "../dist/compiler/compile.js";
import { formatBytes } from "../dist/compiler/formats/registry.js";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { bufferUsage, openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { cuts } from "./packed-cuts.mjs";
import { formats } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64,2048,512" },
    shapes: { type: "string", default: "gate+up,o,down,qkv" },
    formats: { type: "string", default: "f16,2:4-int4,int4,2:4-f16" },
    seconds: { type: "string", default: "80" },
    json: { type: "boolean" },
    null: { type: "boolean" },
  },
});
const shapes = {
  qkv: { n: 6144, k: 4096 },
  o: { n: 4096, k: 4096 },
  "gate+up": { n: 14336, k: 4096 },
  down: { n: 4096, k: 14336 },
};
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const own = targetOf(device);
const target = options.null
  ? {
      ...own,
      subgroups: { min: 32, max: 32 },
      matrices: true,
      maxInvocations: 1024,
      maxWorkgroupMemory: 49152,
      maxBinding: 2 ** 31,
      maxStorageBuffers: 16,
    }
  : own;
const { gpu } = device;
const library = standardLibrary();
const until = performance.now() + 1000 * Number(options.seconds);
const silu = (x) => x / (1 + Math.exp(-x));
const nameOf = (cut) =>
  cut === null
    ? "chosen"
    : Object.values(cut)
        .slice(1)
        .map((part) => (Array.isArray(part) ? part.join(".") : part))
        .join(" ");

/** Dispatches of a Program, ready to be encoded: one list for each set of inputs. */
async function prepare(make, program, sets, result) {
  const temporaries = new Map();
  for (const { id, bytes, role } of program.buffers)
    if (role === "temporary") temporaries.set(id, await make(bytes, "temporary"));
  const modules = program.kernels.map(({ wgsl }) => gpu.createShaderModule({ code: wgsl }));
  if (options.null) {
    for (const [at, module] of modules.entries()) {
      const { messages } = await module.getCompilationInfo();
      if (messages.length > 0)
        throw new Error(`${messages.map(({ message }) => message).join("; ")}\n${program.kernels[at].wgsl}`);
    }
    return null;
  }
  const pipelines = await Promise.all(
    modules.map((module) =>
      gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } }),
    ),
  );
  return sets.map((set) =>
    program.steps.flatMap((step) => {
      if (step.kind !== "dispatch") return [];
      const entries = step.buffers.map((id, binding) => ({
        binding,
        resource: {
          buffer: temporaries.get(id) ?? set[program.inputs.find(({ buffer }) => buffer === id)?.name ?? ""] ?? result,
        },
      }));
      const pipeline = pipelines[step.kernel];
      return [
        {
          pipeline,
          group: gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }),
          workgroups: step.workgroups,
        },
      ];
    }),
  );
}

const query = options.null ? null : gpu.createQuerySet({ type: "timestamp", count: 2 });

/** Microseconds of a run: the least of three medians of passes. */
async function time(make, prepared) {
  if (prepared === null) return NaN;
  const resolved = await make(16, "timestamps", bufferUsage.queryResolve | bufferUsage.copySrc);
  let next = 0;
  const pass = async (runs) => {
    const encoder = gpu.createCommandEncoder();
    const compute = encoder.beginComputePass({
      timestampWrites: { querySet: query, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    });
    for (let run = 0; run < runs; run++, next++)
      for (const { pipeline, group, workgroups } of prepared[next % prepared.length]) {
        compute.setPipeline(pipeline);
        compute.setBindGroup(0, group);
        compute.dispatchWorkgroups(...workgroups);
      }
    compute.end();
    encoder.resolveQuerySet(query, 0, 2, resolved, 0);
    gpu.queue.submit([encoder.finish()]);
    const [from, to] = new BigUint64Array((await device.read(resolved, 0, 16)).buffer);
    return Number(to - from) / 1000 / runs;
  };
  let estimate = await pass(1);
  // what spills is not worth the time
  if (estimate > 20_000) return estimate;
  const runsIn = (us) => Math.max(2, Math.min(100, us / estimate)) | 0;
  const warm = performance.now();
  while (performance.now() - warm < 60) estimate = await pass(runsIn(10_000));
  const times = [];
  for (let at = 0; at < 5; at++) times.push(await pass(runsIn(4_000)));
  return times.sort((a, b) => a - b)[2];
}

/** The largest error over the root of the mean square of what is expected, for some tokens. */
async function errorOf(result, expected, tokens, n) {
  let [worst, norm, count] = [0, 0, 0];
  for (const [at, token] of tokens.entries()) {
    const found = new Uint16Array((await device.read(result, 2 * token * n, 2 * n)).buffer);
    for (let row = 0; row < n; row++) {
      const want = expected[at][row % expected[at].length];
      const error = Math.abs(f16FromBits(found[row]) - want);
      worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
      norm += want ** 2;
      count++;
    }
  }
  return worst / Math.sqrt(norm / count);
}

console.log(options.json ? JSON.stringify({ device: device.name }) : device.name);
/** By tokens and format, of each shape what is chosen, and the best. */
const layers = new Map();
for (const m of options.tokens.split(",").map(Number))
  for (const shape of options.shapes.split(",")) {
    const { n, k } = shapes[shape];
    const pair = shape === "gate+up";
    const x = randomValues(m * k, 7).map((value) => roundF16(value / 8));
    const tokens = [...new Set([0, m >> 1, m - 1])];
    for (const name of options.formats.split(",")) {
      if (performance.now() > until) continue;
      const spec = formats[name];
      const weights = repeatedWeights(spec, n, k, n + k);
      const bytes = (pair ? 2 : 1) * formatBytes(spec, { rows: n, columns: k });
      const expected = tokens.map((token) =>
        Array.from({ length: weights.rows }, (_, row) => {
          let sum = 0;
          for (let at = 0; at < k; at++) sum += x[token * k + at] * weights.values[row * k + at];
          return pair ? silu(sum) * sum : sum;
        }),
      );
      await withBuffers(device, async (make) => {
        const input = await make(Uint16Array.from(x, f16Bits), "activations");
        const sets = [];
        for (let taken = 0; taken === 0 || (!options.null && taken < 2 ** 28); taken += bytes) {
          const w = await make(weights.words, "weights");
          sets.push({ x: input, w, gate: w, up: pair ? await make(weights.words, "weights") : w });
        }
        const result = await make(2 * m * n, "result");
        const compiled = [null, ...cuts(m, pair, name)].flatMap((cut) => {
          const sizes = pair ? { B: 1, T: m, M: n, D: k } : { B: 1, T: m, N: n, K: k };
          const binding = { sizes, dtypes: { E: "f16" }, formats: pair ? { P: spec, U: spec } : { F: spec } };
          const stages = compileStages(library.get(pair ? "gated" : "linear"), binding, target, { schedule: cut });
          const taken = stages.program.kernels.map(({ schedule }) => schedule).join("+");
          if (cut !== null && !taken.startsWith(cut.kind)) return [];
          return [{ cut, taken, program: stages.program }];
        });
        const prepared = await Promise.all(compiled.map(({ program }) => prepare(make, program, sets, result)));
        const rows = [];
        for (const [at, { cut, taken }] of compiled.entries()) {
          if (performance.now() > until && at > 0) continue;
          const us = await time(make, prepared[at]);
          const error = options.null ? 0 : await errorOf(result, expected, tokens, n);
          rows.push({ us, wrong: !(error < 0.02) });
          const row = { tokens: m, shape, format: name, cut, taken, us, error };
          const tflops = (2 * m * (pair ? 2 : 1) * n * k) / us / 1e6;
          console.log(
            options.json
              ? JSON.stringify(row)
              : `${String(m).padStart(5)} ${shape.padEnd(8)} ${name.padEnd(9)} ${(cut === null ? `chosen: ${taken}` : nameOf(cut)).padEnd(24)} ${us.toFixed(1).padStart(8)} us ${tflops.toFixed(0).padStart(5)} TFLOP/s ${(bytes / us / 1000).toFixed(0).padStart(5)} GB/s${error < 0.02 ? "" : ` WRONG ${error}`}`,
          );
        }
        const right = rows.filter(({ wrong }) => !wrong).map(({ us }) => us);
        const key = `${String(m).padStart(5)} ${name}`;
        const [chosen, best, count] = layers.get(key) ?? [0, 0, 0];
        layers.set(key, [chosen + rows[0].us, best + Math.min(...right), count + 1]);
      });
    }
  }
for (const [key, [chosen, best, count]] of layers)
  console.log(
    options.json
      ? JSON.stringify({ layer: key.trim(), chosen, best, shapes: count })
      : `${key}: ${count} products ${chosen.toFixed(1)} us as chosen, ${best.toFixed(1)} us by the best of each`,
  );
device.close();
