import type { ProductRows } from "../../graph/analysis/product.js";
import type { ConcreteGraph } from "../../graph/graph.js";
import type { Expr } from "../../kernel/kernel.js";
import { flatten, lowerIndex, type Scope } from "../toolkit/scalar.js";

/** The row, u32, that a scope's indices read. */
export function rowAt(graph: ConcreteGraph, rows: ProductRows, scope: Scope): Expr {
  const { shape } = graph.values[rows.load.tensor]!.type;
  return scope.build.bind(
    "row",
    flatten(
      shape.slice(0, -1),
      rows.load.at.slice(0, -1).map((at) => lowerIndex(scope, at)),
    ),
  );
}
