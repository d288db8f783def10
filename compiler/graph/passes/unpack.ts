import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { productOf, type Product } from "../analysis/product.js";
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
 * Tensors that a product had better read dense are decoded by an equation of their own just before, w'[n, k] = w[n, k]:
 * - on a CPU driver, where the lanes of a tile cannot share an unpacked weight, a sparse or quantised weight of a product
 *   for many tokens;
 * - packed activations of a product that is none of integers (`readsCodes`), since each is read for many outputs.
 */
export function unpackForTiles(
  graph: ConcreteGraph,
  target: Target,
  readsCodes: (product: Product) => boolean,
): ConcreteGraph {
  const values: Value<Concrete>[] = [...graph.values];
  const eqns: Eqn<Concrete>[] = [];
  const decoded = new Map<ValueId, ValueId>();
  for (const eqn of graph.eqns) {
    const product = productOf(graph, eqn);
    const dense = new Map<ValueId, ValueId>();
    for (const id of product === null || readsCodes(product) ? [] : sidesOf(product, target)) {
      const packed = values[id]!;
      if (packed.type.format === null || storageBytes({ ...packed.type, format: null }) > target.maxBinding) continue;
      if (!decoded.has(id)) {
        decoded.set(id, values.length);
        const out = values.length;
        values.push({ ...packed, id: out, name: `${packed.name}_dense`, type: { ...packed.type, format: null } });
        eqns.push(decoding(packed, out));
      }
      dense.set(id, decoded.get(id)!);
    }
    eqns.push(dense.size === 0 ? eqn : mapOperands(eqn, (id) => dense.get(id) ?? id));
  }
  return eqns.length === graph.eqns.length ? graph : { ...graph, values, eqns };
}

/** The tensors that a product's sides are and that are better read dense. */
function sidesOf({ sizes, terms }: Product, target: Target): readonly ValueId[] {
  const weights = target.kind === "cpu" && sizes.m >= worthwhileTokens ? terms : [];
  return [
    ...terms.flatMap(({ leftRows }) =>
      leftRows === null || leftRows.format.grid(leftRows.spec) === null ? [] : [leftRows.load.tensor],
    ),
    ...weights.flatMap(({ rows }) =>
      rows === null ||
      rows.unit === null ||
      (rows.unit.entries === rows.unit.columns && rows.unit.columns <= directColumns)
        ? []
        : [rows.load.tensor],
    ),
  ];
}

/** The equation that decodes a tensor. */
function decoding(packed: Value<Concrete>, out: ValueId): Eqn<Concrete> {
  const indices = packed.type.shape.map((size, axis) => ({
    index: axis,
    name: ["n", "k"][axis] ?? `i${axis}`,
    low: { kind: "constant" as const, value: 0, dtype: "i32" as const },
    high: { kind: "constant" as const, value: size, dtype: "i32" as const },
  }));
  return {
    kind: "map",
    out,
    indices,
    body: {
      kind: "load",
      tensor: packed.id,
      at: indices.map(({ index, name }) => ({ kind: "index", index, name })),
      dtype: packed.type.dtype,
      guarded: false,
    },
  };
}
