/**
 * Tiles of packed weights written out by hand, to see what pays before the compiler learns it:
 *
 *   npm run build && node bench/tile-prototypes.mjs [--tokens 16,64] [--shapes gate+up,o,down,qkv] [--seconds 60] [--null]
 *
 * Each subgroup of a workgroup has columns of its own: it loads the words of a unit of 64 columns of a row into each lane,
 * a trip ahead, unpacks them phase by phase into its own part of workgroup memory, and multiplies them by activations that
 * are read straight from memory, or staged beside. Sums of the subgroups are added at the end.
 */
import { parseArgs } from "node:util";
import { compileStages } from "../dist/compiler/compile.js";
import { formatBytes } from "../dist/compiler/formats/registry.js";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, prepare, stopwatch } from "./steady.mjs";
import { prototype } from "./tile-prototype.mjs";
import { formats, shapes } from "./tiles.mjs";

const few = (terms) => {
  const rows = terms === 2 ? 16 : 32;
  const bases = [
    { subgroups: 1, block: 128, blocks: 2, left: "staged", rows: 2 * rows },
    { subgroups: 1, block: 64, blocks: 2, left: "direct", rows: 2 * rows },
    { subgroups: 1, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 2, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 2, block: 64, blocks: 2, left: "staged", rows },
    { subgroups: 4, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 4, block: 64, blocks: 1, left: "staged", rows },
  ].map((each) => ({ tokens: 16, ...each, block: each.rows < 32 ? 128 : each.block }));
  return bases.flatMap((each, at) => [
    each,
    { ...each, order: "tiles" },
    ...(at === 0 || at === 3
      ? ["loads", "unpacking", "stores", "products"].map((without) => ({ ...each, without }))
      : []),
  ]);
};
const some = (terms) => {
  const list = [];
  for (const tokens of [64, 32])
    for (const rows of terms === 2 ? [32, 16] : [64, 32])
      for (const [subgroups, block, blocks, buffers] of [
        [8, 64, 1, 1],
        [8, 64, 2, 1],
        [8, 64, 1, 2],
        [4, 64, 2, 1],
        [4, 128, 1, 1],
        [4, 64, 4, 1],
        [16, 64, 1, 1],
      ])
        for (const left of ["direct", "staged"]) list.push({ tokens, rows, subgroups, block, blocks, buffers, left });
  return list;
};

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64" },
    shapes: { type: "string", default: "gate+up,down,o,qkv" },
    formats: { type: "string", default: "2:4-int4,int4" },
    seconds: { type: "string", default: "110" },
    null: { type: "boolean" },
  },
});
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const { gpu } = device;
const library = standardLibrary();
const until = performance.now() + 1000 * Number(options.seconds);
const silu = (x) => x / (1 + Math.exp(-x));
console.log(device.name);
const watch = options.null ? null : await stopwatch(device);
/** WGSL that also counts the workgroups that are under way at a time, and keeps the largest number. */
function counted(wgsl) {
  const binding = Math.max(...[...wgsl.matchAll(/@binding\((\d+)\)/g)].map(([, at]) => Number(at))) + 1;
  const main = wgsl.indexOf("@compute");
  const open = wgsl.indexOf("{\n", main) + 2;
  const close = wgsl.lastIndexOf("}");
  return {
    binding,
    wgsl: `${wgsl.slice(0, main)}@group(0) @binding(${binding}) var<storage, read_write> under_way: array<atomic<u32>>;
${wgsl.slice(main, open)}if (local_index == 0u) { atomicMax(&under_way[1], atomicAdd(&under_way[0], 1u) + 1u); }
${wgsl.slice(open, close)}workgroupBarrier();
if (local_index == 0u) { atomicSub(&under_way[0], 1u); }
}`,
  };
}
const cases = options.formats
  .split(",")
  .flatMap((format) =>
    options.tokens
      .split(",")
      .flatMap((m) => options.shapes.split(",").map((shape) => ({ format, m: Number(m), shape }))),
  );
for (const { m, shape, format } of cases) {
  if (performance.now() > until) continue;
  const { n, k } = shapes[shape];
  const sparse = format === "2:4-int4";
  const terms = shape === "gate+up" ? 2 : 1;
  const spec = formats[format];
  const bytes = terms * formatBytes(spec, { rows: n, columns: k });
  const weights = options.null ? null : repeatedWeights(spec, n, k, n + k);
  const x = randomValues(m * k, 7).map((value) => roundF16(value / 8));
  const tokens = [...new Set([0, m >> 1, m - 1])];
  const expected =
    weights &&
    tokens.map((token) =>
      Array.from({ length: weights.rows }, (_, row) => {
        let sum = 0;
        for (let at = 0; at < k; at++) sum += x[token * k + at] * weights.values[row * k + at];
        return terms === 2 ? silu(sum) * sum : sum;
      }),
    );
  const list = (m <= 16 ? few(terms) : m <= 64 ? some(terms) : []).flatMap((cut) => {
    const made = prototype({ format, m, n, k, terms }, cut);
    return made === null ? [] : [{ cut, ...made }];
  });
  if (options.null) {
    for (const { cut, wgsl } of list) {
      const { messages } = await gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
      if (messages.length > 0)
        throw new Error(`${JSON.stringify(cut)} ${messages.map(({ message }) => message).join("; ")}\n${wgsl}`);
    }
    console.log(m, shape, format, list.length);
    continue;
  }
  await withBuffers(device, async (make) => {
    const input = await make(Uint16Array.from(x, f16Bits), "activations");
    const sets = [];
    for (let taken = 0; taken === 0 || taken < 2 ** 28; taken += bytes) {
      const w = await make(weights.words, "weights");
      sets.push({ x: input, w, gate: w, up: terms === 2 ? await make(weights.words, "weights") : w });
    }
    const result = await make(2 * m * n, "result");
    const times = [];
    const show = (text, { us, slow }, error) =>
      times.push([
        us,
        `${String(m).padStart(4)} ${shape.padEnd(7)} ${format.padEnd(8)} ${text.padEnd(76)} ${us.toFixed(1).padStart(7)} us${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}${error < 0.02 ? "" : ` WRONG ${error}`}`,
      ]);
    const errorNow = async () => {
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
    };
    const target = targetOf(device);
    const sizes = terms === 2 ? { B: 1, T: m, M: n, D: k } : { B: 1, T: m, N: n, K: k };
    for (const each of ["f16", format]) {
      const bound = formats[each];
      const own = [];
      const size = terms * formatBytes(bound, { rows: n, columns: k });
      if (each === "f16")
        for (let taken = 0; taken < 2 ** 28; taken += size) {
          const w = await make(size / terms, "weights");
          own.push({ x: input, w, gate: w, up: terms === 2 ? await make(size / terms, "weights") : w });
        }
      const { program } = compileStages(
        library.get(terms === 2 ? "gated" : "linear"),
        { sizes, dtypes: { E: "f16" }, formats: terms === 2 ? { P: bound, U: bound } : { F: bound } },
        target,
      );
      const prepared = await prepare(device, make, program, each === "f16" ? own : sets, result);
      if (program.kernels.length === 1) {
        const code = counted(program.kernels[0].wgsl);
        const under = await make(16, "under way");
        const step = program.steps.find(({ kind }) => kind === "dispatch");
        const extra = { ...program, kernels: [{ wgsl: code.wgsl }], steps: [step] };
        const [[dispatch]] = await prepare(
          device,
          make,
          extra,
          (each === "f16" ? own : sets).slice(0, 1),
          result,
          under,
        );
        const encoder = gpu.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(dispatch.pipeline);
        pass.setBindGroup(0, dispatch.group);
        pass.dispatchWorkgroups(...dispatch.workgroups);
        pass.end();
        gpu.queue.submit([encoder.finish()]);
        const [, most] = new Uint32Array((await device.read(under, 0, 8)).buffer);
        console.log(`${most} workgroups of ${dispatch.workgroups.join("x")} at a time: ${each} as chosen`);
      }
      show(`${each} as the compiler chooses`, await watch.time(prepared), each === "f16" ? 0 : await errorNow());
    }
    const buffersOf = (set) => {
      const weightsOf = terms === 2 ? [set.gate, set.up] : [set.w];
      return [set.x, ...weightsOf.flatMap((w) => Array(sparse ? 3 : 2).fill(w)), result];
    };
    const pipelineOf = (code) =>
      gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
      });
    const groupOf = (pipeline, buffers) =>
      gpu.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: buffers.map((buffer, at) => ({ binding: at, resource: { buffer } })),
      });
    const started = performance.now();
    const pipelines = await watch.busyUntil(Promise.all(list.map(({ wgsl }) => pipelineOf(wgsl))));
    console.log(
      `${m} ${shape} ${format}: ${list.length} compiled in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
    const made = [];
    for (const [at, { cut, workgroups }] of list.entries()) {
      if (performance.now() > until) continue;
      const pipeline = pipelines[at];
      const time = await watch.time(
        sets.map((set) => [{ pipeline, group: groupOf(pipeline, buffersOf(set)), workgroups }]),
        600,
      );
      const name = Object.entries(cut)
        .map(([key, value]) => `${key}=${value}`)
        .join(" ");
      show(name, time, await errorNow());
      made.push({ ...time, name, ...list[at] });
    }
    for (const { name, wgsl, workgroups } of made.sort((a, b) => a.us - b.us).slice(0, 4)) {
      const code = counted(wgsl);
      const pipeline = await pipelineOf(code.wgsl);
      const under = await make(16, "under way");
      const group = groupOf(pipeline, [...buffersOf(sets[0]), under]);
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...workgroups);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
      const [, most] = new Uint32Array((await device.read(under, 0, 8)).buffer);
      console.log(`${most} workgroups of ${workgroups.join("x")} at a time: ${name}`);
    }
    for (const [, text] of times.sort((a, b) => a[0] - b[0])) console.log(text);
  });
}
if (watch !== null) {
  console.log(`clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`);
  watch.close();
}
device.close();
