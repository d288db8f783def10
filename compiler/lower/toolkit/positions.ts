/** Ranges of an equation's own indices: constant, or decided by the step of a scan around it. */
import { extent, boundingRange, withRanges, type Bounds } from "../../graph/analysis/ranges.js";
import type { Eqn, Range } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { unflatten } from "./dispatch.js";
import type { Lowering } from "./lowering.js";
import { lowerIndex, lowerRange, withIndices, type Environment } from "./scalar.js";

/** The value of an index at a u32 position of its bounding range. */
export function atPosition(range: Range<Concrete>, bounds: Bounds, position: Expr): Expr {
  return k.add(position, boundingRange(range, bounds).low);
}

/**
 * The environment with the indices of some ranges at a flat u32 position of their bounding ranges, the last the
 * fastest.
 */
export function bindPosition(
  environment: Environment,
  ranges: readonly Range<Concrete>[],
  bounds: Bounds,
  position: Expr,
): Environment {
  const at = unflatten(
    environment.build,
    position,
    ranges.map((range) => extent(range, bounds)),
    ranges.map((range) => range.name),
  );
  return withIndices(
    environment,
    ranges.map((range, axis) => [range.index, atPosition(range, bounds, at[axis]!)] as const),
  );
}

/** Binds the indices of some axes of an equation at a flat u32 position, as `bindPosition` does. */
export function axisBinder(
  eqn: Eqn<Concrete> & { readonly kind: "map" | "update" },
  bounds: Bounds,
): (environment: Environment, position: Expr, axes: readonly number[]) => Environment {
  return (environment, position, axes) =>
    bindPosition(
      environment,
      axes.map((axis) => eqn.indices[axis]!),
      bounds,
      position,
    );
}

/**
 * Whether the indices of an environment are in the ranges that are not their whole bounding range; null where all are.
 */
export function insideRanges(
  environment: Environment,
  ranges: readonly Range<Concrete>[],
  bounds: Bounds,
): Expr | null {
  let inside: Expr | null = null;
  for (const range of ranges) {
    if (boundingRange(range, bounds).exact) continue;
    const index = lowerIndex(environment, { kind: "index", index: range.index, name: range.name });
    const { from, to } = lowerRange(environment, range);
    const within = k.and(k.greaterEqual(index, from), k.less(index, to));
    inside = inside === null ? within : k.and(inside, within);
  }
  return inside;
}

/** The intervals of an equation's own indices and of those around it. */
export function boundsOf(lowering: Lowering, eqn: Eqn<Concrete> & { readonly kind: "map" | "update" }): Bounds {
  return withRanges(lowering.bounds, eqn.indices);
}
