import type { Concrete } from "../../types/type.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar } from "../graph.js";
import {
  children,
  constantOf,
  freeIndices,
  scalarReductions,
  withoutCasts,
  type Load,
  type Reduce,
} from "../scalar.js";
import { extent, boundingRange, isIdentity, type Bounds } from "./ranges.js";

type S = Scalar<Concrete>;
type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * An attention in an eqn's body: a softmax mean over keys c whose score is computed of one sum over i of `queries` times
 * a row of the keys, and whose value is a row of the values along the last own index h, which the score has not.
 */
export interface Attention {
  readonly mean: Reduce<Concrete>;
  /** The keys, c. */
  readonly over: Range<Concrete>;
  /** The last own index. */
  readonly element: Range<Concrete>;
  /** The sum over i in the score. */
  readonly product: Reduce<Concrete>;
  /** Factors of the sum that have no c. */
  readonly queries: readonly S[];
  /** A row along i, of dense floats. */
  readonly key: Load<Concrete>;
  /** A row along h, of dense floats. */
  readonly value: Load<Concrete>;
  readonly axes: readonly QueryAxis[];
  /** Elements of a row of keys, and of values. */
  readonly sizes: { readonly key: number; readonly value: number };
  /** Queries that read the same keys and values, and how many such groups there are. */
  readonly queryCount: number;
  readonly groupCount: number;
}

/** An own index but the last: `share` neighbours of it read the same keys and values. */
export interface QueryAxis {
  readonly range: Range<Concrete>;
  readonly extent: number;
  readonly share: number;
}

/** The attention in an eqn, or null where there is none. */
export function attentionOf(graph: ConcreteGraph, eqn: Eqn<Concrete>, bounds: Bounds = new Map()): Attention | null {
  if ((eqn.kind !== "map" && eqn.kind !== "update") || eqn.indices.length < 2) return null;
  if (eqn.kind === "update" && !isIdentity(eqn.at, eqn.indices)) return null;
  if (eqn.indices.some((range) => !boundingRange(range, bounds).exact || boundingRange(range, bounds).low !== 0))
    return null;
  const means = scalarReductions(eqn.body).filter((reduce) => reduce.op === "softmax_mean");
  const [mean, ...others] = means;
  if (mean === undefined || others.length > 0 || mean.score === null || mean.over.length !== 1) return null;
  const over = mean.over[0]!;
  const element = eqn.indices[eqn.indices.length - 1]!;
  const inside = new Set(scalarReductions(mean));
  if (scalarReductions(eqn.body).some((reduce) => !inside.has(reduce))) return null;
  if ([mean.score, over.low, over.high].some((scalar) => freeIndices(scalar).has(element.index))) return null;
  const sums = scalarReductions(mean.score).filter((reduce) => freeIndices(reduce).has(over.index));
  const [product] = sums;
  if (product === undefined || sums.length > 1 || product.op !== "sum" || product.over.length !== 1) return null;
  const i = product.over[0]!;
  const [from, to] = [constantOf(i.low), constantOf(i.high)];
  const factors = factorsOf(product.body);
  const right = factors.filter((factor) => freeIndices(factor).has(over.index));
  const queries = factors.filter((factor) => !freeIndices(factor).has(over.index));
  const key = right.length === 1 ? rowOf(graph, right[0]!, i.index, to ?? Infinity) : null;
  const value = rowOf(graph, mean.body, element.index, extent(element, bounds));
  if (from !== 0 || to === null || key === null || value === null || queries.length === 0) return null;
  if (!freeIndices(value).has(over.index) || freeIndices(key).has(element.index)) return null;
  if (queries.some((factor) => scalarReductions(factor).length > 0)) return null;
  const axes = eqn.indices
    .slice(0, -1)
    .map((range) => axisOf(range, extent(range, bounds), [...key.at, ...value.at]))
    .filter((axis) => axis !== null);
  if (axes.length < eqn.indices.length - 1) return null;
  return {
    mean,
    over,
    element,
    product,
    queries,
    key,
    value,
    axes,
    sizes: { key: to, value: extent(element, bounds) },
    queryCount: axes.reduce((count, axis) => count * axis.share, 1),
    groupCount: axes.reduce((count, axis) => count * (axis.extent / axis.share), 1),
  };
}

/**
 * An element of a dense float tensor that is read along an index of so many elements, alone or after whole rows:
 * `x[c, g * 64 + h]`. Which row it is may be data, and out of range: `x[page[c / 16], c % 16, h]`; it is in the row.
 */
function rowOf(graph: ConcreteGraph, scalar: S, index: IndexId, length: number): Load<Concrete> | null {
  const load = withoutCasts(scalar);
  if (load.kind !== "load" || load.at.length < 2) return null;
  const { type } = graph.values[load.tensor]!;
  if (type.format !== null || (type.dtype !== "f32" && type.dtype !== "f16")) return null;
  const last = load.at[load.at.length - 1]!;
  if (load.at.slice(0, -1).some((at) => freeIndices(at).has(index))) return null;
  const isIndex = (node: S): boolean => node.kind === "index" && node.index === index;
  if (isIndex(last)) return !load.guarded || length <= type.shape[type.shape.length - 1]! ? load : null;
  if (load.guarded) return null;
  if (last.kind !== "binary" || last.op !== "add") return null;
  const [a, b] = isIndex(last.b) ? [last.b, last.a] : [last.a, last.b];
  return isIndex(a) && !freeIndices(b).has(index) ? load : null;
}

/** How an own index stands in the places of keys and values: not at all, as `index / share` only, or otherwise. */
function axisOf(range: Range<Concrete>, size: number, at: readonly S[]): QueryAxis | null {
  const shares = new Set<number>();
  const visit = (node: S): void => {
    if (!freeIndices(node).has(range.index)) return;
    if (node.kind === "binary" && node.op === "divide" && node.a.kind === "index") {
      const divisor = constantOf(node.b);
      if (divisor !== null && divisor > 0 && node.a.index === range.index) {
        shares.add(divisor);
        return;
      }
    }
    if (node.kind === "index") shares.add(1);
    for (const child of children(node)) visit(child);
  };
  at.forEach(visit);
  if (shares.size === 0) return { range, extent: size, share: size };
  const [share] = shares;
  return shares.size === 1 && size % share! === 0
    ? { range, extent: size, share: share! }
    : { range, extent: size, share: 1 };
}

/** The factors of a product; a conversion of a product is one, for it may round. */
function factorsOf(scalar: S): readonly S[] {
  if (scalar.kind === "binary" && scalar.op === "multiply") return [...factorsOf(scalar.a), ...factorsOf(scalar.b)];
  return [scalar];
}

/**
 * Whether a bound never falls while an index grows, and what else it is made of stays: sums, products with numbers that
 * are not negative, and the least and the greatest of such.
 */
export function growsWith(scalar: S, index: IndexId): boolean {
  if (!freeIndices(scalar).has(index)) return true;
  if (scalar.kind === "index") return true;
  if (scalar.kind !== "binary") return false;
  switch (scalar.op) {
    case "add":
    case "min":
    case "max":
      return growsWith(scalar.a, index) && growsWith(scalar.b, index);
    case "multiply":
    case "divide":
      return (constantOf(scalar.b) ?? -1) > 0 && growsWith(scalar.a, index);
    default:
      return false;
  }
}

/**
 * Whether between the keys of one query and those of another of its group there may be some that neither has: both their
 * first and their last depend on the query.
 */
export function mayLeaveGaps({ over, axes }: Attention): boolean {
  const varies = (bound: S): boolean =>
    axes.some(({ range, share }) => share > 1 && freeIndices(bound).has(range.index));
  return varies(over.low) && varies(over.high);
}

export type { Elements as AttentionEqn };
