/** Sides of a product of f32 that are taken four neighbours at a time. */
import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import { boundingRange, coefficientOf, type Bounds } from "../../graph/analysis/ranges.js";
import type { Eqn, IndexId, Scalar } from "../../graph/graph.js";
import { constantOf, freeIndices, withoutCasts } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { joinAxes } from "../toolkit/axes.js";
import type { Lowering } from "../toolkit/lowering.js";
import { four } from "../toolkit/vector-store.js";
import { boundsOf } from "../toolkit/positions.js";
import { flatten, lowerIndex, withIndices, type Environment } from "../toolkit/scalar.js";
import { leftValue } from "./left.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** A side of a product, in vectors of four neighbours. */
export interface VectorSide {
  /** The axis along which they lie side by side in workgroup memory. */
  readonly along: "k" | "outer";
  /** The vector that begins at `column`, where the environment has the outer index of its first element. */
  readonly load: (environment: Environment, column: Expr) => Expr;
}

/** Both sides of a product. */
export interface VectorProduct {
  readonly term: ProductTerm;
  /** Columns of the sum. */
  readonly columns: number;
  readonly left: VectorSide;
  /** Along n. */
  readonly right: VectorSide;
}

/**
 * The sides of a product of one sum of a constant number of columns, whose right side is a tensor of f32 that is read
 * along n; the left side may be anything, and is read along k unless it is a tensor that lies along its other axis. Null
 * for other products.
 */
export function vectorProduct(lowering: Lowering, eqn: Elements, product: Product): VectorProduct | null {
  const [term, ...others] = product.terms;
  if (term === undefined || others.length > 0 || term.around.length > 0) return null;
  const columns = constantOf(term.column.high);
  if (term.reduce.dtype !== "f32" || constantOf(term.column.low) !== 0 || columns === null) return null;
  const bounds = boundsOf(lowering, eqn);
  const right = tensorSide(lowering, eqn, term, term.right, eqn.indices[product.n]!.index, bounds);
  if (right === null || right.along !== "outer") return null;
  const [sole, ...more] = product.m;
  const outer = sole === undefined || more.length > 0 ? null : eqn.indices[sole]!.index;
  const left = tensorSide(lowering, eqn, term, term.left, outer, bounds) ?? computedSide(term);
  return { term, columns, left, right };
}

/** Any side, its elements computed one by one. */
function computedSide(term: ProductTerm): VectorSide {
  return {
    along: "k",
    load: (environment, column) =>
      environment.build.bind(
        "values",
        k.vector(
          upTo(four).map((at) => leftValue(withIndices(environment, [[term.column.index, k.add(column, at)]]), term)),
        ),
      ),
  };
}

/** A side that is a tensor of f32, read along k or along its outer index; null for others. */
function tensorSide(
  lowering: Lowering,
  eqn: Elements,
  term: ProductTerm,
  factors: readonly Scalar<Concrete>[],
  outer: IndexId | null,
  bounds: Bounds,
): VectorSide | null {
  const [only, ...others] = factors;
  const load = only === undefined || others.length > 0 ? null : withoutCasts(only);
  if (load?.kind !== "load" || load.guarded) return null;
  const { type } = lowering.graph.values[load.tensor]!;
  const storage = lowering.storage[load.tensor];
  if (storage === null || storage === undefined || type.dtype !== "f32" || type.format !== null) return null;
  const { shape, at } = joinAxes(type.shape, load.at);
  const [size, last] = [shape.at(-1), at.at(-1)];
  if (size === undefined || last === undefined || size % four !== 0) return null;
  const column = term.column.index;
  const index = [column, outer].find((each) => each !== null && freeIndices(last).has(each)) ?? null;
  if (index === null || at.slice(0, -1).some((each) => freeIndices(each).has(index))) return null;
  if (coefficientOf(last, index) !== 1 || !isMultiple(lowering, eqn, last, index, bounds)) return null;
  return {
    along: index === column ? "k" : "outer",
    load(environment, first) {
      const { build } = environment;
      const here = withIndices(environment, [[column, first]]);
      const places = at.map((each, axis) => {
        const place = lowerIndex(here, each);
        return axis === at.length - 1 ? k.div(place, four) : place;
      });
      const buffer = build.view(storage, "vec4<f32>", "read");
      const place = build.bind("place", flatten([...shape.slice(0, -1), size / four], places));
      return build.bind("values", k.loadBuffer(buffer, "vec4<f32>", place));
    },
  };
}

/** Whether an index into a tensor is a multiple of four wherever `own`, of which vectors begin at multiples, is one. */
function isMultiple(
  lowering: Lowering,
  eqn: Elements,
  scalar: Scalar<Concrete>,
  own: IndexId,
  bounds: Bounds,
): boolean {
  const value = constantOf(scalar);
  if (value !== null) return value % four === 0;
  if (scalar.kind === "index") {
    if (scalar.index === own) {
      const range = eqn.indices.find((each) => each.index === own);
      return range === undefined || boundingRange(range, bounds).low % four === 0;
    }
    const outer = lowering.outer.find((each) => each.index === scalar.index);
    return outer?.multiple !== undefined && outer.multiple % four === 0;
  }
  if (scalar.kind !== "binary") return false;
  const parts = [scalar.a, scalar.b].map((each) => isMultiple(lowering, eqn, each, own, bounds));
  return scalar.op === "add" ? parts.every(Boolean) : scalar.op === "multiply" && parts.some(Boolean);
}
