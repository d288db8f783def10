import type { Format, Shape, Unit } from "../../formats/format.js";
import { formatOf, shapeOf } from "../../formats/registry.js";
import type { Concrete, FormatSpec } from "../../types/type.js";
import type { Eqn, IndexId, Range, Scalar } from "../graph.js";
import type { ConcreteGraph } from "../graph.js";
import {
  constantOf,
  freeIndices,
  scalarLoads,
  scalarReductions,
  scalarKey,
  withoutCasts,
  type Load,
  type Reduce,
} from "../scalar.js";
import { extent, isIdentity, type Bounds } from "./ranges.js";

type S = Scalar<Concrete>;

/**
 * A matrix product in an eqn's body: sums over an index k of left * right, where `right` depends on the last own
 * index n and `left` does not. Own indices that right does not have are m (tokens), the others are the batch.
 * Several sums may stand in one body (a gate and its product), if their axes agree. A sum over several indices of
 * constant ranges is one of products, one for each value of those `around` k.
 */
export interface Product {
  readonly n: number;
  readonly m: readonly number[];
  readonly batch: readonly number[];
  /** Extents of the axes: product of m, of batch; n. */
  readonly sizes: { readonly m: number; readonly n: number; readonly batch: number };
  readonly terms: readonly ProductTerm[];
}

export interface ProductTerm {
  readonly reduce: Reduce<Concrete>;
  /** k: of several indices the longest. */
  readonly column: Range<Concrete>;
  /** The others. */
  readonly around: readonly Range<Concrete>[];
  readonly left: readonly S[];
  readonly right: readonly S[];
  /** Where right is one tensor read along k: the weights in their format. */
  readonly rows: ProductRows | null;
  /** The same of left: activations, perhaps in a format of theirs. */
  readonly leftRows: ProductRows | null;
  /** The same text for terms whose left side is the same. */
  readonly leftKey: string;
}

/** A tensor whose last axis is k, seen as rows of stored units. */
export interface ProductRows {
  readonly load: Load<Concrete>;
  readonly spec: FormatSpec;
  readonly format: Format;
  readonly shape: Shape;
  readonly unit: Unit | null;
}

/**
 * The product in an eqn, or null where there is none. `bounds`: intervals of the indices around it; `several`: whether
 * sums may be over several indices.
 */
export function productOf(
  graph: ConcreteGraph,
  eqn: Eqn<Concrete>,
  bounds: Bounds = new Map(),
  several = false,
): Product | null {
  if ((eqn.kind !== "map" && eqn.kind !== "update") || eqn.indices.length < 1) return null;
  if (eqn.kind === "update" && !isIdentity(eqn.at, eqn.indices)) return null;
  const own = eqn.indices.map((range) => range.index);
  const reductions = scalarReductions(eqn.body).filter(
    (reduce) => reduce.op === "sum" && (reduce.over.length === 1 || (several && reduce.over.every(isConstant))),
  );
  const n = own.length - 1;
  const nIndex = own[n]!;
  const outermost = reductions.filter(
    (reduce) => !reductions.some((other) => other !== reduce && scalarReductions(other).includes(reduce)),
  );
  const candidates = outermost.filter((reduce) => freeIndices(reduce).has(nIndex));
  if (
    candidates.length === 0 ||
    scalarReductions(eqn.body).some(
      (reduce) =>
        !candidates.includes(reduce) && !candidates.some((term) => scalarReductions(term.body).includes(reduce)),
    )
  )
    return null;
  const terms: ProductTerm[] = [];
  const batch = new Set<IndexId>();
  for (const reduce of candidates) {
    const column = longest(reduce.over);
    const around = reduce.over.filter((range) => range !== column);
    const { index: kIndex, low, high } = column;
    // a range of its own for each output is no row of a tile
    if (freeIndices(low).has(nIndex) || freeIndices(high).has(nIndex)) return null;
    const factors = factorsOf(reduce.body);
    const right = factors.filter((factor) => freeIndices(factor).has(nIndex));
    const left = factors.filter((factor) => !freeIndices(factor).has(nIndex));
    // a factor without k belongs to neither side's inner loop, but costs little on the left
    if (right.length === 0 || left.length === 0 || right.some((factor) => scalarReductions(factor).length > 0))
      return null;
    for (const factor of right)
      for (const index of freeIndices(factor)) if (index !== nIndex && own.includes(index)) batch.add(index);
    const names = new Map([[kIndex, "k"], ...around.map(({ index }, at) => [index, `k${at}`] as const)]);
    terms.push({
      reduce,
      column,
      around,
      left,
      right,
      rows: rowsOf(graph, right, kIndex),
      leftRows: rowsOf(graph, left, kIndex),
      leftKey: left
        .map((factor) => scalarKey(factor, names))
        .sort()
        .join(" * "),
    });
  }
  const axes = own.map((index, axis) => ({ index, axis })).filter(({ axis }) => axis !== n);
  const batchAxes = axes.filter(({ index }) => batch.has(index)).map(({ axis }) => axis);
  const mAxes = axes.filter(({ index }) => !batch.has(index)).map(({ axis }) => axis);
  const size = (list: readonly number[]): number =>
    list.reduce((product, axis) => product * extent(eqn.indices[axis]!, bounds), 1);
  return {
    n,
    m: mAxes,
    batch: batchAxes,
    sizes: { m: size(mAxes), n: extent(eqn.indices[n]!, bounds), batch: size(batchAxes) },
    terms,
  };
}

function isConstant({ low, high }: Range<Concrete>): boolean {
  return constantOf(low) !== null && constantOf(high) !== null;
}

/** The range of most values, of equal ones the last. */
function longest(ranges: readonly Range<Concrete>[]): Range<Concrete> {
  return ranges.reduce((best, each) => (ranges.length > 1 && extent(each) >= extent(best) ? each : best));
}

/** The factors of a product; a conversion of a product is one, for it may round. */
function factorsOf(scalar: S): readonly S[] {
  if (scalar.kind === "binary" && scalar.op === "multiply") return [...factorsOf(scalar.a), ...factorsOf(scalar.b)];
  return [scalar];
}

/** The tensor read along k, when a side is that and nothing else (but conversions). */
function rowsOf(graph: ConcreteGraph, factors: readonly S[], kIndex: IndexId): ProductRows | null {
  const [only, ...rest] = factors;
  if (only === undefined || rest.length > 0) return null;
  const load = withoutCasts(only);
  if (load.kind !== "load") return null;
  const last = load.at[load.at.length - 1];
  if (load.at.length < 2 || last?.kind !== "index" || last.index !== kIndex) return null;
  if (load.at.slice(0, -1).some((at) => freeIndices(at).has(kIndex) || scalarLoads(at).length > 0)) return null;
  const { type } = graph.values[load.tensor]!;
  if (type.dtype !== "f32" && type.dtype !== "f16") return null;
  const spec = type.format ?? { name: type.dtype, args: {}, of: null };
  const format = formatOf(spec.name);
  if (format === null) return null;
  const shape = shapeOf(type.shape);
  return { load, spec, format, shape, unit: format.unit(spec, shape) };
}

/**
 * Whether these factors may be read at every k of the axes that k stands on alone, and not only at those of its range:
 * where an index is computed of k, that it is in range was proved for the range alone.
 */
export function readsAnywhere(factors: readonly S[], kIndex: IndexId): boolean {
  return factors.every((factor) =>
    scalarLoads(factor).every(
      (load) =>
        load.guarded ||
        load.at.every((at) => (at.kind === "index" && at.index === kIndex) || !freeIndices(at).has(kIndex)),
    ),
  );
}
