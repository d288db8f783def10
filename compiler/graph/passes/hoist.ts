/**
 * What many calls of a graph would compute alike, taken out of it: a layer's Hessian is factored once for all that
 * share it.
 */
import { freeName } from "../../names.js";
import { constantSize, sizeSymbols, sizeValue, substituteSize, type Size } from "../../types/size.js";
import type { FormatRef, Symbolic } from "../../types/type.js";
import { allEqns, definedBy, eqnOperands, eqnScalars, neededEqns, removeDead, scanLocals } from "../eqn.js";
import type { Eqn, Range, SymbolicGraph, ValueId } from "../graph.js";
import { scalarNodes, scalarReductions } from "../scalar.js";

/**
 * A graph in two: `rest` takes what `shared` gives as inputs of the same names, beside inputs of the whole. What sizes
 * must satisfy is asked by `rest`, for both.
 */
export interface Hoisting {
  readonly shared: SymbolicGraph;
  readonly rest: SymbolicGraph;
}

/** What calls have in common. */
export interface Common {
  readonly inputs: ReadonlySet<string>;
  /** Size parameters. */
  readonly sizes: ReadonlySet<string>;
}

/** What a size parameter is taken for, to compare the sizes of tensors. */
const nominal = 4096;

/**
 * Splits off what depends only on the inputs and sizes that are common to several calls; null where that is not worth
 * it. It is worth it for a factorisation, a scan, or a reduction that takes at least K^2 steps. What follows from their
 * results without any of these is computed again where that makes what crosses from one part to the other smaller, and
 * so is all that does not depend on them.
 */
export function hoistShared(graph: SymbolicGraph, common: Common): Hoisting | null {
  const { free, costly, producer } = commonValues(graph, common);
  const isRead = new Set(graph.outputs.map((output) => output.value));
  for (const eqn of graph.eqns)
    if (!definedBy(eqn).every((id) => free.has(id))) for (const id of eqnOperands(eqn)) isRead.add(id);
  const wanted = [...costly].filter((id) => isRead.has(id));
  if (wanted.length === 0) return null;
  const crossing = smallestCut(graph, wanted, costly, producer);

  const taken = new Set(graph.inputs.map((input) => input.name));
  const named = crossing.map((value) => {
    const desired = graph.values[value]?.name ?? "shared";
    const name = freeName(
      desired,
      (other) => taken.has(other),
      (number) => `${desired}${number}`,
    );
    taken.add(name);
    return { value, name };
  });
  const across = new Set(crossing);
  const { sizes } = graph.parameters;
  const shared: SymbolicGraph = {
    ...graph,
    name: `${graph.name}_shared`,
    outputs: named.map((each) => ({ ...each, input: null })),
    parameters: { ...graph.parameters, sizes: sizes.filter((size) => common.sizes.has(size)) },
    constraints: [],
  };
  const rest: SymbolicGraph = {
    ...graph,
    inputs: [...graph.inputs, ...named.map((each) => ({ ...each, mutable: false }))],
    eqns: graph.eqns.filter((eqn) => !definedBy(eqn).some((id) => across.has(id))),
  };
  return { shared: withNeeded(shared), rest: withNeeded(rest) };
}

interface CommonValues {
  /** Values that depend on what is common only. */
  readonly free: ReadonlySet<ValueId>;
  /** Those of them that follow from something costly, in order. */
  readonly costly: ReadonlySet<ValueId>;
  readonly producer: ReadonlyMap<ValueId, Eqn>;
}

function commonValues(graph: SymbolicGraph, common: Common): CommonValues {
  const free = new Set(
    graph.inputs.filter((input) => !input.mutable && common.inputs.has(input.name)).map((input) => input.value),
  );
  const costly = new Set<ValueId>();
  const producer = new Map<ValueId, Eqn>();
  for (const eqn of graph.eqns) {
    const operands = [...eqnOperands(eqn)];
    if (!operands.every((id) => free.has(id)) || !isCommon(sizesOf(graph, eqn), common)) continue;
    const follows = isCostly(eqn) || operands.some((id) => costly.has(id));
    for (const id of definedBy(eqn)) {
      // a number cannot cross: rank-0 inputs are not tensors, but given from outside
      if (follows && graph.values[id]?.type.shape.length === 0) continue;
      producer.set(id, eqn);
      free.add(id);
      if (follows) costly.add(id);
    }
  }
  return { free, costly, producer };
}

/**
 * The values that cross, so that all that are wanted follow from them without anything costly, and few bytes cross.
 */
function smallestCut(
  graph: SymbolicGraph,
  wanted: readonly ValueId[],
  costly: ReadonlySet<ValueId>,
  producer: ReadonlyMap<ValueId, Eqn>,
): readonly ValueId[] {
  const bytes = (ids: readonly ValueId[]): number => ids.reduce((sum, id) => sum + elementsOf(graph, id), 0);
  const follows = (id: ValueId, given: readonly ValueId[]): boolean => {
    const eqn = producer.get(id);
    if (eqn === undefined || isCostly(eqn)) return false;
    return [...eqnOperands(eqn)].every(
      (operand) => !costly.has(operand) || given.includes(operand) || follows(operand, given),
    );
  };
  /** Without those that follow from the others, the largest first. */
  const reduced = (ids: readonly ValueId[]): readonly ValueId[] => {
    const largest = [...ids].sort((a, b) => elementsOf(graph, b) - elementsOf(graph, a) || b - a);
    return largest.reduce<readonly ValueId[]>(
      (left, id) =>
        follows(
          id,
          left.filter((other) => other !== id),
        )
          ? left.filter((other) => other !== id)
          : left,
      ids,
    );
  };
  let cut = reduced(wanted);
  for (;;) {
    const better = [...costly]
      .filter((id) => !cut.includes(id))
      .map((id) => reduced([...cut, id]))
      .find((other) => bytes(other) < bytes(cut));
    if (better === undefined) return [...cut].sort((a, b) => a - b);
    cut = better;
  }
}

/** Whether an equation takes so long that its result is better kept than computed again. */
function isCostly(eqn: Eqn): boolean {
  switch (eqn.kind) {
    case "factorize":
    case "scan":
      return true;
    case "map":
    case "update": {
      const own = eqn.indices.filter(isLong).length;
      return eqnScalars(eqn).some((scalar) =>
        scalarReductions(scalar).some(
          (reduce) => reduce.over.some(isLong) && own + reduce.over.filter(isLong).length >= 2,
        ),
      );
    }
    case "top":
    case "pack":
    case "plus":
      return false;
    default:
      return eqn satisfies never;
  }
}

/** Whether a range grows with a size. */
function isLong({ high }: Range<Symbolic>): boolean {
  return high.kind !== "constant" && (high.kind !== "size" || sizeValue(high.size) === null);
}

/** All sizes that an equation mentions, those of what it defines included. */
function sizesOf(graph: SymbolicGraph, eqn: Eqn): readonly Size[] {
  const values = [...definedBy(eqn), ...(eqn.kind === "scan" ? scanLocals(eqn) : [])].flatMap(
    (id) => graph.values[id] ?? [],
  );
  return [
    ...values.flatMap(({ type }) => [
      ...type.shape,
      ...(type.pattern.kind === "nm" ? [type.pattern.n, type.pattern.m] : []),
      ...formatSizes(type.format),
    ]),
    ...eqnScalars(eqn)
      .flatMap(scalarNodes)
      .flatMap((node) => (node.kind === "size" ? [node.size] : [])),
    ...allEqns([eqn]).flatMap((each) => (each.kind === "top" ? [each.n, each.m] : [])),
  ];
}

function formatSizes(format: FormatRef | null): readonly Size[] {
  if (format === null || "parameter" in format) return [];
  return [
    ...Object.values(format.args).flatMap((arg) => (typeof arg === "object" ? [arg] : [])),
    ...formatSizes(format.of),
  ];
}

function isCommon(sizes: readonly Size[], common: Common): boolean {
  return sizes.every((size) => [...sizeSymbols(size)].every((symbol) => common.sizes.has(symbol)));
}

function elementsOf(graph: SymbolicGraph, id: ValueId): number {
  const shape = graph.values[id]?.type.shape ?? [];
  return shape.reduce(
    (product, size) => product * (sizeValue(substituteSize(size, () => constantSize(nominal))) ?? nominal),
    1,
  );
}

/** The graph with the equations and inputs that its outputs need. */
function withNeeded(graph: SymbolicGraph): SymbolicGraph {
  const needed = new Set(graph.outputs.map((output) => output.value));
  neededEqns(graph.eqns, needed);
  return removeDead({ ...graph, inputs: graph.inputs.filter((input) => input.mutable || needed.has(input.value)) });
}
