import type { ProductRows, ProductTerm } from "../../graph/analysis/product.js";
import type { Stored } from "../../formats/code/code.js";
import { codeOf } from "../../formats/code/registry.js";
import type { ConcreteGraph } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import type { Expr } from "../../kernel/kernel.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import { flatten, lowerIndex, type Environment } from "../toolkit/scalar.js";

/** The row, u32, that an environment's indices read. */
export function rowAt(graph: ConcreteGraph, rows: ProductRows, environment: Environment): Expr {
  const { shape } = graph.values[rows.load.tensor]!.type;
  return environment.build.bind(
    "row",
    flatten(
      shape.slice(0, -1),
      rows.load.at.slice(0, -1).map((at) => lowerIndex(environment, at)),
    ),
  );
}

/** Whether k runs over all columns of the rows. */
export function wholeRange(term: ProductTerm): boolean {
  const [range] = term.reduce.over;
  return (
    range !== undefined &&
    term.rows !== null &&
    constantOf(range.low) === 0 &&
    constantOf(range.high) === term.rows.shape.columns
  );
}

/** Unit `unit`, u32, of a row as it is stored. */
export function storedUnit(
  lowering: Lowering,
  build: KernelBuilder,
  { load, spec, shape }: ProductRows,
  row: Expr,
  unit: Expr,
): Stored {
  return codeOf(spec).stored(spec, shape, build.words(lowering.storage[load.tensor]!), row, unit);
}

/** The element of a row at a column, u32; f32. */
export function storedElement(
  lowering: Lowering,
  build: KernelBuilder,
  { load, spec, shape }: ProductRows,
  row: Expr,
  column: Expr,
): Expr {
  return codeOf(spec).locate(spec, shape, build.words(lowering.storage[load.tensor]!), row, column);
}
