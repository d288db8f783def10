/**
 * Products of one layer for one to eight tokens: those of integers (activations in int8), cut in every way that may be
 * tried, against those of floats, in one run:
 *
 *   npm run build && node bench/dot.mjs [--json] [--tokens 1,2,4,8] [--formats int4,sparse] [--shapes qkv,o,gate+up,down] [--quick] [--norm] [--cut SCHEDULE]
 *
 * Weights take turns over more memory than any cache holds. What a program leaves is compared with sums on the host
 * before it is timed; WRONG marks what differs. `--quick` times the first cut only, `--cut` these instead, schedules in
 * JSON, and `--norm` also products that round their activations themselves (16 bits of them), as in a block: q, k, v and
 * gate and up after a norm. Formats are int4 and sparse, of which there are products of integers, and f16 and sparse16,
 * of which there are products of floats only; 2:4 ones of these look activations up.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { compileStages } from "../dist/compiler/compile.js";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { formatOfSpec, formatBytes } from "../dist/compiler/formats/registry.js";
import { productOf } from "../dist/compiler/graph/analysis/product.js";
import { dotSides } from "../dist/compiler/lower/product/dot-sides.js";
import { lookupCuts } from "../dist/compiler/lower/schedules/lookup-candidates.js";
import { dotCandidates } from "../dist/compiler/lower/schedules/dot-candidates.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { benchLayers } from "../dist/runtime/bench/shapes.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { createHost, standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, prepare, stopwatch } from "./steady.mjs";

const { values: options } = parseArgs({
  options: {
    json: { type: "boolean" },
    quick: { type: "boolean" },
    cut: { type: "string", multiple: true },
    norm: { type: "boolean" },
    device: { type: "string", default: "auto" },
    model: { type: "string", default: "llama-3.1-8b" },
    tokens: { type: "string", default: "1" },
    formats: { type: "string", default: "int4,sparse" },
    shapes: { type: "string" },
    group: { type: "string", default: "128" },
  },
});
const models = {
  "llama-3.1-8b": { hiddenSize: 4096, intermediateSize: 14336, heads: 32, keyValueHeads: 8, headDim: 128 },
  // the model of examples/: small enough for a CPU
  "classics-3.7m": { hiddenSize: 256, intermediateSize: 768, heads: 4, keyValueHeads: 2, headDim: 64 },
};
const int4 = { name: "int4", args: { group: 128, symmetric: true, scale: "f16" }, of: null };
const f16 = { name: "f16", args: {}, of: null };
const sparse = (of) => ({ name: "nm", args: { n: 2, m: 4 }, of });
const formats = { f16, sparse16: sparse(f16), int4, sparse: sparse(int4) };
const { value, diagnostics } = check(fileURLToPath(new URL("dot.esp", import.meta.url)), createHost());
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const library = standardLibrary();
const device = await openDevice({ kind: options.device, unchecked: true });
const target = targetOf(device);
const watch = await stopwatch(device);
const half = device.features.has("shader-f16");
const say = (row) => {
  if (options.json) console.log(JSON.stringify(row));
  else
    console.log(
      `${row.shape.padEnd(8)} ${String(row.tokens).padStart(2)} ${row.format.padEnd(8)} ${row.us.toFixed(2).padStart(9)} us ${row.gbs.toFixed(0).padStart(6)} GB/s ${row.right ? "     " : "WRONG"} ${row.cut}${row.slow > 1.04 ? ` at ${(1 / row.slow).toFixed(2)} of the clock` : ""}`,
    );
};
/** A row as `rms_norm`, of gains of 1, where it is normalised, and `round_activations` make it. */
function roundedRow(row, group, isNormed) {
  const scale = isNormed ? 1 / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length + 1e-5) : 1;
  const normed = row.map((x) => (half ? roundF16(x * scale) : x * scale));
  for (let from = 0; from < row.length; from += group) {
    const part = normed.subarray(from, from + group);
    const step = part.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127;
    part.forEach((x, at) => (part[at] = Math.round(x / step) * step));
  }
  return normed;
}
const cutText = (schedule) =>
  Object.entries(schedule)
    .slice(1)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
const silu = (x) => x / (1 + Math.exp(-x));
/**
 * Times a program over copies of weights, each a buffer a tensor, after comparing what it leaves with `expected`,
 * [token][row of those that repeat]. The clocks of an idle GPU fall within milliseconds, so each is warmed up anew.
 */
async function time(program, x, tensors, copies, expected, rows) {
  return withBuffers(device, async (make) => {
    const input = await make(x, "activations");
    const ones = await make(new Float32Array(gainColumns).fill(1), "gain");
    const sets = copies.map((buffers) => ({
      x: input,
      gain: ones,
      ...Object.fromEntries(tensors.map((name, at) => [name, buffers[at]])),
    }));
    const [out] = program.outputs;
    const result = await make(program.buffers[out.buffer].bytes, "result");
    const { us, slow } = await watch.time(await prepare(device, make, program, sets, result));
    const [tokens, n] = [out.shape.at(-2), out.shape.at(-1)];
    const f16 = program.buffers[out.buffer].bytes < 4 * tokens * n;
    const read = await device.read(result, 0, tokens * n * (f16 ? 2 : 4));
    const found = f16 ? Float32Array.from(new Uint16Array(read.buffer), f16FromBits) : new Float32Array(read.buffer);
    let [error, norm] = [0, 0];
    for (let t = 0; t < tokens; t++)
      for (let row = 0; row < n; row++) {
        const want = expected[t][row % rows];
        error += (found[t * n + row] - want) ** 2;
        norm += want ** 2;
      }
    return { us, slow, off: Math.sqrt(error / norm) };
  });
}

/** The schedules of a kind that are to be timed: those asked for, or all that may be tried. */
const cutsOf = (kind, all) => options.cut?.map((cut) => JSON.parse(cut)).filter((cut) => cut.kind === kind) ?? all();

/** Columns of the longest row. */
const gainColumns = 16384;
const totals = new Map();
const note = (key, us) => totals.set(key, (totals.get(key) ?? 0) + us);
const wanted = options.shapes?.split(",");
for (const { layer, n: outputs, k } of benchLayers(models[options.model])) {
  if (wanted !== undefined && !wanted.includes(layer)) continue;
  const pair = layer === "gate+up";
  const n = pair ? outputs / 2 : outputs;
  const tensors = pair ? ["gate", "up"] : ["w"];
  for (const name of options.formats.split(",")) {
    const spec = formats[name];
    const weights = repeatedWeights(spec, n, k, n + k);
    const bytes = tensors.length * formatBytes(spec, { rows: n, columns: k });
    await withBuffers(device, async (make) => {
      const copies = [];
      for (let taken = 0; taken === 0 || taken < (device.kind === "cpu" ? 2 ** 24 : 2 ** 28); taken += bytes) {
        const buffers = [];
        for (const tensor of tensors) buffers.push(await make(weights.words, tensor));
        copies.push(buffers);
      }
      for (const tokens of options.tokens.split(",").map(Number)) {
        const group = Math.min(Number(options.group), k);
        const int8 = { name: "int8", args: { group, symmetric: true, scale: "f32" }, of: null };
        const scale = new Float32Array((tokens * k) / group).fill(1 / 127);
        const shape = { rows: tokens, columns: k };
        const packed = formatOfSpec(int8).encode(int8, shape, randomValues(tokens * k, 7), { scale, zero: null });
        const x = formatOfSpec(int8).decode(int8, shape, packed);
        const expected = Array.from({ length: tokens }, (_, t) =>
          Array.from({ length: weights.rows }, (__, row) => {
            let sum = 0;
            for (let at = 0; at < k; at++) sum += x[t * k + at] * weights.values[row * k + at];
            return pair ? silu(sum) * sum : sum;
          }),
        );
        const run = async (program, given, most, what, cut, results = expected) => {
          const { us, slow, off } = await time(program, given, tensors, copies, results, weights.rows);
          say({
            shape: layer,
            tokens,
            format: name,
            us,
            slow,
            gbs: bytes / us / 1000,
            right: off <= most,
            off,
            what,
            cut,
          });
          return us;
        };
        const formatsOf = pair ? { P: spec, U: spec } : { F: spec };
        const ofFloats = (options) =>
          compileStages(
            library.get(pair ? "gated" : "linear"),
            {
              sizes: { B: 1, T: tokens, ...(pair ? { M: n, D: k } : { N: n, K: k }) },
              dtypes: { E: half ? "f16" : "f32" },
              formats: formatsOf,
            },
            target,
            options,
          );
        const runFloats = async (program, cut) =>
          run(program, half ? Uint16Array.from(x, f16Bits) : x, half ? 4e-3 : 1e-5, "floats", cut);
        const { program: floats, fused } = ofFloats({});
        const chosen = await runFloats(floats, floats.kernels.map(({ schedule }) => schedule).join("+"));
        note(`${tokens} ${name} floats`, chosen);
        const lookups = options.quick
          ? []
          : cutsOf("lookup", () => lookupCuts({ graph: fused, target }, productOf(fused, fused.eqns[0])));
        const looked = [chosen];
        for (const schedule of lookups)
          looked.push(await runFloats(ofFloats({ schedule }).program, `lookup ${cutText(schedule)}`));
        if (!options.quick) note(`${tokens} ${name} floats, best cut`, Math.min(...looked));
        if (name === "f16" || name === "sparse16") continue;
        const graph = value.functions.get(pair ? "gated_product" : "product");
        const binding = { sizes: { T: tokens, N: n, K: k, group }, formats: formatsOf };
        const plain = compileStages(graph, binding, target);
        if ("diagnostics" in plain) throw new Error(plain.diagnostics.map(({ message }) => message).join("\n"));
        const product = productOf(plain.fused, plain.fused.eqns[0]);
        const sides = dotSides(product, target);
        const cuts = sides === null ? [] : cutsOf("dot", () => dotCandidates(product, sides, target));
        const times = [];
        for (const schedule of options.quick ? cuts.slice(0, 1) : cuts) {
          const { program } = compileStages(graph, binding, target, { schedule });
          times.push(await run(program, packed, 1e-5, "integers", cutText(schedule)));
        }
        if (options.norm) {
          const isNormed = layer === "qkv" || pair;
          const whole = pair ? "normed_gated" : isNormed ? "normed_product" : "rounded_product";
          const rows = Uint16Array.from(randomValues(tokens * k, 11), f16Bits);
          const rounded = Array.from({ length: tokens }, (_, t) =>
            roundedRow(Float32Array.from(rows.subarray(t * k, (t + 1) * k), f16FromBits), group, isNormed),
          );
          const results = rounded.map((row) =>
            Array.from({ length: weights.rows }, (_, at) => {
              let sum = 0;
              for (let column = 0; column < k; column++) sum += row[column] * weights.values[at * k + column];
              return pair ? silu(sum) * sum : sum;
            }),
          );
          const sizes = { B: 1, T: tokens, N: n, K: k, group };
          const of = { sizes, formats: formatsOf, dtypes: { E: half ? "f16" : "f32" } };
          const given = half ? rows : Float32Array.from(rows, f16FromBits);
          for (const schedule of options.quick ? [null] : [null, ...cuts]) {
            const own = schedule === null ? {} : { schedule: { ...schedule, slots: Math.max(1, schedule.slots) } };
            const { program } = compileStages(value.functions.get(whole), of, target, own);
            if (program.kernels.length > 1) continue;
            const cut = schedule === null ? "chosen" : Object.values(schedule).slice(1).join(" ");
            const us = await run(
              program,
              given,
              2e-2,
              "rounded",
              `${isNormed ? "normed" : "rounded"}: ${cut}`,
              results,
            );
            if (schedule === null) note(`${tokens} ${name} integers as a block has them, as chosen`, us);
          }
        }
        note(`${tokens} ${name} integers, first cut`, times[0] ?? Infinity);
        if (!options.quick) note(`${tokens} ${name} integers, best cut`, Math.min(...times));
      }
    });
  }
}
for (const [what, us] of totals)
  console.log(options.json ? JSON.stringify({ layer: what, us }) : `one layer, ${what}: ${us.toFixed(1)} us`);
const text = `${device.name}, ${clocks()}`;
console.log(options.json ? JSON.stringify({ device: text }) : text);
watch.close();
device.close();
