import type { Program } from "../../compiler/plan/program.js";
import { bufferUsage, type Device } from "../device/device.js";
import { withBuffers, type MakeBuffer } from "./buffers.js";

/** A Program made ready to be timed with several sets of inputs in turn, so that no cache holds them. */
export interface Timed {
  /** Microseconds of one run: the median of several passes. */
  readonly us: number;
}

/** Time that the clocks of an idle GPU need to come up. */
const longWarmUpMs = 200;

/**
 * Times a Program without parameters. `inputs[i]` are the buffers of its inputs, by name; sets take turns. On a device
 * without timestamps the time is that of the host, over a whole batch of runs. `warmUpMs`: how long it is run before.
 */
export function timeProgram(
  device: Device,
  program: Program,
  inputs: readonly ReadonlyMap<string, GPUBuffer>[],
  outputs: ReadonlyMap<string, GPUBuffer>,
  { warmUpMs = longWarmUpMs }: { readonly warmUpMs?: number } = {},
): Promise<Timed> {
  return withBuffers(device, (make) => timeWith(make, device, program, inputs, outputs, warmUpMs));
}

async function timeWith(
  make: MakeBuffer,
  device: Device,
  program: Program,
  inputs: readonly ReadonlyMap<string, GPUBuffer>[],
  outputs: ReadonlyMap<string, GPUBuffer>,
  warmUpMs: number,
): Promise<Timed> {
  const { gpu } = device;
  const temporaries = new Map<number, GPUBuffer>();
  for (const buffer of program.buffers) {
    if (buffer.role !== "temporary") continue;
    temporaries.set(buffer.id, await make(buffer.bytes, `temporary of ${program.name}`));
  }
  const modules = await device.guarded(`compiling ${program.name}`, () =>
    program.kernels.map((kernel) => gpu.createShaderModule({ code: kernel.wgsl })),
  );
  const pipelines = await device.guarded(`compiling ${program.name}`, () =>
    modules.map((module) => gpu.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } })),
  );
  const sets = inputs.map((set) =>
    program.steps.flatMap((step) => {
      if (step.kind !== "dispatch") return [];
      const pipeline = pipelines[step.kernel]!;
      const entries = step.buffers.map((id, binding) => {
        const input = program.inputs.find((tensor) => tensor.buffer === id);
        const output = program.outputs.find((tensor) => tensor.buffer === id);
        const buffer =
          input !== undefined
            ? set.get(input.name)
            : output !== undefined
              ? outputs.get(output.name)
              : temporaries.get(id);
        if (buffer === undefined) throw new Error(`${program.name}: buffer ${id} was not given`);
        return { binding, resource: { buffer } };
      });
      return [
        {
          pipeline,
          group: gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }),
          workgroups: step.workgroups,
        },
      ];
    }),
  );

  const encode = (
    runs: number,
    timestamps: GPUComputePassTimestampWrites | undefined,
    resolve: ((encoder: GPUCommandEncoder) => void) | null,
  ): GPUCommandBuffer => {
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass(timestamps === undefined ? {} : { timestampWrites: timestamps });
    for (let run = 0; run < runs; run++) {
      for (const { pipeline, group, workgroups } of sets[run % sets.length]!) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(...workgroups);
      }
    }
    pass.end();
    resolve?.(encoder);
    return encoder.finish();
  };

  const started = performance.now();
  let runs = 1;
  let perRun = 0;
  do {
    const before = performance.now();
    gpu.queue.submit([encode(runs, undefined, null)]);
    await device.finish();
    perRun = (performance.now() - before) / runs;
    runs = Math.min(100, runs * 2);
  } while (performance.now() - started < warmUpMs);

  const batch = Math.max(1, Math.min(100, Math.ceil(200 / Math.max(perRun, 1e-3))));
  const times: number[] = [];
  if (device.features.has("timestamp-query")) {
    const query = gpu.createQuerySet({ type: "timestamp", count: 2 });
    const resolved = await make(16, "timestamps", bufferUsage.queryResolve | bufferUsage.copySrc);
    for (let pass = 0; pass < 7; pass++) {
      gpu.queue.submit([
        encode(batch, { querySet: query, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 }, (encoder) =>
          encoder.resolveQuerySet(query, 0, 2, resolved, 0),
        ),
      ]);
      const stamps = new BigUint64Array((await device.read(resolved, 0, 16)).buffer);
      times.push(Number(stamps[1]! - stamps[0]!) / 1000 / batch);
    }
    query.destroy();
  }
  if (times.length === 0 || times.every((time) => time <= 0)) {
    times.length = 0;
    for (let pass = 0; pass < 5; pass++) {
      const before = performance.now();
      gpu.queue.submit([encode(batch, undefined, null)]);
      await device.finish();
      times.push((1000 * (performance.now() - before)) / batch);
    }
  }
  times.sort((a, b) => a - b);
  return { us: times[Math.floor(times.length / 2)]! };
}
