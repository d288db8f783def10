/**
 * How many workgroups a GPU has under way at a time, by their invocations and workgroup memory:
 *
 *   npm run build && node bench/residency.mjs
 *
 * Each counts itself in and out, and adds for a while. What is told is the largest count over the number of processors
 * (132 of an H100 or H200).
 */
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { openDevice } from "../dist/runtime/device/device.js";

const processors = 132;
const device = await openDevice({ kind: "gpu", unchecked: true });
const { gpu } = device;
console.log(device.name);
const code = (invocations, vectors) => `
@group(0) @binding(0) var<storage, read_write> under_way: array<atomic<u32>>;
var<workgroup> memory: array<vec4<u32>, ${vectors}>;
@compute @workgroup_size(${invocations})
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) id: vec3<u32>) {
  if (local_index == 0u) { atomicMax(&under_way[1], atomicAdd(&under_way[0], 1u) + 1u); }
  var x = f32(local_index);
  for (var at = 0u; at < 400u; at++) { ${"x = x * 1.0001f + 1.5f; ".repeat(8)} }
  for (var at = local_index; at < ${vectors}u; at += ${invocations}u) { memory[at] = vec4<u32>(u32(x) + at); }
  workgroupBarrier();
  if (memory[(u32(x) * 7u) % ${vectors}u].x == 12345u) { atomicAdd(&under_way[2], 1u); }
  workgroupBarrier();
  if (local_index == 0u) { atomicSub(&under_way[0], 1u); }
}`;
await withBuffers(device, async (make) => {
  for (const invocations of [32, 64, 128, 256]) {
    const row = [];
    for (const kib of [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48]) {
      const pipeline = await gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: gpu.createShaderModule({ code: code(invocations, kib * 64) }), entryPoint: "main" },
      });
      const counts = await make(16, "counts");
      const group = gpu.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [{ binding: 0, resource: { buffer: counts } }],
      });
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(processors * 40);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
      const [, most] = new Uint32Array((await device.read(counts, 0, 8)).buffer);
      row.push(`${kib} KiB: ${(most / processors).toFixed(2)}`);
    }
    console.log(`${invocations} invocations; ${row.join(", ")}`);
  }
});
device.close();
