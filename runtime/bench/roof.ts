import * as k from "../../compiler/kernel/build.js";
import type { Kernel } from "../../compiler/kernel/kernel.js";
import type { Program } from "../../compiler/plan/program.js";
import { emitWgsl } from "../../compiler/wgsl/emit.js";
import type { Device } from "../device/device.js";
import { withBuffers } from "./buffers.js";
import { timeProgram } from "./timing.js";

/**
 * Measures how fast the device reads memory, in GB/s: the roof of every product for a few tokens. Each workgroup sums
 * its share of a large buffer by 16-byte reads; what it writes is nothing beside that.
 */
export async function measureRoof(device: Device): Promise<number> {
  const most = Math.min(device.limits.maxStorageBufferBindingSize, device.kind === "cpu" ? 2 ** 25 : 2 ** 30);
  const size = device.kind === "cpu" ? 64 : 256;
  const perLane = 16;
  const vectors = Math.floor(most / 16 / (size * perLane)) * size * perLane;
  const groups = vectors / (size * perLane);
  // a dispatch is at most 65535 wide; 2^30 bytes are 16384 workgroups
  const kernel: Kernel = {
    name: "roof",
    workgroupSize: [size, 1, 1],
    workgroups: [groups, 1, 1],
    parameters: [],
    arrays: [],
    features: [],
    origin: { schedule: "roof", values: [] },
    buffers: [
      { name: "source", tensor: "source", element: "vec4<u32>", access: "read", length: vectors },
      { name: "sums", tensor: "sums", element: "u32", access: "read_write", length: groups * size },
    ],
    body: [
      k.letIs("first", k.add(k.mul(k.builtin("workgroup_id.x"), size * perLane), k.builtin("local_index"))),
      ...Array.from({ length: perLane }, (_, at) =>
        k.letIs(`v${at}`, k.loadBuffer("source", "vec4<u32>", k.add(k.local("first", "u32"), at * size))),
      ),
      k.letIs(
        "all",
        Array.from({ length: perLane }, (_, at) => k.local(`v${at}`, "vec4<u32>")).reduce((a, b) => k.bitXor(a, b)),
      ),
      k.store(
        "sums",
        k.add(k.mul(k.builtin("workgroup_id.x"), size), k.builtin("local_index")),
        [0, 1, 2, 3].map((at) => k.component(k.local("all", "vec4<u32>"), at)).reduce((a, b) => k.bitXor(a, b)),
      ),
    ],
  };
  const program: Program = {
    version: 1,
    name: "roof",
    features: [],
    parameters: [],
    buffers: [
      { id: 0, bytes: vectors * 16, role: "input" },
      { id: 1, bytes: groups * size * 4, role: "output" },
    ],
    inputs: [{ name: "source", dtype: "u32", shape: [vectors * 4], format: null, buffer: 0, mutable: false }],
    outputs: [{ name: "sums", dtype: "u32", shape: [groups * size], format: null, buffer: 1, mutable: false }],
    kernels: [
      {
        name: "roof",
        wgsl: emitWgsl(kernel),
        workgroupSize: [size, 1, 1],
        bindings: [{ access: "read" }, { access: "read_write" }],
        parameters: [],
        schedule: "roof",
      },
    ],
    steps: [{ kind: "dispatch", kernel: 0, buffers: [0, 1], workgroups: [groups, 1, 1] }],
  };
  return withBuffers(device, async (make) => {
    const source = await make(vectors * 16, "roof");
    const sums = await make(groups * size * 4, "roof sums");
    const { us } = await timeProgram(device, program, [new Map([["source", source]])], new Map([["sums", sums]]));
    return (vectors * 16) / us / 1000;
  });
}
