import type { ConcreteGraph, Eqn, Output, Value, ValueId } from "../graph/graph.js";
import type { Concrete, TensorType } from "../types/type.js";
import { formatWords, shapeOf } from "../formats/registry.js";
import { scalarLoads } from "../graph/scalar.js";

/**
 * Where values live. Each value of a graph has a storage; an `update` shares that of its base, which is why
 * `separate` first gives every update a base that nothing else needs.
 */
export interface Storage {
  readonly name: string;
  readonly bytes: number;
  readonly role: "input" | "output" | "temporary";
}

/** Storage of each value by id; null for rank-0 inputs, which are parameters of the kernels. */
export type StorageMap = readonly (Storage | null)[];

/** Bytes of a tensor's storage, a multiple of 16 and at least 16: dense f16 takes 2 bytes an element, bool and the rest 4; a format what it says. */
export function storageBytes(type: TensorType<Concrete>): number {
  const elements = type.shape.reduce((product, size) => product * size, 1);
  const bytes = type.format === null ? elements * (type.dtype === "f16" ? 2 : 4) : 4 * formatWords(type.format, shapeOf(type.shape));
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** The values an eqn reads. */
export function eqnOperands(eqn: Eqn<Concrete>): ReadonlySet<ValueId> {
  const operands = new Set<ValueId>();
  switch (eqn.kind) {
    case "map":
      for (const load of scalarLoads(eqn.body)) operands.add(load.tensor);
      break;
    case "update":
      operands.add(eqn.base);
      for (const scalar of [eqn.body, ...eqn.at, ...eqn.indices.flatMap((range) => [range.low, range.high])]) {
        for (const load of scalarLoads(scalar)) operands.add(load.tensor);
      }
      break;
    case "top":
      operands.add(eqn.score);
      break;
    case "pack":
      for (const id of [eqn.source, eqn.scale, eqn.zero]) if (id !== null) operands.add(id);
      break;
    default:
      eqn satisfies never;
  }
  return operands;
}

/**
 * The graph with copies where sharing storage would be wrong: an update whose base is needed afterwards, is an input
 * that is not its own to change, or is read by its own body elsewhere than where it writes; an output that is an
 * input or another output; the final state of a `var` parameter that did not come about in its storage.
 */
export function separate(graph: ConcreteGraph): ConcreteGraph {
  const values: Value<Concrete>[] = [...graph.values];
  const eqns: Eqn<Concrete>[] = [];
  const mutableInputs = new Set(graph.inputs.filter((input) => input.mutable).map((input) => input.value));
  const inputs = new Set(graph.inputs.map((input) => input.value));
  const lastUse = lastUses(graph);
  // the input whose storage a value lives in, if any
  const home = new Map<ValueId, ValueId>([...mutableInputs].map((id) => [id, id]));

  const copy = (source: ValueId, suffix: string): ValueId => {
    const value = values[source]!;
    const id = values.length;
    values.push({ ...value, id, name: `${value.name}_${suffix}` });
    eqns.push({ kind: "map", out: id, ...identity(value, source) });
    return id;
  };

  graph.eqns.forEach((eqn, at) => {
    if (eqn.kind !== "update") {
      eqns.push(eqn);
      return;
    }
    const free = (!inputs.has(eqn.base) || mutableInputs.has(eqn.base)) && lastUse.get(eqn.base) === at && !readsElsewhere(eqn);
    const base = free ? eqn.base : copy(eqn.base, "copy");
    const origin = free ? home.get(eqn.base) : undefined;
    if (origin !== undefined) home.set(eqn.out, origin);
    eqns.push({ ...eqn, base });
  });

  const taken = new Set<ValueId>();
  const outputs: Output[] = graph.outputs.map((output) => {
    if (output.input !== null) {
      if (home.get(output.value) === output.input) return output;
      // the new state was made elsewhere: write it over the parameter
      const value = values[output.input]!;
      const id = values.length;
      values.push({ ...value, id, name: `${value.name}_final` });
      const { indices, body } = identity(value, output.value);
      eqns.push({ kind: "update", out: id, base: output.input, indices, at: indices.map((range) => ({ kind: "index", index: range.index, name: range.name })), body, op: "set" });
      return { ...output, value: id };
    }
    if (inputs.has(output.value) || home.has(output.value) || taken.has(output.value)) return { ...output, value: copy(output.value, "out") };
    taken.add(output.value);
    return output;
  });
  return { ...graph, values, eqns, outputs };
}

/** Storage for every value of a separated graph. */
export function assignStorage(graph: ConcreteGraph): StorageMap {
  const storage: (Storage | null)[] = graph.values.map(() => null);
  const outputs = new Set(graph.outputs.map((output) => output.value));
  // an output may be the end of a chain of in-place updates: the whole chain is that output
  const final = new Map<ValueId, ValueId>();
  for (const eqn of [...graph.eqns].reverse()) if (eqn.kind === "update") final.set(eqn.base, final.get(eqn.out) ?? eqn.out);
  for (const input of graph.inputs) {
    const { type } = graph.values[input.value]!;
    if (type.shape.length > 0) storage[input.value] = { name: input.name, bytes: storageBytes(type), role: "input" };
  }
  for (const eqn of graph.eqns) {
    if (eqn.kind === "update") storage[eqn.out] = storage[eqn.base]!;
    else {
      const value = graph.values[eqn.out]!;
      const role = outputs.has(final.get(eqn.out) ?? eqn.out) ? "output" : "temporary";
      storage[eqn.out] = { name: `${value.name}.${eqn.out}`, bytes: storageBytes(value.type), role };
    }
  }
  return storage;
}

/** For each value, the position of the last eqn that reads it; the number of eqns for outputs. */
export function lastUses(graph: ConcreteGraph): ReadonlyMap<ValueId, number> {
  const last = new Map<ValueId, number>();
  graph.eqns.forEach((eqn, at) => {
    for (const operand of eqnOperands(eqn)) last.set(operand, at);
  });
  for (const output of graph.outputs) last.set(output.value, graph.eqns.length);
  return last;
}

/** Whether the body reads the base anywhere but at the element it writes, so that writing in place would be seen. */
function readsElsewhere(eqn: Eqn<Concrete> & { readonly kind: "update" }): boolean {
  const here = JSON.stringify(eqn.at);
  return scalarLoads(eqn.body).some((load) => load.tensor === eqn.base && JSON.stringify(load.at) !== here)
    || eqn.at.some((scalar) => scalarLoads(scalar).some((load) => load.tensor === eqn.base));
}

function identity(value: Value<Concrete>, source: ValueId): { indices: (Eqn<Concrete> & { kind: "map" })["indices"]; body: (Eqn<Concrete> & { kind: "map" })["body"] } {
  // index ids need only be unique within an eqn
  const indices = value.type.shape.map((size, axis) => ({ index: axis, name: `i${axis}`, low: { kind: "constant" as const, value: 0, dtype: "i32" as const }, high: { kind: "constant" as const, value: size, dtype: "i32" as const } }));
  const at = indices.map((range) => ({ kind: "index" as const, index: range.index, name: range.name }));
  return { indices, body: { kind: "load", tensor: source, at, dtype: value.type.dtype, guarded: false } };
}
