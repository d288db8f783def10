/** The laws of `locate`, `stored` and `packed` again, through WGSL on the CPU driver. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec, printFormat } from "../../compiler/formats/registry.js";
import type { Kernel } from "../../compiler/kernel/kernel.js";
import { openDevice } from "../../runtime/device/device.js";
import { createExecutor, type Executor } from "../../runtime/run/run.js";
import { parseFormat } from "../support/format-text.js";
import { runKernel } from "../support/run-kernel.js";
import { sampleOf } from "../support/samples.js";
import { lawKernels, type Sample } from "./laws.js";

const device = suite<{ executor: Executor; close: () => void }>("formats on the device");

device.before(async (context) => {
  const opened = await openDevice({ kind: "cpu" });
  context.executor = await createExecutor(opened, { poison: true });
  context.close = () => opened.close();
});
device.after(({ close }) => close());

const cases = [
  ["f32", 5],
  ["f16", 5],
  ["f16", 16],
  ["bf16", 6],
  ["i32", 4],
  ["u32", 3],
  ["int4(32)", 64],
  ["int4(channel, asymmetric)", 13],
  ["int8(16, asymmetric, scale: f32)", 48],
  ["int4(32, shift: 16)", 64],
  ["int8(channel, asymmetric, shift: 40)", 13],
  ["nm(2, 4) of int4(32, shift: 8)", 64],
  ["nm(2, 4) of f16", 32],
  ["nm(2, 4) of f16", 12],
  ["nm(2, 4) of int4(64)", 128],
  ["nm(2, 4) of int4(8, asymmetric)", 40],
  ["nm(1, 4) of bf16", 32],
  ["nm(4, 8) of int8(64)", 64],
  ["nm(3, 4) of int4(channel)", 20],
  ["nm(5, 8) of f32", 24],
  ["int3(32)", 64],
  ["int5(8, asymmetric)", 24],
  ["int6(32, scale: bf16)", 64],
  ["int4(32, asymmetric, zero: f16)", 64],
  ["int8(32, scale: fp8_e4m3)", 64],
  ["fp8_e4m3", 32],
  ["fp8_e5m2(channel)", 48],
  ["codebook(nf4, 32)", 64],
  ["nm(8, 16) of int4(64)", 64],
  ["nm(2, 4, positions: together) of int3(64)", 64],
  ["int4(32, scale: int8)", 64],
  ["int8(16, asymmetric, scale: int8)", 48],
  ["nm(2, 4) of int4(32, scale: int8)", 64],
  ["codebook(nf4, 32, scale: int8)", 96],
  ["bitmask of int4(32)", 96],
  ["bitmask of fp8_e5m2(32)", 96],
  ["bitmask of codebook(nf4, 32)", 96],
  ["q8_0", 96],
  ["q4_0", 32],
  ["q4_1", 64],
  ["q6_k", 512],
  ["bitmask of f16", 160],
  ["bitmask of f32", 7],
] as const;

/** The smallest f32 that no device may take for zero. */
const normal = 2 ** -126;

for (const [text, columns] of cases) {
  const format = parseFormat(text);
  device(`${printFormat(format)} [3, ${columns}]`, async ({ executor }) => {
    const [drawn] = fc.sample(sampleOf(format, { rows: 3, columns }), { seed: 1, numRuns: 1 }) as [Sample];
    const dense = drawn.dense.map((value) => (Math.abs(value) < normal ? 0 : value));
    const { shape, grid } = drawn;
    const spec = formatOfSpec(format).complete(format, shape, dense, grid);
    const words = formatOfSpec(spec).encode(spec, shape, dense, grid);
    const run = async (
      kernel: Kernel,
      tensors: Readonly<Record<string, Uint32Array | Float32Array>>,
    ): Promise<Uint32Array> => {
      const memory = new Map(
        Object.entries(tensors).map(([name, values]) => [name, values.slice().buffer as ArrayBuffer]),
      );
      return (await runKernel(executor, kernel, memory)).get("out")!;
    };
    const decoded = [...formatOfSpec(spec).decode(spec, shape, words)].map((value) => value + 0);
    const values = (out: Uint32Array): number[] =>
      [...new Float32Array(out.buffer, 0, decoded.length)].map((value) => value + 0);
    const kernels = lawKernels(spec, shape);
    assert.equal(values(await run(kernels.locate, { words })), decoded, "locate");
    if (kernels.stored !== null) assert.equal(values(await run(kernels.stored, { words })), decoded, "stored");
    if (kernels.packed === null) return;
    const scale = grid?.scale ?? new Float32Array(1);
    assert.equal(
      [...(await run(kernels.packed, { dense, scale, zero: grid?.zero ?? scale }))].slice(0, words.length),
      [...words],
      "packed",
    );
  });
}

device.run();
