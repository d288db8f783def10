/**
 * Cuts of products of few tokens whose activations and weights lie in the order of matrices, each alone and with the
 * kernel that adds up its parts:
 *
 *   npm run build && node bench/ordered-tiles.mjs [--tokens 16,32,64] [--shapes qkv,o,gate+up,down] [--format 2:4-int4]
 *     [--cuts '[{"rows": 64, "subgroups": [2, 1, 1], "slice": 64, "parts": 4, "apart": "tiles"}]'] [--seconds 80] [--null]
 *
 * The first of each is what the compiler takes. Words are random, in the order that the program asks for, and nothing is
 * compared: what kernels compute is for test/lower/schedules/orders.test.ts. Weights take turns over more memory than the
 * cache holds. `--null` only compiles, on the backend that computes nothing.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { compileStages } from "../dist/compiler/compile.js";
import { formatWords } from "../dist/compiler/formats/registry.js";
import { f16Bits } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { createHost } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, prepare, stopwatch } from "./steady.mjs";
import { compiledFor, formats, shapes } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,32,64" },
    shapes: { type: "string", default: "gate+up,o,down,qkv" },
    format: { type: "string", default: "2:4-int4" },
    cuts: { type: "string", default: "[]" },
    seconds: { type: "string", default: "80" },
    null: { type: "boolean" },
  },
});
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const own = targetOf(device);
const target = options.null ? compiledFor(own) : own;
const { value, diagnostics } = check(fileURLToPath(new URL("ordered.esp", import.meta.url)), createHost());
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const until = performance.now() + 1000 * Number(options.seconds);
const spec = formats[options.format];
const watch = options.null ? null : await stopwatch(device);

/** Words whose halves are finite as f16, so that scales among them are. */
function randomWords(count) {
  let seed = 12345;
  return Uint32Array.from({ length: count }, () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed ^ (seed >>> 15)) & 0xbfffbfff;
  });
}

/** Compiles the kernels of a program, where nothing can run. */
async function compileOnly({ kernels }) {
  for (const { wgsl } of kernels) {
    const { messages } = await device.gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
    if (messages.length > 0) throw new Error(`${messages.map(({ message }) => message).join("; ")}\n${wgsl}`);
  }
}

console.log(`${device.name} ${clocks()}`);
for (const m of options.tokens.split(",").map(Number))
  for (const shape of options.shapes.split(",")) {
    const { n, k } = shapes[shape];
    const pair = shape === "gate+up";
    const words = randomWords(formatWords(spec, { rows: n, columns: k }));
    await withBuffers(device, async (make) => {
      const x = await make(Uint16Array.from(randomValues(m * k, 7), f16Bits), "activations");
      const gain = await make(new Float32Array(k).fill(1), "gains");
      const result = await make(2 * m * n, "result");
      const sets = [];
      for (
        let taken = 0;
        taken === 0 || (!options.null && taken < 2 ** 28);
        taken += words.byteLength * (pair ? 2 : 1)
      ) {
        const w = await make(words, "weights");
        sets.push({ x, gain, w, gate: w, up: pair ? await make(words, "weights") : w });
      }
      const usual = {
        kind: "matrix",
        tokens: 16 * Math.ceil(m / 16),
        ahead: 0,
        trip: 128,
        left: "ordered",
        strip: "none",
      };
      for (const cut of [null, ...JSON.parse(options.cuts).map((each) => ({ ...usual, ...each }))]) {
        if (performance.now() > until) return;
        const sizes = pair ? { B: 1, T: m, M: n, D: k } : { B: 1, T: m, N: n, K: k };
        const binding = { sizes, dtypes: { E: "f16" }, formats: pair ? { P: spec, U: spec } : { F: spec } };
        const graph = value.functions.get(pair ? "normed_gated" : "normed_linear");
        const { program } = compileStages(graph, binding, target, { schedule: cut, interleave: true });
        const steps = program.steps.filter(({ kind }) => kind === "dispatch");
        const at = steps.findIndex(({ kernel }) => program.kernels[kernel].wgsl.includes("subgroupMatrixMultiply"));
        const called = `${String(m).padStart(3)} ${shape.padEnd(8)} ${cut === null ? "chosen" : JSON.stringify(cut)}`;
        if (at < 0) console.log(`${called}: not by matrices`);
        else if (watch === null) await compileOnly(program);
        else {
          const prepared = await watch.busyUntil(prepare(device, make, { ...program, steps }, sets, result));
          const alone = await watch.time(
            prepared.map((list) => list.slice(at, at + 1)),
            300,
          );
          const all = await watch.time(
            prepared.map((list) => list.slice(at)),
            300,
          );
          const slow = alone.slow > 1.04 ? ` at ${(1 / alone.slow).toFixed(2)} of the clock` : "";
          console.log(`${called}: ${alone.us.toFixed(1)} us, with sums ${all.us.toFixed(1)}${slow}`);
        }
      }
    });
  }
console.log(clocks());
watch?.close();
device.close();
