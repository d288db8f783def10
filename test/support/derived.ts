/** Gradients of random graphs. */
import { differentiate } from "../../compiler/graph/gradient/differentiate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import type { GraphCase } from "./graphs.js";

/** A gradient, what it is of, and the inputs it is by. */
export interface Derived {
  readonly graph: ConcreteGraph;
  readonly of: string;
  readonly by: readonly string[];
}

/** The gradients of the first output that has any by the float inputs that it has them by. */
export function derived({ graph }: Pick<GraphCase, "graph">): Derived | null {
  const isFloat = (value: number): boolean => ["f32", "f16"].includes(graph.values[value]?.type.dtype ?? "");
  for (const { name: of, value } of graph.outputs) {
    if (!isFloat(value)) continue;
    const by = graph.inputs
      .filter((input) => isFloat(input.value) && input.name !== of)
      .map(({ name }) => name)
      .filter((name) => "graph" in differentiate(graph, { of, by: [name] }));
    if (by.length === 0) continue;
    const found = differentiate(graph, { of, by });
    if (!("graph" in found)) throw new Error("by all together there is none, by each alone there is");
    return { graph: found.graph, of, by };
  }
  return null;
}
