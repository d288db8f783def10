/** Runs single kernels on a device. */
import type { Kernel } from "../../compiler/kernel/kernel.js";
import { byteSize } from "../../compiler/kernel/kernel.js";
import type { Program } from "../../compiler/plan/program.js";
import { emitWgsl } from "../../compiler/wgsl/emit.js";
import type { Executor } from "../../runtime/run/run.js";

/**
 * A program of one kernel; tensors it writes are mutable inputs, so that what they held before matters. All tensors are
 * u32 words.
 */
export function kernelProgram(kernel: Kernel): Program {
  const tensors = [...new Set(kernel.buffers.map(({ tensor }) => tensor))];
  const bytes = (tensor: string): number =>
    Math.ceil(
      Math.max(...kernel.buffers.filter((b) => b.tensor === tensor).map((b) => b.length * byteSize(b.element))) / 16,
    ) * 16;
  const writes = (tensor: string): boolean =>
    kernel.buffers.some((b) => b.tensor === tensor && b.access === "read_write");
  const inputs = tensors.map((name, buffer) => ({
    name,
    dtype: "u32" as const,
    shape: [bytes(name) / 4],
    format: null,
    buffer,
    mutable: writes(name),
  }));
  return {
    version: 1,
    name: kernel.name,
    features: kernel.features.map((feature) => (feature === "f16" ? "shader-f16" : feature)),
    parameters: kernel.parameters.map(({ name, type }) => ({ name, dtype: type })),
    buffers: tensors.map((name, id) => ({ id, bytes: bytes(name), role: "input" })),
    inputs,
    outputs: inputs.filter(({ mutable }) => mutable),
    kernels: [
      {
        name: kernel.name,
        wgsl: emitWgsl(kernel),
        workgroupSize: kernel.workgroupSize,
        bindings: kernel.buffers.map(({ access }) => ({ access })),
        parameters: kernel.parameters.map(({ name }) => name),
        schedule: kernel.origin.schedule,
      },
    ],
    steps: [
      {
        kind: "dispatch",
        kernel: 0,
        buffers: kernel.buffers.map(({ tensor }) => tensors.indexOf(tensor)),
        workgroups: kernel.workgroups,
      },
    ],
  };
}

/**
 * Runs the kernel over copies of `memory`, which tensors that are only written may be missing from; gives the tensors
 * that it writes.
 */
export async function runKernel(
  executor: Executor,
  kernel: Kernel,
  memory: ReadonlyMap<string, ArrayBuffer>,
  parameters: Readonly<Record<string, number>> = {},
): Promise<Map<string, Uint32Array>> {
  const program = kernelProgram(kernel);
  const prepared = await executor.prepare(program);
  const inputs = await Promise.all(
    program.inputs.map(async (input) => {
      const words = new Uint32Array(input.shape[0] ?? 0);
      const given = memory.get(input.name);
      if (given !== undefined) new Uint8Array(words.buffer).set(new Uint8Array(given));
      return [input.name, await executor.upload(input, words)] as const;
    }),
  );
  const outputs = await executor.run(prepared, Object.fromEntries(inputs), parameters);
  const results = new Map<string, Uint32Array>();
  for (const [name, tensor] of Object.entries(outputs))
    results.set(name, new Uint32Array((await executor.read(tensor)).buffer));
  for (const [, tensor] of inputs) executor.release(tensor);
  return results;
}
