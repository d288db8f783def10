/**
 * Products by the matrices of subgroups, tile by tile:
 *
 *   npm run build && node bench/matrix.mjs [--tokens 16,64,2048] [--layers qkv,o,gate+up,down] [--formats NAME,...]
 *     [--tiles] [--json] [--null]
 *
 * The four products of a layer of Llama 3.1 8B's shape, by the schedule that the compiler takes and, with --tiles, by
 * others. Each is held to sums computed on the host, for all outputs of some tokens, before it is timed; weights take
 * turns over 256 MB. `--null` only compiles, on Dawn's backend that computes nothing.
 */
import { compileStages } from "../dist/compiler/compile.js";
import { formatBytes, printFormat } from "../dist/compiler/formats/registry.js";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { bufferUsage, openDevice } from "../dist/runtime/device/device.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { formats, tile } from "./tiles.mjs";

const option = (name) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? null : process.argv[at + 1];
};
const flag = (name) => process.argv.includes(`--${name}`);
const list = (name, all) => option(name)?.split(",") ?? all;

/** What is tried beside the compiler's choice. */
const variants = (m) =>
  m <= 16
    ? [
        tile(16, 32, [1, 2, 4], 256),
        tile(16, 32, [1, 2, 4], 128, 2),
        tile(16, 32, [1, 2, 8], 256),
        tile(16, 64, [1, 4, 4], 128),
        tile(16, 64, [1, 4, 4], 128, 2),
        tile(16, 64, [1, 4, 2], 256),
        tile(16, 64, [1, 4, 4], 256),
        tile(16, 128, [1, 8, 1], 128),
        tile(16, 128, [1, 8, 2], 128),
      ]
    : m <= 64
      ? [
          tile(64, 32, [2, 1, 4], 128),
          tile(64, 32, [2, 1, 4], 64, 2),
          tile(64, 64, [2, 2, 2], 64, 2),
          tile(64, 64, [2, 2, 2], 128),
          tile(64, 64, [2, 2, 4], 128),
          tile(64, 64, [2, 2, 4], 64, 1),
          tile(64, 128, [2, 4, 2], 64),
          tile(64, 128, [1, 4, 2], 64),
        ]
      : [
          tile(128, 128, [2, 2, 1], 64),
          tile(128, 128, [2, 2, 1], 32, 2),
          tile(128, 128, [2, 4, 1], 32, 2),
          tile(128, 128, [2, 2, 2], 64),
          tile(128, 128, [2, 4, 2], 64),
          tile(256, 128, [4, 2, 1], 48),
          tile(128, 256, [2, 4, 1], 48),
          tile(256, 64, [4, 1, 2], 64),
        ];

const device = flag("null")
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const target = flag("null")
  ? {
      ...targetOf(device),
      subgroups: { min: 32, max: 32 },
      matrices: true,
      maxInvocations: 1024,
      maxWorkgroupMemory: 49152,
      maxBinding: 2 ** 31,
    }
  : targetOf(device);
const linear = standardLibrary().get("linear");
const tokens = list("tokens", ["8", "16", "32", "64", "512", "2048"]).map(Number);
const shapes = [
  { layer: "qkv", n: 6144, k: 4096 },
  { layer: "o", n: 4096, k: 4096 },
  { layer: "gate+up", n: 28672, k: 4096 },
  { layer: "down", n: 4096, k: 14336 },
];
const layers = shapes.filter(({ layer }) => list("layers", [layer]).includes(layer));
const sampled = 3;
const { gpu } = device;
const say = (row, text) => console.log(flag("json") ? JSON.stringify(row) : text);
if (!flag("json")) console.log(device.name);

/** Microseconds of a kernel: the median of several passes. */
async function time(make, kernels, sets) {
  const pipelines = [];
  for (const { wgsl } of kernels) {
    const module = gpu.createShaderModule({ code: wgsl });
    const faults = flag("null") ? (await module.getCompilationInfo()).messages : [];
    if (faults.length > 0) throw new Error(`${faults.map(({ message }) => message).join("; ")}\n${wgsl}`);
    // of its workgroups, that backend has no room for more than the least that WebGPU promises
    if (flag("null")) continue;
    pipelines.push(await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } }));
  }
  if (flag("null")) return { us: NaN };
  const groups = sets.map((buffersOf) =>
    kernels.map((_, at) =>
      gpu.createBindGroup({
        layout: pipelines[at].getBindGroupLayout(0),
        entries: buffersOf[at].map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
    ),
  );
  const query = gpu.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = await make(16, "timestamps", bufferUsage.queryResolve | bufferUsage.copySrc);
  let next = 0;
  const pass = async (runs) => {
    const encoder = gpu.createCommandEncoder();
    const timestampWrites = { querySet: query, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    const compute = encoder.beginComputePass({ timestampWrites });
    for (let run = 0; run < runs; run++, next++)
      kernels.forEach(({ workgroups }, at) => {
        compute.setPipeline(pipelines[at]);
        compute.setBindGroup(0, groups[next % groups.length][at]);
        compute.dispatchWorkgroups(...workgroups);
      });
    compute.end();
    encoder.resolveQuerySet(query, 0, 2, resolved, 0);
    gpu.queue.submit([encoder.finish()]);
    const [from, to] = new BigUint64Array((await device.read(resolved, 0, 16)).buffer);
    return Number(to - from) / 1000 / runs;
  };
  let estimate = await pass(1);
  const warm = performance.now();
  // what came before left the clocks low where the host was busy for long
  while (performance.now() - warm < 300) estimate = await pass(Math.max(1, Math.min(100, 10_000 / estimate)) | 0);
  const runs = Math.max(2, Math.min(100, 8000 / estimate)) | 0;
  const times = [];
  for (let at = 0; at < 5; at++) times.push(await pass(runs));
  query.destroy();
  return { us: times.sort((a, b) => a - b)[2] };
}

/** The largest error against sums on the host, over the root of the mean square of what is expected. */
function errorOf(actual, x, weights, { m, n, k }) {
  let [worst, norm, count] = [0, 0, 0];
  for (let which = 0; which < sampled; which++) {
    const t = Math.floor((which * (m - 1)) / (sampled - 1));
    const sums = Array.from({ length: weights.rows }, (_, row) => {
      let sum = 0;
      for (let at = 0; at < k; at++) sum += x[t * k + at] * weights.values[row * k + at];
      return sum;
    });
    for (let row = 0; row < n; row++) {
      const want = sums[row % weights.rows];
      worst = Math.max(worst, Math.abs(f16FromBits(actual[t * n + row]) - want));
      if (Number.isNaN(f16FromBits(actual[t * n + row]))) worst = Infinity;
      norm += want ** 2;
      count++;
    }
  }
  return worst / Math.sqrt(norm / count);
}

for (const m of tokens) {
  const total = new Map();
  for (const { layer, n, k } of layers) {
    const x = randomValues(m * k, 7).map(roundF16);
    for (const name of list("formats", Object.keys(formats))) {
      const spec = formats[name];
      const weights = repeatedWeights(spec, n, k, n + k);
      await withBuffers(device, async (make) => {
        const input = await make(Uint16Array.from(x, f16Bits), "activations");
        const count = flag("null") ? 1 : Math.max(1, Math.min(64, Math.ceil(2 ** 28 / weights.words.byteLength)));
        const copies = [];
        for (let at = 0; at < count; at++) copies.push(await make(weights.words, "weights"));
        const result = await make(2 * m * n, "result");
        for (const schedule of [null, ...(flag("tiles") ? variants(m) : [])]) {
          const binding = { sizes: { B: 1, T: m, N: n, K: k }, dtypes: { E: "f16" }, formats: { F: spec } };
          const stages = compileStages(linear, binding, target, { schedule });
          const { program } = stages;
          const kernels = program.kernels;
          const taken = kernels.map(({ schedule: each }) => each).join("+");
          if (schedule !== null && taken !== "matrix") continue;
          const role = (id) => program.inputs.find((each) => each.buffer === id)?.name ?? "result";
          const temporaries = new Map();
          for (const { id, bytes, role: kind } of program.buffers)
            if (kind === "temporary") temporaries.set(id, await make(bytes, "temporary"));
          const steps = program.steps.filter(({ kind }) => kind === "dispatch");
          const dispatched = steps.map(({ kernel, workgroups }) => ({ wgsl: kernels[kernel].wgsl, workgroups }));
          const sets = copies.map((copy) =>
            steps.map(({ buffers }) =>
              buffers.map((id) => temporaries.get(id) ?? { x: input, w: copy, result }[role(id)]),
            ),
          );
          const before = performance.now();
          const { us } = await time(make, dispatched, sets);
          const error = flag("null")
            ? 0
            : errorOf(new Uint16Array((await device.read(result, 0, 2 * m * n)).buffer), x, weights, { m, n, k });
          const row = {
            layer,
            tokens: m,
            format: printFormat(spec),
            schedule: schedule ?? taken,
            us,
            tflops: (2 * m * n * k) / us / 1e6,
            gbs: formatBytes(spec, { rows: n, columns: k }) / us / 1e3,
            error,
          };
          const shape =
            schedule === null
              ? taken
              : `${schedule.tokens}x${schedule.rows} ${schedule.subgroups} ${schedule.slice}${schedule.ahead > 0 ? ` ahead ${schedule.ahead}` : ""}`;
          say(
            row,
            `${String(m).padStart(5)} ${layer.padEnd(8)} ${name.padEnd(9)} ${shape.padEnd(28)} ${us.toFixed(1).padStart(8)} us ${row.tflops.toFixed(1).padStart(6)} TFLOP/s ${row.gbs.toFixed(0).padStart(5)} GB/s  error ${error.toExponential(1)}${error < 0.01 ? "" : " WRONG"}  (${((performance.now() - before) / 1000).toFixed(1)} s)`,
          );
          if (schedule === null) total.set(name, (total.get(name) ?? 0) + us);
        }
      });
    }
  }
  if (layers.length === 4)
    for (const [name, us] of total)
      say(
        { layer: "all", tokens: m, format: name, us },
        `${String(m).padStart(5)} one layer ${name}: ${us.toFixed(1)} us`,
      );
}
device.close();
