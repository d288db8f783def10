import { formatWords, shapeOf } from "../formats/registry.js";
import { elementCount } from "../types/shape.js";
import type { Concrete, TensorType } from "../types/type.js";
import type { ConcreteGraph, Eqn, ValueId } from "./graph.js";

/**
 * Where values live. Each value of a graph has a storage; an `update` shares that of its base, which is why
 * `insertCopies` first gives every update a base that nothing else needs.
 */
export interface Storage {
  readonly name: string;
  readonly bytes: number;
  readonly role: "input" | "output" | "temporary";
}

/** Storage of each value by id; null for rank-0 inputs, which are parameters of the kernels. */
export type StorageMap = readonly (Storage | null)[];

/**
 * Bytes of a tensor's storage, a multiple of 16 and at least 16: dense f16 takes 2 bytes an element, bool and the rest
 * 4; a format what it says.
 */
export function storageBytes(type: TensorType<Concrete>): number {
  const elements = elementCount(type.shape);
  const bytes =
    type.format === null
      ? elements * (type.dtype === "f16" ? 2 : 4)
      : 4 * formatWords(type.format, shapeOf(type.shape));
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** Storage for every value of a graph with its copies inserted, those of the bodies of scans included. */
export function assignStorage(graph: ConcreteGraph): StorageMap {
  const storage: (Storage | null)[] = graph.values.map(() => null);
  const outputs = new Set(graph.outputs.map((output) => output.value));
  // an output may be the end of a chain of in-place updates: the whole chain is that output
  const final = new Map<ValueId, ValueId>();
  const chain = (from: ValueId, to: ValueId): void => {
    final.set(from, final.get(to) ?? to);
  };
  for (const eqn of [...graph.eqns].reverse()) {
    if (eqn.kind === "update") chain(eqn.base, eqn.out);
    if (eqn.kind === "scan") for (const state of eqn.states) chain(state.initial, state.out);
  }
  for (const input of graph.inputs) {
    const { type } = graph.values[input.value]!;
    if (input.part !== undefined) storage[input.value] = storage[input.part]!;
    else if (type.shape.length > 0)
      storage[input.value] = { name: input.name, bytes: storageBytes(type), role: "input" };
  }
  const assign = (eqn: Eqn<Concrete>): void => {
    if (eqn.kind === "scan") {
      for (const state of eqn.states) {
        storage[state.before] = storage[state.initial]!;
        storage[state.out] = storage[state.initial]!;
      }
      eqn.body.forEach(assign);
    } else if (eqn.kind === "update") storage[eqn.out] = storage[eqn.base]!;
    else {
      const value = graph.values[eqn.out]!;
      const role = outputs.has(final.get(eqn.out) ?? eqn.out) ? "output" : "temporary";
      storage[eqn.out] = { name: `${value.name}.${eqn.out}`, bytes: storageBytes(value.type), role };
    }
  };
  graph.eqns.forEach(assign);
  return storage;
}
