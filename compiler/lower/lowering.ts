import type { ConcreteGraph, Eqn, IndexId } from "../graph/graph.js";
import type { Bounds, Interval } from "../graph/ranges.js";
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
  /** The indices of the scans around the equations, which are parameters of the kernels. */
  readonly outer: readonly OuterIndex[];
  /** Intervals of the outer indices. */
  readonly bounds: Bounds;
  /** A builder for a kernel of this graph. */
  builder(): KernelBuilder;
  /** The same, with kernels that take as few buffers as can be. */
  narrow(): Lowering;
  /** A scope with no index bound but the outer ones. */
  scope(build: KernelBuilder): Scope;
  /** Name of the kernel of an eqn. */
  nameOf(eqn: Eqn<Concrete>): string;
  valuesOf(eqn: Eqn<Concrete>): readonly string[];
}

/** An index that a `repeat` step gives, as an i32 parameter. */
export interface OuterIndex {
  readonly index: IndexId;
  readonly parameter: string;
  readonly interval: Interval;
}

/** The lowering of a graph whose values have storage. */
export function createLowering(graph: ConcreteGraph, storage: StorageMap, target: Target, outer: readonly OuterIndex[] = []): Lowering {
  const parameters = new Map(outer.map(({ index, parameter }) => [index, parameter]));
  const scalars = graph.inputs.filter((input) => storage[input.value] === null).map((input) => input.name);
  const reserved = [...scalars, ...parameters.values()];
  return {
    graph, storage, target, outer,
    bounds: new Map(outer.map(({ index, interval }) => [index, interval])),
    builder: () => createBuilder(reserved),
    narrow() {
      return { ...this, builder: () => createBuilder(reserved, true) };
    },
    scope: (build) => ({ graph, storage, target, build, indices: new Map(), known: new Map(), parameters, held: new Map() }),
    nameOf: (eqn) => `${graph.name}_${graph.values[eqn.out]!.name}`.replace(/[^A-Za-z0-9_]/g, "_"),
    valuesOf: (eqn) => [graph.values[eqn.out]!.name],
  };
}

/** A name for the parameter of an index that no scalar input and no outer index has. */
export function parameterName(lowering: Lowering, hint: string): string {
  const taken = new Set([...lowering.graph.inputs.map((input) => input.name), ...lowering.outer.map(({ parameter }) => parameter)]);
  const stem = `${hint.replace(/[^A-Za-z0-9]+/g, "").replace(/^[0-9]+/, "") || "k"}_step`;
  let name = stem;
  for (let count = 1; taken.has(name); count++) name = `${stem}_${count}`;
  return name;
}
