/**
 * Times that can be compared although clocks move: beside each pass runs a kernel whose cycles are known, and a pass
 * counts only while that is as fast as it has ever been. The clocks of an idle GPU fall, and on some machines come back
 * after a second only.
 */
import { execFileSync } from "node:child_process";
import { bufferUsage } from "../dist/runtime/device/device.js";

/** Additions that depend on each other: four cycles each on this kind of GPU. */
const additions = 8192;
const reference = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var x = f32(id.x);
  for (var at = 0u; at < ${additions / 16}u; at++) { ${"x = x * 1.0001f + 1.5f; ".repeat(16)} }
  if (x == 0.5f) { out[0] = x; }
}`;

/** What the driver says of clocks and power, or nothing. */
export function clocks() {
  try {
    const fields = "clocks.sm,clocks.max.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active";
    return execFileSync("nvidia-smi", [`--query-gpu=${fields}`, "--format=csv,noheader"], { timeout: 3000 })
      .toString()
      .trim();
  } catch {
    return "";
  }
}

/**
 * Dispatches of a Program for the stopwatch: a list for each set of inputs, which are buffers by their names. `further` is
 * bound after what a step binds.
 */
export async function prepare({ gpu }, make, program, sets, result, further = null) {
  const temporaries = new Map();
  for (const { id, bytes, role } of program.buffers)
    if (role === "temporary") temporaries.set(id, await make(bytes, "temporary"));
  const pipelines = await Promise.all(
    program.kernels.map(({ wgsl: code }) =>
      gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
      }),
    ),
  );
  return sets.map((set) =>
    program.steps.flatMap((step) => {
      if (step.kind !== "dispatch") return [];
      const entries = step.buffers.map((id, binding) => {
        const name = program.inputs.find(({ buffer }) => buffer === id)?.name ?? "";
        return { binding, resource: { buffer: temporaries.get(id) ?? set[name] ?? result } };
      });
      const pipeline = pipelines[step.kernel];
      if (further !== null) entries.push({ binding: entries.length, resource: { buffer: further } });
      const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
      return [{ pipeline, group, workgroups: step.workgroups }];
    }),
  );
}

/** A stopwatch for dispatches: lists of { pipeline, group, workgroups }, one for each set of inputs. */
export async function stopwatch(device) {
  const { gpu } = device;
  const module = gpu.createShaderModule({ code: reference });
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const sink = gpu.createBuffer({ size: 16, usage: bufferUsage.storage });
  const group = gpu.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: sink } }],
  });
  const query = gpu.createQuerySet({ type: "timestamp", count: 6 });
  const resolved = gpu.createBuffer({ size: 48, usage: bufferUsage.queryResolve | bufferUsage.copySrc });
  /** Passes that a time is taken from. */
  const wanted = 15;
  let fastest = Infinity;
  let next = 0;

  const beside = (compute) => {
    compute.setPipeline(pipeline);
    compute.setBindGroup(0, group);
    compute.dispatchWorkgroups(132);
  };
  /** Microseconds of a run and of the reference beside it. */
  const pass = async (sets, runs) => {
    const encoder = gpu.createCommandEncoder();
    const within = (at, body) => {
      const timestampWrites = { querySet: query, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
      const compute = encoder.beginComputePass({ timestampWrites });
      body(compute);
      compute.end();
    };
    within(0, beside);
    within(2, (compute) => {
      for (let run = 0; run < runs; run++, next++)
        for (const dispatch of sets[next % sets.length]) {
          compute.setPipeline(dispatch.pipeline);
          compute.setBindGroup(0, dispatch.group);
          if (dispatch.parameters) compute.setBindGroup(1, dispatch.parameters, dispatch.offsets);
          compute.dispatchWorkgroups(...dispatch.workgroups);
        }
    });
    within(4, beside);
    encoder.resolveQuerySet(query, 0, 6, resolved, 0);
    gpu.queue.submit([encoder.finish()]);
    const stamps = new BigUint64Array((await device.read(resolved, 0, 48)).buffer);
    const took = (at) => Number(stamps[at + 1] - stamps[at]) / 1000;
    return { us: took(2) / runs, beside: (took(0) + took(4)) / 2 };
  };

  return {
    /** What a promise gives; until then the GPU works, so that its clocks stay. */
    async busyUntil(promise) {
      let pending = true;
      const settled = promise.finally(() => {
        pending = false;
      });
      settled.catch(() => {});
      while (pending) {
        const encoder = gpu.createCommandEncoder();
        const compute = encoder.beginComputePass();
        for (let run = 0; run < 200; run++) beside(compute);
        compute.end();
        gpu.queue.submit([encoder.finish()]);
        await gpu.queue.onSubmittedWorkDone();
      }
      return settled;
    },
    /** The clock that the reference stands for at its fastest, GHz. */
    clock: () => (4 * additions) / fastest / 1000,
    /**
     * Microseconds of a run: of short passes at full clock, which another process may stretch, the third fastest. `slow`:
     * how much slower the clock was, if it was.
     */
    async time(sets, patience = 1500) {
      let estimate = await pass(sets, 1);
      // what spills is not worth the time
      if (estimate.us > 30_000) return { us: estimate.us, slow: estimate.beside / fastest };
      const good = [];
      let all = [];
      const started = performance.now();
      while (good.length < wanted && (performance.now() - started < patience || all.length < 3)) {
        const runs = Math.max(2, Math.min(100, 1000 / estimate.us)) | 0;
        estimate = await pass(sets, runs);
        if (estimate.beside < fastest) fastest = estimate.beside;
        all.push(estimate);
        // the first passes only warm up
        if (estimate.beside < 1.04 * fastest && all.length > 5) good.push(estimate.us);
      }
      const third = (times) => times.sort((a, b) => a - b)[Math.min(2, times.length - 1)];
      if (good.length >= 5) return { us: third(good), slow: 1 };
      all = all.slice(-wanted);
      return { us: third(all.map(({ us }) => us)), slow: third(all.map((each) => each.beside)) / fastest };
    },
    close() {
      query.destroy();
      sink.destroy();
      resolved.destroy();
    },
  };
}
