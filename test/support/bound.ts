/** Graphs of the library at sizes that a test chooses. */
import type { ConcreteGraph, SymbolicGraph } from "../../compiler/graph/graph.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";

/** A graph with its sizes bound, all it has of dtypes f32 and its weights dense. */
export function boundTo(graph: SymbolicGraph, sizes: { readonly [name: string]: number }): ConcreteGraph {
  const found = specialize(
    graph,
    {
      sizes: new Map(Object.entries(sizes)),
      dtypes: new Map([["E", "f32"]]),
      formats: new Map(graph.parameters.formats.map((name) => [name, null])),
    },
    { f16: false },
  );
  if (!("graph" in found)) throw new Error(found.map(({ message }) => message).join("\n"));
  return found.graph;
}
