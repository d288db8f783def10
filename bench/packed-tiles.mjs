/**
 * Tiles of matrices for packed weights against dense ones, many cuts in one run:
 *
 *   npm run build && node bench/packed-tiles.mjs [--tokens 16,64,2048] [--shapes qkv,o,gate+up,down] [--formats NAME,...]
 *     [--cuts '{"16": [...]}'] [--seconds 80] [--json] [--null]
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
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { cuts } from "./packed-cuts.mjs";
import { clocks, prepare, stopwatch } from "./steady.mjs";
import { compiledFor, formats, shapes } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64,2048,512" },
    shapes: { type: "string", default: "gate+up,o,down,qkv" },
    formats: { type: "string", default: "f16,2:4-int4,int4,2:4-f16" },
    seconds: { type: "string", default: "80" },
    cuts: { type: "string" },
    json: { type: "boolean" },
    null: { type: "boolean" },
  },
});
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const own = targetOf(device);
const target = options.null ? compiledFor(own) : own;
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

/** Compiles the kernels of a program, where nothing can run. */
async function compileOnly(program) {
  for (const { wgsl } of program.kernels) {
    const { messages } = await gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
    if (messages.length > 0) throw new Error(`${messages.map(({ message }) => message).join("; ")}\n${wgsl}`);
  }
}

const watch = options.null ? null : await stopwatch(device);

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
      if (name === "2:4-int4" && !options.json) console.log(`      ${clocks()}`);
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
        const given = options.cuts === undefined ? cuts(m, pair, name) : (JSON.parse(options.cuts)[m] ?? []);
        const compiled = [null, ...given].flatMap((cut) => {
          const sizes = pair ? { B: 1, T: m, M: n, D: k } : { B: 1, T: m, N: n, K: k };
          const binding = { sizes, dtypes: { E: "f16" }, formats: pair ? { P: spec, U: spec } : { F: spec } };
          const stages = compileStages(library.get(pair ? "gated" : "linear"), binding, target, { schedule: cut });
          const taken = stages.program.kernels.map(({ schedule }) => schedule).join("+");
          if (cut !== null && !taken.startsWith(cut.kind)) return [];
          return [{ cut, taken, program: stages.program }];
        });
        const all = Promise.all(
          compiled.map(({ program }) =>
            options.null ? compileOnly(program) : prepare(device, make, program, sets, result),
          ),
        );
        const prepared = await (watch === null ? all : watch.busyUntil(all));
        const rows = [];
        // what runs first after a pause, while buffers were filled, takes up to a quarter longer
        if (watch !== null) await watch.time(prepared[0], 400);
        for (const [at, { cut, taken }] of compiled.entries()) {
          if (performance.now() > until && at > 0) continue;
          const { us, slow } = watch === null ? { us: NaN, slow: 1 } : await watch.time(prepared[at], 400);
          const error = options.null ? 0 : await errorOf(result, expected, tokens, n);
          rows.push({ us, wrong: !(error < 0.02) });
          const row = { tokens: m, shape, format: name, cut, taken, us, slow, error };
          const tflops = (2 * m * (pair ? 2 : 1) * n * k) / us / 1e6;
          console.log(
            options.json
              ? JSON.stringify(row)
              : `${String(m).padStart(5)} ${shape.padEnd(8)} ${name.padEnd(9)} ${(cut === null ? `chosen: ${taken}` : nameOf(cut)).padEnd(40)} ${us.toFixed(1).padStart(8)} us ${tflops.toFixed(0).padStart(5)} TFLOP/s ${(bytes / us / 1000).toFixed(0).padStart(5)} GB/s${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}${error < 0.02 ? "" : ` WRONG ${error}`}`,
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
if (watch !== null) {
  const text = `clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`;
  console.log(options.json ? JSON.stringify({ clocks: text }) : text);
  watch.close();
}
device.close();
