/**
 * Products for one token on the CPU driver, in the shapes of classics-3.7m: integers by every cut beside dense f32, in turns
 * within one run, the least time of each, host time with the dispatch in it:
 *
 *   npm run build && node bench/cpu-products.mjs [rounds]
 *
 * What they compute is held to the evaluator by test/lower/schedules/dot.test.ts.
 */
import { fileURLToPath } from "node:url";
import { check } from "../dist/compiler/check/check.js";
import { compileStages } from "../dist/compiler/compile.js";
import { productOf } from "../dist/compiler/graph/analysis/product.js";
import { dotSides } from "../dist/compiler/lower/product/dot-sides.js";
import { dotCandidates } from "../dist/compiler/lower/schedules/dot-candidates.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { benchLayers } from "../dist/runtime/bench/shapes.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { createHost, standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";

const rounds = Number(process.argv[2] ?? 25);
const runs = 20;
const linear = standardLibrary().get("linear");
const product = check(fileURLToPath(new URL("dot.esp", import.meta.url)), createHost()).value.functions.get("product");
const device = await openDevice({ kind: "cpu", unchecked: true });
const target = targetOf(device);
const { gpu } = device;
const int4 = { name: "int4", args: { group: 128, symmetric: true, scale: "f16" }, of: null };
const formats = { int4, "2:4 int4": { name: "nm", args: { n: 2, m: 4 }, of: int4 } };

/** A program with memory of its own; gives microseconds of a run. */
async function ready(make, program) {
  const buffers = [];
  for (const { bytes } of program.buffers) buffers.push(await make(bytes, "memory"));
  const steps = program.steps.flatMap((step) => {
    if (step.kind !== "dispatch") return [];
    const code = program.kernels[step.kernel].wgsl;
    const pipeline = gpu.createComputePipeline({
      layout: "auto",
      compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
    });
    const entries = step.buffers.map((id, binding) => ({ binding, resource: { buffer: buffers[id] } }));
    const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    return [{ pipeline, group, workgroups: step.workgroups }];
  });
  return async () => {
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let run = 0; run < runs; run++)
      for (const { pipeline, group, workgroups } of steps) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(...workgroups);
      }
    pass.end();
    const begun = performance.now();
    gpu.queue.submit([encoder.finish()]);
    await device.finish();
    return (1000 * (performance.now() - begun)) / runs;
  };
}

const shape = { hiddenSize: 256, intermediateSize: 768, heads: 4, keyValueHeads: 2, headDim: 64 };
for (const { layer, n, k } of benchLayers(shape))
  await withBuffers(device, async (make) => {
    const dense = { sizes: { B: 1, T: 1, N: n, K: k }, dtypes: { E: "f32" }, formats: { F: null } };
    const list = [["f32", await ready(make, compileStages(linear, dense, target).program)]];
    for (const [name, spec] of Object.entries(formats)) {
      const binding = { sizes: { T: 1, N: n, K: k, group: 128 }, formats: { F: spec } };
      const { fused } = compileStages(product, binding, target);
      const found = productOf(fused, fused.eqns[0]);
      for (const schedule of dotCandidates(found, dotSides(found, target), target)) {
        const { program } = compileStages(product, binding, target, { schedule });
        const { teams, rows, workgroups, keeps } = schedule;
        list.push([
          `${name}: ${teams} teams, ${rows} rows, ${workgroups} workgroups, ${keeps}`,
          await ready(make, program),
        ]);
      }
    }
    const best = list.map(() => Infinity);
    for (let round = 0; round < rounds; round++)
      for (const [at, [, run]] of list.entries()) best[at] = Math.min(best[at], await run());
    console.log(`${layer}, ${n} x ${k}`);
    list.forEach(([name], at) =>
      console.log(`  ${name.padEnd(48)} ${best[at].toFixed(1).padStart(8)} us  ${(best[0] / best[at]).toFixed(2)}`),
    );
  });
device.close();
