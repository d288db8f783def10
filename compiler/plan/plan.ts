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
 * The Program of a separated graph: `lowered[i]` computes eqn i. Temporaries live from their first to their last use.
 */
export function plan(graph: ConcreteGraph, storage: StorageMap, lowered: readonly Lowered[]): Program {
  const buffers: ProgramBuffer[] = [];
  const ids = new Map<Storage, number>();
  const byName = new Map<string, Storage>();
  for (const place of [...storage, ...lowered.flatMap((each) => each.scratch)])
    if (place !== null) byName.set(place.name, place);
  const idOf = (place: Storage): number => {
    const known = ids.get(place);
    if (known !== undefined) return known;
    const id = buffers.length;
    buffers.push({ id, bytes: place.bytes, role: place.role });
    ids.set(place, id);
    return id;
  };
  const placeOf = (value: number): Storage => {
    const place = storage[value];
    if (place === null || place === undefined) throw new InternalError(`value ${value} has no storage`);
    return place;
  };
  const named = (name: string): Storage => {
    const place = byName.get(name);
    if (place === undefined) throw new InternalError(`a kernel uses ${name}, which is no storage`);
    return place;
  };
  const tensor = (value: number, name: string, mutable: boolean): ProgramTensor => {
    const { dtype, shape, format } = graph.values[value]!.type;
    return { name, dtype, shape, format, buffer: idOf(placeOf(value)), mutable };
  };
  const inputs = graph.inputs
    .filter((input) => storage[input.value] !== null)
    .map((input) => tensor(input.value, input.name, input.mutable));
  const outputs = graph.outputs.map((output) => tensor(output.value, output.name, output.input !== null));

  const used = graph.eqns.map(
    (eqn, at) =>
      new Set([
        ...definedBy(eqn).map(placeOf),
        ...kernelsOf(lowered[at]!.steps).flatMap((kernel) => kernel.buffers.map((buffer) => named(buffer.tensor))),
      ]),
  );
  const lastUse = new Map<Storage, number>();
  used.forEach((places, at) => {
    for (const place of places) lastUse.set(place, at);
  });

  const programKernels: ProgramKernel[] = [];
  const stepOf = (step: LoweredStep): Step => {
    if (step.kind === "repeat") return { ...step, steps: step.steps.map(stepOf) };
    const { kernel } = step;
    programKernels.push(programKernel(kernel));
    return {
      kind: "dispatch",
      kernel: programKernels.length - 1,
      buffers: kernel.buffers.map((buffer) => idOf(named(buffer.tensor))),
      workgroups: kernel.workgroups,
    };
  };
  const steps: Step[] = [];
  const allocated = new Set<number>(inputs.map((input) => input.buffer));
  graph.eqns.forEach((_, at) => {
    for (const place of used[at]!) {
      const id = idOf(place);
      if (allocated.has(id)) continue;
      allocated.add(id);
      steps.push({ kind: "alloc", buffer: id });
    }
    steps.push(...lowered[at]!.steps.map(stepOf));
    for (const [place, last] of lastUse)
      if (last === at && place.role === "temporary") steps.push({ kind: "free", buffer: idOf(place) });
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
