import { isDense } from "../../formats/registry.js";
import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import { innermostFirst, scalarReductions } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { fixedSubgroup, reduceByTeam, soleTeam } from "../toolkit/team.js";
import { leftValue } from "./left.js";

/**
 * Columns up to which every workgroup computes the left side for itself: an H100 gains nothing from it at 4096
 * (bench/h100.md), where it costs what a dispatch does.
 */
const stagedColumns = 2048;

/** Tokens up to which each is computed as it would be by itself, where a target asks for that. */
export const alikeTokens = 8;

/** Bytes of workgroup memory left to the reductions of the left side. */
const reserve = 4096;

/** Whether a side of a product has reductions of its own (a norm), which must not be computed at every element. */
export function leftReduces(product: Product): boolean {
  return product.terms.some((term) => term.left.some((factor) => scalarReductions(factor).length > 0));
}

/**
 * Whether the left side can stand in workgroup memory, computed once a workgroup: one left side for all terms, no
 * batch, and few tokens.
 */
export function canStage(product: Product, target: Target): boolean {
  const columns = product.terms[0]?.rows?.shape.columns ?? Infinity;
  return (
    fixedSubgroup(target) !== null &&
    target.kind === "gpu" &&
    product.sizes.batch === 1 &&
    product.sizes.m <= stagedTokens(product, target) &&
    columns % 4 === 0 &&
    columns <= stagedColumns &&
    product.terms.every((term) => term.leftKey === product.terms[0]!.leftKey && term.rows?.shape.columns === columns) &&
    4 * columns * product.sizes.m + reserve <= target.maxWorkgroupMemory
  );
}

/** Tokens whose left side is staged; of two with packed weights tiles of matrices read it in an order of theirs. */
function stagedTokens({ terms }: Product, target: Target): number {
  if (target.alike === true) return alikeTokens;
  return target.matrices && terms.every(({ rows }) => rows !== null && !isDense(rows.spec)) ? 1 : 2;
}

/**
 * The left side of every column in workgroup memory: its reductions are shared by the workgroup first. Returns the
 * reader of a unit: [token][column].
 */
export function stageLeft(
  build: KernelBuilder,
  term: ProductTerm,
  tokens: readonly Environment[],
  size: number,
): (unit: Expr, columns: number) => Expr[][] {
  const lane = k.builtin("local_index");
  const vectors = term.rows!.shape.columns / 4;
  const array = build.array("left", "vec4<f32>", vectors * tokens.length);
  const team = soleTeam(size, lane);
  tokens.forEach((token, t) => {
    const reductions = innermostFirst(new Set(term.left.flatMap((factor) => scalarReductions(factor))));
    let environment = token;
    for (const reduce of reductions)
      environment = withKnown(environment, [[reduce, reduceByTeam(environment, team, reduce)]]);
    build.loop(
      "column",
      lane,
      k.u32(vectors),
      (vector) => {
        const parts = [0, 1, 2, 3].map((at) =>
          build.bind(
            "x",
            leftValue(withIndices(environment, [[term.column.index, k.add(k.mul(vector, 4), at)]]), term),
          ),
        );
        build.add(k.storeShared(array, k.add(vector, t * vectors), k.vector(parts)));
      },
      size,
    );
  });
  build.barrier();
  return (unit, columns) =>
    tokens.map((_, t) => {
      if (columns % 4 !== 0) throw new Error("a staged unit is a multiple of four columns");
      return Array.from({ length: columns / 4 }, (__, at) =>
        build.bind("x4", k.loadShared(array, "vec4<f32>", k.add(k.mul(unit, columns / 4), at + t * vectors))),
      ).flatMap((four) => [0, 1, 2, 3].map((at) => k.component(four, at)));
    });
}
