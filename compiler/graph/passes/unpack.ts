import { roundsToHalf } from "../../formats/registry.js";
import type { Target } from "../../target.js";
import type { Dtype } from "../../types/dtype.js";
import type { Concrete } from "../../types/type.js";
import { productOf, type Product, type ProductTerm } from "../analysis/product.js";
import { mapEqnScalars } from "../eqn.js";
import { mapScalar, withoutCasts } from "../scalar.js";
import type { ConcreteGraph, Eqn, Value, ValueId } from "../graph.js";
import { storageBytes } from "../storage.js";

/** Tokens from which on unpacking a weight once costs less than unpacking it in every tile. */
const worthwhileTokens = 32;

/**
 * Tokens from which on that holds for tiles of matrices. Decoding a weight costs its f16, written once, and saves the
 * unpacking in every tile of 128 tokens: what three of them take (bench/h100.md).
 */
const matrixTokens = 512;

/** Bytes of a decoded weight at most, since it stands beside the packed one. */
const mostDecoded = 2 ** 28;

/**
 * Units of so many columns at most are read in the product itself: a longer one, unrolled for every token, makes a
 * kernel that takes the driver long to compile.
 */
const directColumns = 8;

/**
 * Tensors that a product had better read dense are decoded by an equation of their own just before, w'[n, k] = w[n, k]:
 * - on a CPU driver, where the lanes of a tile cannot share an unpacked weight, a sparse or quantised weight of a product
 *   for many tokens;
 * - on a GPU whose subgroups multiply matrices of f16, a packed weight of a product for very many tokens;
 * - packed activations of a product that is none of integers (`readsCodes`), since each is read for many outputs.
 */
export function unpackForTiles(
  graph: ConcreteGraph,
  target: Target,
  readsCodes: (product: Product) => boolean,
): ConcreteGraph {
  const values: Value<Concrete>[] = [...graph.values];
  const eqns: Eqn<Concrete>[] = [];
  const decoded = new Map<string, ValueId>();
  for (const eqn of graph.eqns) {
    const product = productOf(graph, eqn);
    const dense = new Map<ValueId, ValueId>();
    for (const [id, dtype] of product === null || readsCodes(product) ? [] : sidesOf(graph, product, target)) {
      const packed = values[id]!;
      const type = { ...packed.type, dtype, format: null };
      if (packed.type.format === null || storageBytes(type) > target.maxBinding) continue;
      const key = `${id} ${dtype}`;
      const out = decoded.get(key) ?? values.length;
      if (!decoded.has(key)) {
        decoded.set(key, out);
        values.push({ ...packed, id: out, name: `${packed.name}_dense`, type });
        eqns.push(decoding(packed, out, dtype));
      }
      dense.set(id, out);
    }
    eqns.push(dense.size === 0 ? eqn : readsInstead(eqn, values, dense));
  }
  return eqns.length === graph.eqns.length ? graph : { ...graph, values, eqns };
}

/** The tensors that a product's sides are and that are better read dense, and as what. */
function sidesOf(
  graph: ConcreteGraph,
  { sizes, terms }: Product,
  target: Target,
): readonly (readonly [ValueId, Dtype])[] {
  const weights = target.kind === "cpu" && sizes.m >= worthwhileTokens ? terms : [];
  const byMatrices = target.kind === "gpu" && target.matrices && target.f16 && sizes.m >= matrixTokens;
  const asItIs = (id: ValueId): readonly [ValueId, Dtype] => [id, graph.values[id]!.type.dtype];
  return [
    ...(byMatrices && terms.every((term) => isForMatrices(graph, term))
      ? terms.map(({ rows }) => [rows!.load.tensor, "f16"] as const)
      : []),
    ...terms.flatMap(({ leftRows }) =>
      leftRows === null || leftRows.format.grid(leftRows.spec) === null ? [] : [asItIs(leftRows.load.tensor)],
    ),
    ...weights.flatMap(({ rows }) =>
      rows === null ||
      rows.unit === null ||
      (rows.unit.entries === rows.unit.columns && rows.unit.columns <= directColumns)
        ? []
        : [asItIs(rows.load.tensor)],
    ),
  ];
}

/** The equation with other tensors instead of some that it reads, converted to the type of those. */
function readsInstead(
  eqn: Eqn<Concrete>,
  values: readonly Value<Concrete>[],
  instead: ReadonlyMap<ValueId, ValueId>,
): Eqn<Concrete> {
  return mapEqnScalars(eqn, (scalar) =>
    mapScalar(scalar, (node) => {
      const id = node.kind === "load" ? instead.get(node.tensor) : undefined;
      if (node.kind !== "load" || id === undefined) return node;
      const { dtype } = values[id]!.type;
      const load = { ...node, tensor: id, dtype };
      return dtype === node.dtype ? load : { kind: "cast", a: load, dtype: node.dtype };
    }),
  );
}

/** Whether a term is one of f16 activations and a packed weight that may be rounded to f16, as tiles of matrices do. */
function isForMatrices({ values }: ConcreteGraph, { rows, left: [only, ...others] }: ProductTerm): boolean {
  if (rows === null || rows.unit === null || rows.load.guarded || only === undefined || others.length > 0) return false;
  const weight = values[rows.load.tensor]!.type;
  const left = withoutCasts(only);
  const activations = left.kind === "load" ? values[left.tensor]!.type : null;
  return (
    activations?.dtype === "f16" &&
    activations.format === null &&
    rows.format.dense === null &&
    roundsToHalf(rows.spec) &&
    storageBytes({ ...weight, dtype: "f16", format: null }) <= mostDecoded
  );
}

/** The equation that decodes a tensor. */
function decoding(packed: Value<Concrete>, out: ValueId, dtype: Dtype): Eqn<Concrete> {
  const indices = packed.type.shape.map((size, axis) => ({
    index: axis,
    name: ["n", "k"][axis] ?? `i${axis}`,
    low: { kind: "constant" as const, value: 0, dtype: "i32" as const },
    high: { kind: "constant" as const, value: size, dtype: "i32" as const },
  }));
  const load = {
    kind: "load" as const,
    tensor: packed.id,
    at: indices.map(({ index, name }) => ({ kind: "index" as const, index, name })),
    dtype: packed.type.dtype,
    guarded: false,
  };
  return { kind: "map", out, indices, body: dtype === load.dtype ? load : { kind: "cast", a: load, dtype } };
}
