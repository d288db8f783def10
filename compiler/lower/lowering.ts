import type { ConcreteGraph, Eqn } from "../graph/graph.js";
import type { StorageMap } from "../plan/storage.js";
import type { Target } from "../target.js";
import type { Concrete } from "../types/type.js";
import { createBuilder, type KernelBuilder } from "./builder.js";
import type { Scope } from "./scalar.js";

/** What every schedule is given: the graph, where its values live, and the device it is for. */
export interface Lowering {
  readonly graph: ConcreteGraph;
  readonly storage: StorageMap;
  readonly target: Target;
  /** A builder for a kernel of this graph. */
  builder(): KernelBuilder;
  /** The same, with kernels that take as few buffers as can be. */
  narrow(): Lowering;
  /** A scope with no index bound. */
  scope(build: KernelBuilder): Scope;
  /** Name of the kernel of an eqn. */
  nameOf(eqn: Eqn<Concrete>): string;
  valuesOf(eqn: Eqn<Concrete>): readonly string[];
}

/** The lowering of a graph whose values have storage. */
export function createLowering(graph: ConcreteGraph, storage: StorageMap, target: Target): Lowering {
  const parameters = graph.inputs.filter((input) => storage[input.value] === null).map((input) => input.name);
  return {
    graph, storage, target,
    builder: () => createBuilder(parameters),
    narrow() {
      return { ...this, builder: () => createBuilder(parameters, true) };
    },
    scope: (build) => ({ graph, storage, target, build, indices: new Map(), known: new Map() }),
    nameOf: (eqn) => `${graph.name}_${graph.values[eqn.out]!.name}`.replace(/[^A-Za-z0-9_]/g, "_"),
    valuesOf: (eqn) => [graph.values[eqn.out]!.name],
  };
}
