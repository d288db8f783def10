/** Programs of a few kernels, written by hand: what the runtime is tested with. */
import type { Program, ProgramKernel, Step } from "../../compiler/plan/program.js";

/** Elements of every tensor. */
export const length = 16;

/** out[i] = expression of x = in[i], and of the parameters. */
export function kernel(name: string, expression: string, parameters: readonly string[] = []): ProgramKernel {
  const block =
    parameters.length === 0
      ? ""
      : `struct Parameters { ${parameters.map((one) => `${one}: f32`).join(", ")} }\n@group(1) @binding(0) var<uniform> parameters: Parameters;\n`;
  const wgsl = `@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> target_: array<f32>;
${block}@compute @workgroup_size(${length}) fn main(@builtin(local_invocation_index) i: u32) {
  let x = source[i];
  target_[i] = ${expression};
}`;
  return {
    name,
    wgsl,
    workgroupSize: [length, 1, 1],
    bindings: [{ access: "read" }, { access: "read_write" }],
    parameters,
    schedule: "test",
  };
}

export const dispatch = (which: number, from: number, to: number): Step => ({
  kind: "dispatch",
  kernel: which,
  buffers: [from, to],
  workgroups: [1, 1, 1],
});
export const tensor = (name: string, buffer: number, mutable = false): Program["inputs"][number] => ({
  name,
  dtype: "f32",
  shape: [length],
  format: null,
  buffer,
  mutable,
});
export const buffer = (id: number, role: Program["buffers"][number]["role"]): Program["buffers"][number] => ({
  id,
  bytes: 4 * length,
  role,
});

/** y = 2 * (x + shift), through a temporary. */
export const shifted: Program = {
  version: 1,
  name: "shifted",
  features: [],
  parameters: [{ name: "shift", dtype: "f32" }],
  buffers: [buffer(0, "input"), buffer(1, "temporary"), buffer(2, "output")],
  inputs: [tensor("x", 0)],
  outputs: [tensor("y", 2)],
  kernels: [kernel("shift", "x + parameters.shift", ["shift"]), kernel("double", "2.0 * x")],
  steps: [
    { kind: "alloc", buffer: 1 },
    dispatch(0, 0, 1),
    { kind: "alloc", buffer: 2 },
    dispatch(1, 1, 2),
    { kind: "free", buffer: 1 },
  ],
};

/** state = state + x, in place. */
export const accumulate: Program = {
  version: 1,
  name: "accumulate",
  features: [],
  parameters: [],
  buffers: [buffer(0, "input"), buffer(1, "input")],
  inputs: [tensor("x", 0), tensor("state", 1, true)],
  outputs: [tensor("state", 1)],
  kernels: [kernel("add", "target_[i] + x")],
  steps: [dispatch(0, 0, 1)],
};
