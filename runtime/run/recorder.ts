/** Recording work and submitting it: dispatches of programs, and commands between them. */
import type { ProgramKernel } from "../../compiler/plan/program.js";
import type { Device } from "../device/device.js";
import type { BindGroups } from "./bind-groups.js";
import type { Range } from "./bindings.js";
import type { Outcomes } from "./outcomes.js";
import { createParameterRing } from "./parameters.js";
import type { Pipelines, Prepared } from "./pipelines.js";
import { parameterBlock, playDispatches } from "./play.js";
import type { Poison } from "./poison.js";
import type { Profiler } from "./profile.js";

/** What a replay records. */
export interface BoundDispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** The bind group of its parameter block; null without parameters. */
  readonly parameters: GPUBindGroup | null;
  readonly offsets: readonly number[];
  readonly workgroups: readonly [number, number, number];
  readonly kernel: ProgramKernel;
}

/** What is recorded is submitted in order: when asked for, or when a submit is full. */
export interface Recorder {
  /** Whether something is recorded that is not submitted. */
  readonly isEmpty: boolean;
  /** Whether work that is recorded and not submitted uses a buffer. */
  uses(buffer: GPUBuffer): boolean;
  /** Records a program's dispatches, with its buffers by id and its parameters by name. */
  run(prepared: Prepared, ranges: ReadonlyMap<number, Range>, parameters: ReadonlyMap<string, number>): void;
  /** Records dispatches that are bound already, and what buffers they use. */
  replay(list: readonly BoundDispatch[], buffers: ReadonlySet<GPUBuffer>): void;
  /** Records a copy of bytes, multiples of 4. */
  copy(from: GPUBuffer, offset: number, to: GPUBuffer, bytes: number): void;
  /** Records that buffers which nothing has written yet are filled with poison, where that is asked for. */
  spoil(buffers: Iterable<GPUBuffer>): void;
  /** Submits what is recorded; `outcomes` hears what came of it. */
  flush(): void;
  /** Drops what is recorded, for good. */
  close(): void;
}

export interface RecorderOptions {
  /** Dispatches a submit holds at most. */
  readonly submitLimit: number;
  /** Of runs, the first submit after a flush holds no more, and each further one twice as many: the device begins soon. */
  readonly firstSubmit: number;
  readonly profiler: Profiler | null;
  readonly poison: Poison | null;
  /** Called after each submit. */
  readonly onSubmit: () => void;
}

/** Makes a recorder; one for an executor. */
export async function createRecorder(
  device: Device,
  pipelines: Pipelines,
  groups: BindGroups,
  outcomes: Outcomes,
  { submitLimit, firstSubmit, profiler, poison, onSubmit }: RecorderOptions,
): Promise<Recorder> {
  const { gpu } = device;
  const ring = await createParameterRing(device, pipelines);
  let encoder: GPUCommandEncoder | null = null;
  let pass: GPUComputePassEncoder | null = null;
  let dispatches = 0;
  let most = Math.min(firstSubmit, submitLimit);
  /** Buffers that recorded work uses, and the same of programs that were replayed. */
  const recorded = new Set<GPUBuffer>();
  const replayed = new Set<ReadonlySet<GPUBuffer>>();

  /** The pass for a dispatch: one of its own where each is measured. */
  function begin(kernel: ProgramKernel): GPUComputePassEncoder {
    encoder ??= gpu.createCommandEncoder();
    if (profiler !== null) pass = encoder.beginComputePass({ timestampWrites: profiler.time(kernel) });
    pass ??= encoder.beginComputePass();
    return pass;
  }

  function end(): void {
    if (profiler !== null) {
      pass?.end();
      pass = null;
    }
    dispatches++;
  }

  function flush(): void {
    if (encoder !== null) {
      pass?.end();
      profiler?.resolve(encoder);
      const whole = encoder;
      outcomes.watch(
        device.submit("the recorded kernels", () => {
          ring.write();
          gpu.queue.submit([whole.finish()]);
        }),
      );
    }
    forget();
    onSubmit();
  }

  function forget(): void {
    encoder = null;
    pass = null;
    dispatches = 0;
    ring.clear();
    recorded.clear();
    replayed.clear();
  }

  return {
    get isEmpty() {
      return encoder === null;
    },
    uses: (buffer) => recorded.has(buffer) || [...replayed].some((buffers) => buffers.has(buffer)),
    flush() {
      flush();
      most = Math.min(firstSubmit, submitLimit);
    },
    run({ program, kernels }, ranges, parameters) {
      /** Offsets of the parameter blocks that lie in the ring already. */
      let blocks = new Map<string, number>();
      playDispatches(program, kernels, ranges, parameters, (each) => {
        const { kernel, workgroups } = each;
        if (workgroups.includes(0)) return;
        if (dispatches >= most || !ring.fits(1, kernel.parameterBytes)) {
          flush();
          most = Math.min(2 * most, submitLimit);
          blocks = new Map();
        }
        let offset: number | null = null;
        if (kernel.parameterBytes > 0) {
          const block = parameterBlock(each);
          const key = block.join();
          offset = blocks.get(key) ?? ring.put(block);
          blocks.set(key, offset);
        }
        const group = groups.of(kernel, each.ranges);
        const open = begin(kernel.kernel);
        open.setPipeline(kernel.pipeline);
        open.setBindGroup(0, group);
        if (offset !== null) open.setBindGroup(1, ring.group(kernel.parameterBytes), [offset]);
        dispatch(open, workgroups);
        end();
        for (const { buffer } of each.ranges) recorded.add(buffer);
      });
    },
    replay(list, buffers) {
      // what a pass has set stays set: calls into the driver are most of what a replay costs
      let open: GPUComputePassEncoder | null = null;
      let last: GPUComputePipeline | null = null;
      let group: GPUBindGroup | null = null;
      let block: BoundDispatch | null = null;
      for (const each of list) {
        if (dispatches >= submitLimit) flush();
        const current = begin(each.kernel);
        if (current !== open) [open, last, group, block] = [current, null, null, null];
        if (each.pipeline !== last) current.setPipeline((last = each.pipeline));
        if (each.group !== group) current.setBindGroup(0, (group = each.group));
        const { parameters, offsets } = each;
        if (parameters !== null && (parameters !== block?.parameters || offsets[0] !== block.offsets[0])) {
          current.setBindGroup(1, parameters, offsets);
          block = each;
        }
        dispatch(current, each.workgroups);
        end();
      }
      replayed.add(buffers);
    },
    copy(from, offset, to, bytes) {
      pass?.end();
      pass = null;
      encoder ??= gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(from, offset, to, 0, bytes);
    },
    spoil(buffers) {
      if (poison === null) return;
      pass?.end();
      pass = null;
      encoder ??= gpu.createCommandEncoder();
      for (const buffer of buffers) {
        poison.fill(encoder, buffer);
        recorded.add(buffer);
      }
    },
    close() {
      forget();
      ring.destroy();
    },
  };
}

/** Each number takes time of its own on its way into Dawn; those that are left out are 1. */
function dispatch(pass: GPUComputePassEncoder, [x, y, z]: readonly [number, number, number]): void {
  if (y === 1 && z === 1) pass.dispatchWorkgroups(x);
  else pass.dispatchWorkgroups(x, y, z);
}
