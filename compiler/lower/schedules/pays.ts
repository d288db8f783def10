/** Whether schedules are worth it where they apply. */
import type { Product } from "../../graph/analysis/product.js";
import { extent } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import { constantOf, scalarLoads, type scalarReductions } from "../../graph/scalar.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { RowShape } from "./rows.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * Looking activations up pays where weights are many, of one token: of more, tiles and sums for each are tried, and a
 * target that asks for tokens alike computes one as several.
 */
export function lookupPays({ sizes, terms }: Product, target: Target): boolean {
  const weights = sizes.n * terms.reduce((sum, { rows }) => sum + (rows?.shape.columns ?? 0), 0);
  return target.alike !== true && sizes.m === 1 && weights >= lookupWeights;
}

/** Weights of a product from which on they are looked up. */
const lookupWeights = 2 ** 20;

/** Tiles of vectors are large: they pay where several of them are filled, on what has lanes for them. */
export function vectorsPay({ sizes }: Product, target: Target): boolean {
  return target.kind === "gpu" && sizes.m >= 32 && sizes.n >= 32;
}

/** Shared reductions pay where rows are long, and where an invocation an element would repeat them or be few. */
export function rowsPay(lowering: Lowering, eqn: Elements, shape: RowShape): boolean {
  const longest = Math.max(...shape.shared.map(reductionLength));
  if (longest < 32) return false;
  const rowCount = shape.outer.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  const elements = shape.inner.reduce((product, axis) => product * extent(eqn.indices[axis]!), 1);
  if (elements > 1) return true;
  // an invocation a row would read a line of memory for each element of it
  if (lowering.target.kind === "gpu" && shape.shared.some((each) => readsAlong(each) && !readsAcross(eqn, each)))
    return true;
  const busy = lowering.target.kind === "cpu" ? 64 : 16384;
  return rowCount < busy;
}

/** Whether a reduction reads some tensor along its last axis. */
function readsAlong({ over, body }: ReturnType<typeof scalarReductions<Concrete>>[number]): boolean {
  return scalarLoads(body).some((load) => {
    const last = load.at[load.at.length - 1];
    return last?.kind === "index" && over.some(({ index, low }) => index === last.index && constantOf(low) !== null);
  });
}

/** Whether neighbouring elements read neighbours of some tensor, at each step of a sum over several indices. */
function readsAcross(
  { indices }: Elements,
  { over, body }: ReturnType<typeof scalarReductions<Concrete>>[number],
): boolean {
  const own = indices.at(-1)?.index;
  return (
    over.length > 1 &&
    scalarLoads(body).some(({ at }) => {
      const last = at.at(-1);
      return last?.kind === "index" && last.index === own;
    })
  );
}

/** Steps of a reduction; a range that is data counts as long. */
export function reductionLength(reduce: ReturnType<typeof scalarReductions<Concrete>>[number]): number {
  return reduce.over.reduce(
    (product, range) => product * Math.max(1, (constantOf(range.high) ?? 1024) - (constantOf(range.low) ?? 0)),
    1,
  );
}
