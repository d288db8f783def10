/**
 * Programs that are bound to their tensors once and replayed: nothing is allocated, looked up or compiled at a replay.
 */
import type { Device } from "../device/device.js";
import { DeviceError } from "../device/error.js";
import type { BindGroups } from "./bind-groups.js";
import { outputTensors, type Given } from "./bindings.js";
import { collectBlocks } from "./constants.js";
import type { Memory, Scratch } from "./memory.js";
import type { Pipelines, Prepared } from "./pipelines.js";
import { playDispatches, type Dispatch } from "./play.js";
import type { BoundDispatch, Recorder } from "./recorder.js";
import type { DeviceTensor } from "./tensor.js";

/** A program bound to tensors and scalars: `executor.replay` runs it. */
export interface Bound {
  /**
   * Its outputs by name, the same tensors at every replay; they live as long as this does. The final state of a mutable
   * input is that input.
   */
  readonly outputs: Readonly<Record<string, DeviceTensor>>;
  /** Of a replay. */
  readonly dispatches: number;
}

/** What a bound program has. */
interface Binding {
  readonly name: string;
  readonly list: readonly BoundDispatch[];
  /** Memory of its own: temporaries and outputs that were not given, and its parameters. */
  readonly own: readonly GPUBuffer[];
  /** What it computes with in a scratch. */
  readonly shared: readonly GPUBuffer[];
  readonly constants: GPUBuffer | null;
  readonly given: readonly DeviceTensor[];
  /** Outputs in memory of its own. */
  readonly made: readonly DeviceTensor[];
  readonly buffers: ReadonlySet<GPUBuffer>;
  /** The releases of memory up to which the tensors given are known to live. */
  aliveAt: number;
}

/** The programs that are bound. */
export interface BoundPrograms {
  /** What it computes with lies in `scratch`, if there is one. @throws DeviceError out-of-memory */
  bind(prepared: Prepared, given: Given, scratch?: Scratch | null): Promise<Bound>;
  /** Records the dispatches of a bound program. @throws DeviceError validation */
  replay(bound: Bound): void;
  /** Gives back what a bound program has of its own. @throws DeviceError validation */
  unbind(bound: Bound): void;
}

/** What binding needs of an executor. */
export interface BindingParts {
  readonly device: Device;
  readonly pipelines: Pipelines;
  readonly groups: BindGroups;
  readonly memory: Memory;
  readonly recorder: Recorder;
}

/** Makes a list of bound programs, empty. */
export function createBoundPrograms({ device, pipelines, groups, memory, recorder }: BindingParts): BoundPrograms {
  const bindings = new Map<Bound, Binding>();
  return {
    async bind({ program, kernels }, { ranges, tensors, words }, scratch = null) {
      const { free, retained, shared } = await memory.claim(program, ranges, scratch);
      const own = [...free, ...retained.values()];
      let constants: GPUBuffer | null = null;
      try {
        const blocks = collectBlocks(device, pipelines);
        const played: (Omit<Dispatch, "words"> & { readonly offset: number | null })[] = [];
        playDispatches(program, kernels, ranges, words, (each) => {
          if (each.workgroups.includes(0)) return;
          played.push({ ...each, offset: each.kernel.parameterBytes > 0 ? blocks.add(each) : null });
        });
        const parameters = await blocks.make();
        constants = parameters.buffer;
        const list = played.map(
          ({ kernel, ranges: own, offset, workgroups }): BoundDispatch => ({
            pipeline: kernel.pipeline,
            group: groups.of(kernel, own),
            parameters: offset === null ? null : parameters.group(kernel.parameterBytes),
            offsets: offset === null ? [] : [offset],
            workgroups,
            kernel: kernel.kernel,
          }),
        );
        const made: DeviceTensor[] = [];
        const bound: Bound = {
          outputs: outputTensors(program, ranges, tensors, (tensor) => {
            made.push(tensor);
            return tensor;
          }),
          dispatches: list.length,
        };
        memory.hold(own);
        bindings.set(bound, {
          name: program.name,
          list,
          own,
          shared,
          constants,
          given: [...tensors.values()],
          made,
          buffers: new Set([...ranges.values()].map(({ buffer }) => buffer)),
          aliveAt: -1,
        });
        return bound;
      } catch (error) {
        memory.recycle(own);
        if (constants !== null) device.free(constants);
        throw error;
      }
    },
    replay(bound) {
      const found = bindings.get(bound);
      if (found === undefined)
        throw new DeviceError("validation", "A program was replayed that is not bound any more.");
      if (found.aliveAt !== memory.releases && found.given.some((tensor) => memory.isReleased(tensor)))
        throw new DeviceError(
          "validation",
          `${found.name} was replayed after a tensor that it is bound to was released.`,
        );
      found.aliveAt = memory.releases;
      recorder.spoil([...found.own, ...found.shared]);
      recorder.replay(found.list, found.buffers);
    },
    unbind(bound) {
      const found = bindings.get(bound);
      if (found === undefined) throw new DeviceError("validation", "A program was unbound that is not bound.");
      bindings.delete(bound);
      memory.letGo(found.own, found.made);
      if (found.constants === null) return;
      // what is destroyed must not be used by commands that are submitted later
      recorder.flush();
      device.free(found.constants);
    },
  };
}
