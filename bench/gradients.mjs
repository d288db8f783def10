/**
 * The products of a layer and of its gradients, of SmolLM2-135M's shape for 16,384 tokens in windows of 512, f16 with
 * sums in f32:
 *
 *   npm run build && node bench/gradients.mjs [--tiles] [PART OF A NAME...]
 *
 * Sums over tokens for a weight are taken in parts (`parts`), and beside it whole. `--tiles`: each product of weights also by other tiles, which are held to the result of the compiler's own choice
 * before their time is told.
 */
import { check } from "../dist/compiler/check/check.js";
import { compileStages } from "../dist/compiler/compile.js";
import { f16Bits, f16FromBits } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { timeProgram } from "../dist/runtime/bench/timing.js";
import { randomValues } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { tile } from "./tiles.mjs";

const source = `
fn forward(x: f16[B, T, K], w: f16[N, K]) -> f16[B, T, N] {
  return y where y[b, t, n] = f16(sum[k] f32(x[b, t, k]) * f32(w[n, k]))
}
fn by_input(dy: f16[B, T, N], w: f16[N, K]) -> f16[B, T, K] {
  let start[b, t, k] = 0.0 for b in 0 .. B, t in 0 .. T, k in 0 .. K
  var dx = start
  dx[b, t, k] += f32(dy[b, t, n]) * f32(w[n, k]) for b in 0 .. B, t in 0 .. T, n in 0 .. N, k in 0 .. K
  return out where out[b, t, k] = f16(dx[b, t, k])
}
fn by_weight(dy: f16[B, T, N], x: f16[B, T, K]) -> f32[N, K] {
  let start[n, k] = 0.0 for n in 0 .. N, k in 0 .. K
  var dw = start
  dw[n, k] += f32(dy[b, t, n]) * f32(x[b, t, k]) for b in 0 .. B, t in 0 .. T, n in 0 .. N, k in 0 .. K
  return dw
}
fn scores(q: f16[B, T, A, H], k: f16[B, C, G, H]) -> f16[B, T, A, C] where A % G == 0 {
  return s where s[b, t, a, c] = f16(sum[i] f32(q[b, t, a, i]) * f32(k[b, c, a / (A / G), i]))
}
fn by_queries(ds: f16[B, T, A, C], k: f16[B, C, G, H]) -> f16[B, T, A, H] where A % G == 0 {
  return dq where dq[b, t, a, i] = f16(sum[c] f32(ds[b, t, a, c]) * f32(k[b, c, a / (A / G), i]))
}
fn by_values(p: f16[B, T, A, C], dy: f16[B, T, A, H], G: size) -> f16[B, C, G, H] where A % G == 0 {
  let start[b, c, g, i] = 0.0 for b in 0 .. B, c in 0 .. C, g in 0 .. G, i in 0 .. H
  var dv = start
  dv[b, c, a / (A / G), i] += f32(p[b, t, a, c]) * f32(dy[b, t, a, i]) for b in 0 .. B, t in 0 .. T, a in 0 .. A, c in 0 .. C, i in 0 .. H
  return out where out[b, c, g, i] = f16(dv[b, c, g, i])
}
`;
const file = "gradients.esp";
const { value, diagnostics } = check(file, { read: (path) => (path === file ? source : null) });
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));

const tiles = [tile(128, 128, [2, 2, 2], 64), tile(128, 64, [2, 2, 2], 64), tile(64, 64, [2, 2, 2], 64)];
const [B, T, D, M, heads, groups, head] = [32, 512, 576, 1536, 9, 3, 64];
const products = (N, K) => [
  ["forward", { B, T, N, K }, 2 * B * T * N * K, tiles],
  ["by_input", { B, T, N, K }, 2 * B * T * N * K, tiles],
  ["by_weight", { B, T, N, K }, 2 * B * T * N * K, tiles],
];
const attention = { B, T, A: heads, C: T, G: groups, H: head };
const cases = [
  ...products(M, D),
  ...products(D, M),
  ...products(D, D),
  ...products(groups * head, D),
  ...["scores", "by_queries", "by_values"].map((name) => [name, attention, 2 * B * T * T * heads * head, []]),
];

const parts = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const withTiles = process.argv.includes("--tiles");
const device = await openDevice({ kind: "gpu", unchecked: true });
const target = targetOf(device);
console.log(device.name);
for (const [name, sizes, operations, others] of cases) {
  const label = `${name} ${Object.values(sizes).join("x")}`;
  if (parts.length > 0 && !parts.some((part) => label.includes(part))) continue;
  const graph = value.functions.get(name);
  await withBuffers(device, async (make) => {
    let set = null;
    let result = null;
    let wanted = null;
    const splits = name === "by_weight" ? [true, false] : [true];
    const schedules = [null, ...(withTiles ? others : [])];
    const ways = schedules.flatMap((schedule) => splits.map((parts) => ({ schedule, parts })));
    for (const options of ways) {
      const { schedule, parts: split } = options;
      const named = Object.fromEntries(graph.parameters.sizes.map((size) => [size, sizes[size]]));
      const stages = compileStages(graph, { sizes: named }, target, options);
      if (!("program" in stages)) throw new Error(stages.diagnostics.map(({ message }) => message).join("\n"));
      const { program } = stages;
      const { concrete } = stages;
      if (set === null) {
        set = new Map();
        for (const [at, input] of concrete.inputs.entries()) {
          const count = concrete.values[input.value].type.shape.reduce((a, b) => a * b, 1);
          const numbers = Uint16Array.from(randomValues(count, at + 3), (each) => f16Bits(each / 8));
          set.set(input.name, await make(numbers, input.name));
        }
      }
      const output = concrete.values[concrete.outputs[0].value].type;
      const bytes = output.shape.reduce((a, b) => a * b, 1) * (output.dtype === "f16" ? 2 : 4);
      result ??= await make(bytes, "result");
      const time = () => timeProgram(device, program, [set], new Map([[program.outputs[0].name, result]]));
      // the first after a pause is slower, whatever it is
      if (wanted === null) await time();
      const { us } = await time();
      const read = await device.read(result, 0, Math.min(bytes, 2 ** 22));
      const values =
        output.dtype === "f16"
          ? Float32Array.from(new Uint16Array(read.buffer), f16FromBits)
          : new Float32Array(read.buffer);
      wanted ??= values;
      let [error, norm] = [0, 0];
      values.forEach((each, at) => {
        error += (each - wanted[at]) ** 2;
        norm += wanted[at] ** 2;
      });
      const way =
        schedule === null
          ? `${split ? "chosen" : "whole"}: ${program.kernels.map((kernel) => kernel.schedule).join(" ")}`
          : `${schedule.tokens}x${schedule.rows} ${schedule.subgroups} ${schedule.slice} ${split ? "in parts" : "whole"}`;
      console.log(
        `${label.padEnd(28)} ${way.padEnd(28)} ${us.toFixed(1).padStart(9)} us ` +
          `${(operations / us / 1e6).toFixed(1).padStart(7)} TFLOP/s  differs by ${Math.sqrt(error / norm).toExponential(1)}`,
      );
    }
  });
}
device.close();
