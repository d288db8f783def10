/** Bind groups, each made once for the buffers that it binds. */
import type { Device } from "../device/device.js";
import type { Range } from "./bindings.js";
import type { Outcomes } from "./outcomes.js";
import type { CompiledKernel } from "./pipelines.js";

export interface BindGroups {
  /** Group 0 of a kernel over these ranges, in the order of its bindings. */
  of(kernel: CompiledKernel, ranges: readonly Range[]): GPUBindGroup;
  clear(): void;
}

/** Groups of buffers that are gone stay until there are so many. */
const most = 8192;

/** Makes a cache of bind groups, empty. What the device has against a group is reported to `outcomes`. */
export function createBindGroups(device: Device, outcomes: Outcomes): BindGroups {
  const { gpu } = device;
  const groups = new Map<string, GPUBindGroup>();
  const ids = new WeakMap<GPUBuffer | GPUBindGroupLayout, number>();
  let lastId = 0;

  function idOf(object: GPUBuffer | GPUBindGroupLayout): number {
    let id = ids.get(object);
    if (id === undefined) ids.set(object, (id = ++lastId));
    return id;
  }

  return {
    of(kernel, ranges) {
      let key = String(idOf(kernel.layout));
      for (const { buffer, offset, bytes } of ranges) key += ` ${idOf(buffer)}:${offset}:${bytes}`;
      let group = groups.get(key);
      if (group !== undefined) return group;
      if (groups.size >= most) groups.clear();
      const descriptor: GPUBindGroupDescriptor = {
        layout: kernel.layout,
        label: kernel.kernel.name,
        entries: ranges.map(({ buffer, offset, bytes }, binding) => ({
          binding,
          resource: { buffer, offset, size: bytes },
        })),
      };
      outcomes.watch(
        device.guarded(`the buffers of kernel ${kernel.kernel.name}`, () => {
          group = gpu.createBindGroup(descriptor);
        }),
      );
      // Where an earlier error is reported instead, or the device is lost, the work above was not done.
      group ??= gpu.createBindGroup(descriptor);
      groups.set(key, group);
      return group;
    },
    clear: () => groups.clear(),
  };
}
