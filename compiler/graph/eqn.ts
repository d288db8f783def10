/** Helpers over equations and whole graphs, for passes. */
import type { Level, Pattern } from "../types/type.js";
import type { Eqn, Graph, IndexId, Range, Scalar, Value, ValueId } from "./graph.js";
import { boundIndices, mapScalar, scalarLoads } from "./scalar.js";

/** The scalars of an equation: body, indices written to, and bounds; none for top and pack. */
export function eqnScalars<L extends Level>(eqn: Eqn<L>): readonly Scalar<L>[] {
  switch (eqn.kind) {
    case "map": return [...bounds(eqn.indices), eqn.body];
    case "update": return [...bounds(eqn.indices), ...eqn.at, eqn.body];
    case "top": case "pack": return [];
    default: return eqn satisfies never;
  }
}

function bounds<L extends Level>(ranges: readonly Range<L>[]): readonly Scalar<L>[] {
  return ranges.flatMap((range) => [range.low, range.high]);
}

/** The equation with its scalars (not the bounds of its own ranges, which are constant sizes) replaced; itself where none changes. */
export function mapEqnScalars<L extends Level>(eqn: Eqn<L>, replace: (scalar: Scalar<L>) => Scalar<L>): Eqn<L> {
  switch (eqn.kind) {
    case "map": {
      const body = replace(eqn.body);
      return body === eqn.body ? eqn : { ...eqn, body };
    }
    case "update": {
      const at = eqn.at.map(replace);
      const body = replace(eqn.body);
      return body === eqn.body && at.every((scalar, axis) => scalar === eqn.at[axis]) ? eqn : { ...eqn, at, body };
    }
    case "top": case "pack": return eqn;
    default: return eqn satisfies never;
  }
}

/** The tensors that an equation needs whole: base of an update, score of a top, operands of a pack. */
export function wholeOperands<L extends Level>(eqn: Eqn<L>): readonly ValueId[] {
  switch (eqn.kind) {
    case "map": return [];
    case "update": return [eqn.base];
    case "top": return [eqn.score];
    case "pack": return [eqn.source, eqn.scale, eqn.zero].filter((id) => id !== null);
    default: return eqn satisfies never;
  }
}

/** The tensors that an equation reads. */
export function eqnOperands<L extends Level>(eqn: Eqn<L>): ReadonlySet<ValueId> {
  return new Set([...wholeOperands(eqn), ...eqnScalars(eqn).flatMap((scalar) => scalarLoads(scalar).map((load) => load.tensor))]);
}

/** The equation with the tensors it reads replaced; itself where none changes. */
export function mapOperands<L extends Level>(eqn: Eqn<L>, replace: (id: ValueId) => ValueId): Eqn<L> {
  const mapped = mapEqnScalars(eqn, (scalar) => mapScalar(scalar, (node) => (node.kind === "load" && replace(node.tensor) !== node.tensor ? { ...node, tensor: replace(node.tensor) } : node)));
  if (wholeOperands(mapped).every((id) => replace(id) === id)) return mapped;
  const orNull = (id: ValueId | null): ValueId | null => (id === null ? null : replace(id));
  switch (mapped.kind) {
    case "map": return mapped;
    case "update": return { ...mapped, base: replace(mapped.base) };
    case "top": return { ...mapped, score: replace(mapped.score) };
    case "pack": return { ...mapped, source: replace(mapped.source), scale: orNull(mapped.scale), zero: orNull(mapped.zero) };
    default: return mapped satisfies never;
  }
}

/** A source of index ids that no equation of the graph uses. */
export function freshIndices<L extends Level>(graph: Graph<L>): () => IndexId {
  let next = 0;
  for (const eqn of graph.eqns) {
    if (eqn.kind === "map" || eqn.kind === "update") for (const range of eqn.indices) next = Math.max(next, range.index + 1);
    for (const scalar of eqnScalars(eqn)) for (const index of boundIndices(scalar)) next = Math.max(next, index + 1);
  }
  return () => {
    next += 1;
    return next - 1;
  };
}

/** The graph without the equations that no output needs, its values numbered anew in order. Inputs stay. A mask that only patterns name is forgotten. */
export function removeDead<L extends Level>(graph: Graph<L>): Graph<L> {
  const needed = new Set(graph.outputs.map((output) => output.value));
  for (const eqn of [...graph.eqns].reverse()) if (needed.has(eqn.out)) for (const id of eqnOperands(eqn)) needed.add(id);
  const eqns = graph.eqns.filter((eqn) => needed.has(eqn.out));
  const kept = new Set([...graph.inputs.map((input) => input.value), ...eqns.map((eqn) => eqn.out)]);
  if (kept.size === graph.values.length) return graph;

  const ids = new Map<ValueId, ValueId>();
  for (const value of graph.values) if (kept.has(value.id)) ids.set(value.id, ids.size);
  const id = (old: ValueId): ValueId => ids.get(old) ?? old;
  const pattern = (old: Pattern<L>): Pattern<L> => (old.kind === "full" || old.mask === null ? old : { ...old, mask: ids.get(old.mask) ?? null });
  const values: Value<L>[] = graph.values.filter((value) => kept.has(value.id)).map((value) => ({ ...value, id: id(value.id), type: { ...value.type, pattern: pattern(value.type.pattern) } }));
  return {
    ...graph,
    values,
    inputs: graph.inputs.map((input) => ({ ...input, value: id(input.value) })),
    outputs: graph.outputs.map((output) => ({ ...output, value: id(output.value), input: output.input === null ? null : id(output.input) })),
    eqns: eqns.map((eqn) => ({ ...mapOperands(eqn, id), out: id(eqn.out) })),
  };
}
