import { intervalsOf, type Bounds, type Interval } from "../../graph/analysis/ranges.js";
import type { ConcreteGraph, Eqn, IndexId } from "../../graph/graph.js";
import type { StagedPacks } from "../../graph/analysis/staged-packs.js";
import type { StorageMap } from "../../graph/storage.js";
import { freeName } from "../../names.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { createBuilder, type KernelBuilder } from "./builder.js";
import type { Environment } from "./scalar.js";

/** What every schedule is given: the graph, where its values live, and the device it is for. */
export interface Lowering {
  readonly graph: ConcreteGraph;
  readonly storage: StorageMap;
  readonly target: Target;
  /** What is packed by those who read it. */
  readonly packs: StagedPacks;
  /** The indices of the scans around the equations, which are parameters of the kernels. */
  readonly outer: readonly OuterIndex[];
  /** Intervals of the outer indices. */
  readonly bounds: Bounds;
  /** A builder for a kernel of this graph. */
  builder(): KernelBuilder;
  /** The same, with kernels that take as few buffers as can be. */
  narrow(): Lowering;
  /** The same for an equation that the graph has not got, but a scan of it, or a schedule. */
  including(eqn: Eqn<Concrete>): Lowering;
  /** An environment with no index bound but the outer ones. */
  environment(build: KernelBuilder): Environment;
  /** Name of the kernel of an eqn. */
  nameOf(eqn: Eqn<Concrete>): string;
  valuesOf(eqn: Eqn<Concrete>): readonly string[];
}

/** An index that a `repeat` step gives, as an i32 parameter. */
export interface OuterIndex {
  readonly index: IndexId;
  readonly parameter: string;
  readonly interval: Interval;
  /** A number that all its values are multiples of, where one is known. */
  readonly multiple?: number | undefined;
}

const none: Bounds = new Map();

/** The lowering of a graph whose values have storage. */
export function createLowering(
  graph: ConcreteGraph,
  storage: StorageMap,
  target: Target,
  outer: readonly OuterIndex[] = [],
  packs: StagedPacks = new Map(),
): Lowering {
  const parameters = new Map(outer.map(({ index, parameter }) => [index, parameter]));
  const scalars = graph.inputs.filter((input) => storage[input.value] === null).map((input) => input.name);
  const reserved = [...scalars, ...parameters.values()];
  const bounds = new Map(outer.map(({ index, interval }) => [index, interval]));
  // of an index of the graph what holds everywhere: a block's kernel gives its scan's index other values than `bounds`
  // has
  let intervals: Bounds | null = null;
  return {
    graph,
    storage,
    target,
    packs,
    outer,
    bounds,
    builder: () => createBuilder(reserved),
    narrow() {
      return { ...this, builder: () => createBuilder(reserved, true) };
    },
    including(eqn) {
      const own = intervalsOf([eqn], bounds);
      return {
        ...this,
        environment: (build) => {
          const environment = this.environment(build);
          return { ...environment, intervals: new Map([...environment.intervals, ...own]) };
        },
      };
    },
    environment: (build) => ({
      graph,
      storage,
      target,
      build,
      intervals: (intervals ??= new Map([...bounds, ...intervalsOf(graph.eqns, none)])),
      indices: new Map(),
      known: new Map(),
      parameters,
      readers: new Map(),
    }),
    nameOf: (eqn) => `${graph.name}_${graph.values[eqn.out]!.name}`.replace(/[^A-Za-z0-9_]/g, "_"),
    valuesOf: (eqn) => [graph.values[eqn.out]!.name],
  };
}

/** A name for the parameter of an index that no scalar input and no outer index has. */
export function parameterName(lowering: Lowering, hint: string): string {
  const taken = new Set([
    ...lowering.graph.inputs.map((input) => input.name),
    ...lowering.outer.map(({ parameter }) => parameter),
  ]);
  const stem = `${hint.replace(/[^A-Za-z0-9]+/g, "").replace(/^[0-9]+/, "") || "k"}_step`;
  return freeName(stem, (name) => taken.has(name));
}
