import { InternalError } from "../diagnostic.js";
import type { ConcreteGraph } from "../graph/graph.js";
import type { Kernel } from "../kernel/kernel.js";
import { emitWgsl } from "../wgsl/emit.js";
import type { Program, ProgramBuffer, ProgramKernel, ProgramTensor, Step } from "./program.js";
import { eqnOperands, lastUses, type Storage, type StorageMap } from "./storage.js";

/** The Program of a separated graph: `kernels[i]` computes eqn i. Temporaries live from their first to their last use. */
export function plan(graph: ConcreteGraph, storage: StorageMap, kernels: readonly (readonly Kernel[])[]): Program {
  const buffers: ProgramBuffer[] = [];
  const ids = new Map<Storage, number>();
  const idOf = (value: number): number => {
    const place = storage[value];
    if (place === null || place === undefined) throw new InternalError(`value ${value} has no storage`);
    const known = ids.get(place);
    if (known !== undefined) return known;
    const id = buffers.length;
    buffers.push({ id, bytes: place.bytes, role: place.role });
    ids.set(place, id);
    return id;
  };
  const tensor = (value: number, name: string, mutable: boolean): ProgramTensor => {
    const { dtype, shape, format } = graph.values[value]!.type;
    return { name, dtype, shape, format, buffer: idOf(value), mutable };
  };
  const inputs = graph.inputs.filter((input) => storage[input.value] !== null).map((input) => tensor(input.value, input.name, input.mutable));
  const outputs = graph.outputs.map((output) => tensor(output.value, output.name, output.input !== null));

  const steps: Step[] = [];
  const programKernels: ProgramKernel[] = [];
  const lastUse = storageLastUses(graph, storage);
  const allocated = new Set<number>(inputs.map((input) => input.buffer));
  graph.eqns.forEach((eqn, at) => {
    const out = idOf(eqn.out);
    if (!allocated.has(out)) {
      allocated.add(out);
      steps.push({ kind: "alloc", buffer: out });
    }
    const byName = new Map<string, number>();
    for (const value of [eqn.out, ...eqnOperands(eqn)]) {
      const place = storage[value];
      if (place !== null && place !== undefined) byName.set(place.name, idOf(value));
    }
    for (const kernel of kernels[at]!) {
      const index = programKernels.length;
      programKernels.push({
        name: kernel.name, wgsl: emitWgsl(kernel), workgroupSize: kernel.workgroupSize,
        bindings: kernel.buffers.map((buffer) => ({ access: buffer.access })),
        parameters: kernel.parameters.map((parameter) => parameter.name), schedule: kernel.origin.schedule,
      });
      const bound = kernel.buffers.map((buffer) => {
        const id = byName.get(buffer.tensor);
        if (id === undefined) throw new InternalError(`kernel ${kernel.name} uses ${buffer.tensor}, which its eqn does not mention`);
        return id;
      });
      steps.push({ kind: "dispatch", kernel: index, buffers: bound, workgroups: kernel.workgroups });
    }
    for (const [place, last] of lastUse) {
      if (last === at && place.role === "temporary" && allocated.has(ids.get(place) ?? -1)) steps.push({ kind: "free", buffer: ids.get(place)! });
    }
  });

  const parameters = graph.inputs.filter((input) => storage[input.value] === null).map((input) => {
    const { dtype } = graph.values[input.value]!.type;
    return { name: input.name, dtype: dtype === "f16" ? ("f32" as const) : dtype };
  });
  const features = new Set(kernels.flat().flatMap((kernel) => kernel.features).map((feature) => (feature === "f16" ? "shader-f16" : feature)));
  return { version: 1, name: graph.name, features: [...features].sort(), parameters, buffers, inputs, outputs, kernels: programKernels, steps };
}

/** For each storage, the position of the last eqn that reads or writes it. */
function storageLastUses(graph: ConcreteGraph, storage: StorageMap): ReadonlyMap<Storage, number> {
  const last = new Map<Storage, number>();
  const use = (value: number, at: number): void => {
    const place = storage[value];
    if (place !== null && place !== undefined) last.set(place, Math.max(at, last.get(place) ?? -1));
  };
  graph.eqns.forEach((eqn, at) => use(eqn.out, at));
  for (const [value, at] of lastUses(graph)) use(value, at);
  return last;
}
