import { InternalError } from "../diagnostic.js";
import { definedBy } from "../graph/eqn.js";
import type { ConcreteGraph } from "../graph/graph.js";
import type { Kernel, KernelFeature } from "../kernel/kernel.js";
import { kernelsOf, type Lowered, type LoweredStep } from "../lower/lowered.js";
import { emitWgsl } from "../wgsl/emit.js";
import type { Program, ProgramBuffer, ProgramKernel, ProgramTensor, Step } from "./program.js";
import type { Storage, StorageMap } from "../graph/storage.js";

/** What WebGPU calls the features of kernels. */
const deviceFeatures = {
  f16: "shader-f16",
  subgroups: "subgroups",
  matrices: "chromium-experimental-subgroup-matrix",
} as const satisfies { readonly [F in KernelFeature]: string };

/**
 * The Program of a graph with its copies inserted: `lowered[i]` computes eqn i. Temporaries live from their first to
 * their last use.
 */
export function plan(graph: ConcreteGraph, storage: StorageMap, lowered: readonly Lowered[]): Program {
  const buffers: ProgramBuffer[] = [];
  const ids = new Map<Storage, number>();
  const byName = new Map<string, Storage>();
  for (const buffer of [...storage, ...lowered.flatMap((each) => each.scratch)])
    if (buffer !== null) byName.set(buffer.name, buffer);
  const idOf = (buffer: Storage): number => {
    const known = ids.get(buffer);
    if (known !== undefined) return known;
    const id = buffers.length;
    buffers.push({ id, bytes: buffer.bytes, role: buffer.role });
    ids.set(buffer, id);
    return id;
  };
  const storageOf = (value: number): Storage => {
    const buffer = storage[value];
    if (buffer === null || buffer === undefined) throw new InternalError(`value ${value} has no storage`);
    return buffer;
  };
  const named = (name: string): Storage => {
    const buffer = byName.get(name);
    if (buffer === undefined) throw new InternalError(`a kernel uses ${name}, which is no storage`);
    return buffer;
  };
  const tensor = (value: number, name: string, mutable: boolean): ProgramTensor => {
    const { dtype, shape, format } = graph.values[value]!.type;
    return { name, dtype, shape, format, buffer: idOf(storageOf(value)), mutable };
  };
  const inputs = graph.inputs
    .filter((input) => storage[input.value] !== null && input.part === undefined)
    .map(({ value, name, mutable, open }) => ({
      ...tensor(value, name, mutable),
      ...(open === undefined ? {} : { open }),
    }));
  const outputs = graph.outputs.map((output) => tensor(output.value, output.name, output.input !== null));

  const used = graph.eqns.map(
    (eqn, at) =>
      new Set([
        ...definedBy(eqn).map(storageOf),
        ...kernelsOf(lowered[at]!.steps).flatMap((kernel) => kernel.buffers.map((buffer) => named(buffer.tensor))),
      ]),
  );
  const lastUse = new Map<Storage, number>();
  used.forEach((buffers, at) => {
    for (const buffer of buffers) lastUse.set(buffer, at);
  });

  const programKernels: ProgramKernel[] = [];
  const places = new Map<Kernel, number>();
  const placeOf = (kernel: Kernel): number => {
    // a kernel may stand in several steps
    const place = places.get(kernel) ?? programKernels.push(programKernel(kernel)) - 1;
    places.set(kernel, place);
    return place;
  };
  const stepOf = (step: LoweredStep): Step => {
    if (step.kind === "repeat") return { ...step, steps: step.steps.map(stepOf) };
    const { kernel } = step;
    return {
      kind: "dispatch",
      kernel: placeOf(kernel),
      buffers: kernel.buffers.map((buffer) => idOf(named(buffer.tensor))),
      workgroups: kernel.workgroups,
    };
  };
  const steps: Step[] = [];
  const allocated = new Set<number>(inputs.map((input) => input.buffer));
  graph.eqns.forEach((_, at) => {
    for (const buffer of used[at]!) {
      const id = idOf(buffer);
      if (allocated.has(id)) continue;
      allocated.add(id);
      steps.push({ kind: "alloc", buffer: id });
    }
    steps.push(...lowered[at]!.steps.map(stepOf));
    for (const [buffer, last] of lastUse)
      if (last === at && buffer.role === "temporary") steps.push({ kind: "free", buffer: idOf(buffer) });
  });

  const parameters = graph.inputs
    .filter((input) => storage[input.value] === null)
    .map((input) => {
      const { dtype } = graph.values[input.value]!.type;
      return { name: input.name, dtype: dtype === "f16" ? ("f32" as const) : dtype };
    });
  const features = new Set(
    lowered
      .flatMap((each) => kernelsOf(each.steps))
      .flatMap((kernel) => kernel.features)
      .map((feature) => deviceFeatures[feature]),
  );
  return {
    version: 1,
    name: graph.name,
    features: [...features].sort(),
    parameters,
    buffers,
    inputs,
    outputs,
    kernels: programKernels,
    steps,
  };
}

function programKernel(kernel: Kernel): ProgramKernel {
  return {
    name: kernel.name,
    wgsl: emitWgsl(kernel),
    workgroupSize: kernel.workgroupSize,
    bindings: kernel.buffers.map((buffer) => ({ access: buffer.access })),
    parameters: kernel.parameters.map((parameter) => parameter.name),
    schedule: kernel.origin.schedule,
  };
}
