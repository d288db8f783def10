import type { ProductTerm } from "../../graph/analysis/product.js";
import { withoutCasts } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { joinAxes } from "../toolkit/axes.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import { flatten, lowerIndex, lowerScalar, withIndices, type Environment } from "../toolkit/scalar.js";

/** The left side of a product (activations) for some tokens, around a unit of columns. */
export interface LeftSource {
  readonly term: ProductTerm;
  /** An environment with the own indices of each token bound. */
  readonly tokens: readonly Environment[];
  /** u32. */
  readonly firstColumn: Expr;
}

/** The left side at one column counted from the unit's first, f32. */
export function leftElement(build: KernelBuilder, source: LeftSource, token: number, column: number | Expr): Expr {
  const { term, tokens, firstColumn } = source;
  const environment = withIndices(tokens[token]!, [[term.column.index, k.add(firstColumn, column)]]);
  return build.bind("x", leftValue(environment, term));
}

/** The product of the left factors, f32. */
export function leftValue(environment: Environment, term: ProductTerm): Expr {
  return term.left.map((factor) => k.convert("f32", lowerScalar(environment, factor))).reduce((a, b) => k.mul(a, b));
}

/**
 * The left side at every column of a unit, for each token: with vector loads where it is a tensor read along k. `element`:
 * what these give, f32 or the f16 that are stored.
 */
export function leftUnit(
  lowering: Lowering,
  build: KernelBuilder,
  source: LeftSource,
  columns: number,
  element: "f32" | "f16" = "f32",
): Expr[][] {
  return source.tokens.map((environment, token) => {
    const vectors = vectorLoads(lowering, build, environment, source, columns, element);
    return vectors ?? Array.from({ length: columns }, (_, column) => leftElement(build, source, token, column));
  });
}

/** Loads of four neighbours at a time where the left side is one dense tensor whose last index is k; else null. */
export function vectorLoads(
  lowering: Lowering,
  build: KernelBuilder,
  environment: Environment,
  source: LeftSource,
  columns: number,
  element: "f32" | "f16" = "f32",
): Expr[] | null {
  const { term, firstColumn } = source;
  const [only, ...rest] = term.left;
  if (only === undefined || rest.length > 0 || columns % 4 !== 0) return null;
  const load = withoutCasts(only);
  if (load.kind !== "load" || load.guarded) return null;
  const { type } = lowering.graph.values[load.tensor]!;
  const storage = lowering.storage[load.tensor];
  const { shape, at } = joinAxes(type.shape, load.at);
  const last = at[at.length - 1];
  if (
    storage === null ||
    storage === undefined ||
    type.format !== null ||
    (type.dtype !== "f32" && type.dtype !== "f16")
  )
    return null;
  if (last?.kind !== "index" || last.index !== term.column.index || shape[shape.length - 1]! % 4 !== 0) return null;
  const vectorElement = `vec4<${type.dtype}>` as const;
  const buffer = build.view(storage, vectorElement, "read");
  // rows are multiples of four long, so the row's start in vectors is exact
  const start = build.bind(
    "x_at",
    k.add(
      flatten(
        [...shape.slice(0, -1), shape[shape.length - 1]! / 4],
        [...at.slice(0, -1).map((index) => lowerIndex(environment, index)), k.u32(0)],
      ),
      k.div(firstColumn, 4),
    ),
  );
  const elements: Expr[] = [];
  for (let vector = 0; vector < columns / 4; vector++) {
    const four = build.bind(
      "x4",
      k.convert(`vec4<${element}>`, k.loadBuffer(buffer, vectorElement, k.add(start, vector))),
    );
    for (let i = 0; i < 4; i++) elements.push(k.component(four, i));
  }
  return elements;
}
