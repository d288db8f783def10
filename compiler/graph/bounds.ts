import type { Concrete } from "../types/type.js";
import type { ConcreteGraph, Eqn, Scalar } from "./graph.js";
import { intervalOf, withRanges, type Bounds } from "./ranges.js";
import { mapChildren } from "./scalar.js";

/**
 * Drops the guard of every load whose indices are in range now that sizes are numbers: the checker proves what it can
 * of symbolic sizes, intervals prove the rest (`h / (H / G)` stays below G for h in 0 .. H).
 */
export function dropGuards(graph: ConcreteGraph): ConcreteGraph {
  return { ...graph, eqns: graph.eqns.map((eqn) => dropEqnGuards(graph, eqn, new Map())) };
}

function dropEqnGuards(graph: ConcreteGraph, eqn: Eqn<Concrete>, outer: Bounds): Eqn<Concrete> {
  if (eqn.kind === "scan") {
    const inside = withRanges(outer, [eqn.range]);
    return { ...eqn, body: eqn.body.map((each) => dropEqnGuards(graph, each, inside)) };
  }
  if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
  const own = withRanges(outer, eqn.indices);
  const prove = (scalar: Scalar<Concrete>): Scalar<Concrete> => dropScalarGuards(graph, scalar, own);
  return eqn.kind === "map" ? { ...eqn, body: prove(eqn.body) } : { ...eqn, body: prove(eqn.body), at: eqn.at.map(prove) };
}

function dropScalarGuards(graph: ConcreteGraph, scalar: Scalar<Concrete>, bounds: Bounds): Scalar<Concrete> {
  const inner = scalar.kind === "reduce" ? withRanges(bounds, scalar.over) : bounds;
  const node = mapChildren(scalar, (child) => dropScalarGuards(graph, child, inner));
  if (node.kind !== "load" || !node.guarded) return node;
  const { shape } = graph.values[node.tensor]!.type;
  const inside = node.at.every((at, axis) => {
    const { low, high } = intervalOf(at, bounds);
    return low >= 0 && high < shape[axis]!;
  });
  return inside ? { ...node, guarded: false } : node;
}
