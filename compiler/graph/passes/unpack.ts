import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { productOf } from "../analysis/product.js";
import { mapOperands } from "../eqn.js";
import type { ConcreteGraph, Eqn, Value, ValueId } from "../graph.js";
import { storageBytes } from "../storage.js";

/** Tokens from which on unpacking a weight once costs less than unpacking it in every tile. */
const worthwhileTokens = 32;

/**
 * Units of so many columns at most are read in the product itself: a longer one, unrolled for every token, makes a
 * kernel that takes the driver long to compile.
 */
const directColumns = 8;

/**
 * On a CPU driver, where the lanes of a tile cannot share an unpacked weight, a product for many tokens with a sparse
 * or
 * quantised weight reads a dense copy, made by an eqn of its own just before: w'[n, k] = w[n, k].
 */
export function unpackForTiles(graph: ConcreteGraph, target: Target): ConcreteGraph {
  if (target.kind !== "cpu") return graph;
  const values: Value<Concrete>[] = [...graph.values];
  const eqns: Eqn<Concrete>[] = [];
  for (const eqn of graph.eqns) {
    const product = productOf(graph, eqn);
    const dense = new Map<ValueId, ValueId>();
    for (const { rows } of product !== null && product.sizes.m >= worthwhileTokens ? product.terms : []) {
      if (
        rows === null ||
        rows.unit === null ||
        (rows.unit.entries === rows.unit.columns && rows.unit.columns <= directColumns)
      )
        continue;
      const packed = values[rows.load.tensor]!;
      if (storageBytes({ ...packed.type, format: null }) > target.maxBinding) continue;
      const id = values.length;
      values.push({ ...packed, id, name: `${packed.name}_dense`, type: { ...packed.type, format: null } });
      const indices = packed.type.shape.map((size, axis) => ({
        index: axis,
        name: ["n", "k"][axis] ?? `i${axis}`,
        low: { kind: "constant" as const, value: 0, dtype: "i32" as const },
        high: { kind: "constant" as const, value: size, dtype: "i32" as const },
      }));
      eqns.push({
        kind: "map",
        out: id,
        indices,
        body: {
          kind: "load",
          tensor: packed.id,
          at: indices.map(({ index, name }) => ({ kind: "index", index, name })),
          dtype: packed.type.dtype,
          guarded: false,
        },
      });
      dense.set(packed.id, id);
    }
    eqns.push(dense.size === 0 ? eqn : mapOperands(eqn, (id) => dense.get(id) ?? id));
  }
  return { ...graph, values, eqns };
}
