/** The sides of a product whose terms are integers on grids: both are read as words of four signed bytes. */
import { codeOf } from "../../formats/code/registry.js";
import type { CodeLayout } from "../../formats/code/code.js";
import type { Shape } from "../../formats/format.js";
import { formatOfSpec } from "../../formats/registry.js";
import type { StagedPack, StagedPacks } from "../../graph/analysis/staged-packs.js";
import { productOf, type Product, type ProductRows, type ProductTerm } from "../../graph/analysis/product.js";
import { eqnOperands } from "../../graph/eqn.js";
import type { ConcreteGraph, Eqn, ValueId } from "../../graph/graph.js";
import type { Target } from "../../target.js";
import type { Concrete, FormatSpec } from "../../types/type.js";
import { upTo } from "../../types/shape.js";
import { fixedSubgroup } from "../toolkit/team.js";
import { wholeRange } from "./right.js";

/** The most tokens of a product of integers: each is a sum a row. */
export const dotTokens = 8;

/**
 * The most tokens for which products of integers are the faster ones where subgroups multiply matrices of f16: sums for each
 * of a few, which 2:4 makes dearer, take longer with each, tiles for 16 as long for two. Measured on an H200
 * (bench/h100.md), by the weights of a block.
 */
const tokensOfDots = { dense: 7, sparse: 4 } as const;

/** The same of weights that tiles of one subgroup unpack, by the fewest weights, the most first; 2 ** 26 is a guess. */
const tokensOfOrdered = [
  { weights: 2 ** 27, dense: 2, sparse: 1 },
  { weights: 2 ** 26, dense: 3, sparse: 2 },
  { weights: 2 ** 25, dense: 4, sparse: 4 },
] as const;

/** What the terms of such a product have in common. */
export interface DotSides {
  readonly left: ProductRows;
  /** How the product rounds its activations itself; null where it reads what was packed. */
  readonly pack: StagedPack | null;
  /** Columns of a unit of the weights; within it activations have one scale. */
  readonly columns: number;
  /** Units of a row. */
  readonly units: number;
  readonly layout: CodeLayout;
  /** Columns of a unit of activations, which is a part of a unit of weights. */
  readonly part: number;
  /**
   * Of dense codes: for each of the words of a part the columns, counted from the part's first, of its bytes; the same
   * in each part.
   */
  readonly order: readonly (readonly number[])[];
  /** Of dense codes: the words of a unit that each part's are, in that order. */
  readonly words: readonly (readonly number[])[];
}

/** Whether the device computes products of integers by subgroups. */
export function hasDots(target: Target): boolean {
  return (fixedSubgroup(target) ?? 0) >= 4;
}

/** The sides of a product, or null where it is none of integers or a device cannot do it so. */
export function dotSides(product: Product, target: Target, packs: StagedPacks = new Map()): DotSides | null {
  const [first] = product.terms;
  const left = first?.leftRows ?? null;
  if (first === undefined || left === null || first.rows === null || !hasDots(target)) return null;
  if (product.sizes.batch !== 1 || product.sizes.m > dotTokens) return null;
  const leftLayout = codeOf(left.spec).codes?.layout(left.spec, left.shape) ?? null;
  const layout = codeOf(first.rows.spec).codes?.layout(first.rows.spec, first.rows.shape) ?? null;
  const [own, unit] = [left.unit, first.rows.unit];
  if (leftLayout === null || layout === null || own === null || unit === null) return null;
  // activations are bytes in order, without a zero point
  if (
    !leftLayout.dense ||
    leftLayout.zero ||
    leftLayout.words.some((word, at) => word.some((e, b) => e !== 4 * at + b))
  )
    return null;
  if (unit.columns % own.columns !== 0 || own.scaleColumns % unit.columns !== 0 || own.columns % 4 !== 0) return null;
  if (!product.terms.every((term) => alike(term, first, layout))) return null;
  const parts = upTo(unit.columns / own.columns);
  const common = {
    left,
    pack: packs.get(left.load.tensor) ?? null,
    columns: unit.columns,
    units: first.rows.shape.columns / unit.columns,
    layout,
    part: own.columns,
  };
  if (!layout.dense) return own.columns === 16 ? { ...common, order: [], words: [] } : null;
  const words = parts.map((part) =>
    upTo(layout.words.length).filter((word) =>
      layout.words[word]!.every((column) => Math.floor(column / own.columns) === part),
    ),
  );
  const orders = words.map((some, part) =>
    some.map((word) => layout.words[word]!.map((column) => column - part * own.columns)),
  );
  const [order] = orders;
  if (order === undefined || order.length !== own.columns / 4) return null;
  if (orders.some((other) => JSON.stringify(other) !== JSON.stringify(order))) return null;
  return { ...common, order, words };
}

/** Whether a term reads the activations of the first, and its weights are as wide and stand alike. */
function alike(term: ProductTerm, first: ProductTerm, layout: CodeLayout): boolean {
  const { rows } = term;
  if (rows === null || term.leftKey !== first.leftKey || term.leftRows === null) return false;
  return (
    !rows.load.guarded &&
    !term.leftRows.load.guarded &&
    wholeRange(term) &&
    rows.shape.columns === term.leftRows.shape.columns &&
    rows.unit?.columns === first.rows!.unit!.columns &&
    JSON.stringify(codeOf(rows.spec).codes?.layout(rows.spec, rows.shape) ?? null) === JSON.stringify(layout)
  );
}

/** Whether an equation is a product of integers on a device. */
export function isDot(graph: ConcreteGraph, eqn: Eqn<Concrete>, target: Target): boolean {
  const product = productOf(graph, eqn);
  return product !== null && dotSides(product, target) !== null;
}

/** Rows of all products of a graph that read a tensor of activations. */
export function rowsOfReaders(graph: ConcreteGraph, tensor: ValueId): number {
  return graph.eqns
    .filter((eqn) => eqnOperands(eqn).has(tensor))
    .reduce((sum, eqn) => sum + (productOf(graph, eqn)?.sizes.n ?? 0), 0);
}

/** The most tokens for which the products of a block's weights are faster with activations rounded to integers. */
export function mostDotTokens(
  weights: readonly { readonly spec: FormatSpec; readonly shape: Shape }[],
  target: Target,
): number {
  if (!target.matrices || !target.f16) return dotTokens;
  const count = weights.reduce((sum, { shape }) => sum + shape.rows * shape.columns, 0);
  const isOrdered = weights.every(({ spec }) => codeOf(spec).halves(spec) !== null);
  const ordered = isOrdered ? tokensOfOrdered.find((each) => count >= each.weights) : undefined;
  const { dense, sparse } = ordered ?? tokensOfDots;
  return weights.some(({ spec }) => spec.of !== null) ? sparse : dense;
}

/** Columns that may share a scale of the activations, the fewest first: fewer are as fast, and more exact. */
const activationGroups = [32, 64, 128] as const;

/**
 * The columns that share a scale of activations in int8, for products with all of these weights to be ones of integers;
 * null where one of them has no integer codes, or the device no such products.
 */
export function activationGroup(
  weights: readonly { readonly spec: FormatSpec; readonly shape: Shape }[],
  target: Target,
): number | null {
  if (!hasDots(target)) return null;
  const units = weights.map(({ spec, shape }) =>
    (codeOf(spec).codes?.layout(spec, shape) ?? null) === null
      ? null
      : (formatOfSpec(spec).unit(spec, shape)?.columns ?? null),
  );
  const fits = (group: number): boolean =>
    units.every((columns, at) => columns !== null && group % columns === 0 && weights[at]!.shape.columns % group === 0);
  return activationGroups.find(fits) ?? null;
}
