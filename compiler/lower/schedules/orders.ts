/** Activations that lie as the matrices of the products that read them: which, and in which order. */
import { allEqns, eqnOperands } from "../../graph/eqn.js";
import type { ConcreteGraph, Eqn, ValueId } from "../../graph/graph.js";
import { productOf } from "../../graph/analysis/product.js";
import { scalarLoads, withoutCasts } from "../../graph/scalar.js";
import type { StorageMap } from "../../graph/storage.js";
import type { Kernel } from "../../kernel/kernel.js";
import { visitStatements } from "../../kernel/walk.js";
import type { Concrete } from "../../types/type.js";
import { isSameOrder, orderedBytes, type MatrixOrder, type Orders } from "../toolkit/order.js";
import type { Lowering } from "../toolkit/lowering.js";
import { boundsOf } from "../toolkit/positions.js";
import { matrixTaken, type Wanted } from "./choose.js";
import { orderOf, takesTrips } from "./matrix-tile.js";

/**
 * The orders of what only products by matrices read that want it so, and agree. `lowering` makes one with orders given.
 * Whoever lowers by them must see that those readers did take their tiles: any other would read nonsense.
 */
export function matrixOrders(
  graph: ConcreteGraph,
  lowering: (orders: Orders) => Lowering,
  wanted: Wanted,
): ReadonlyMap<ValueId, MatrixOrder> {
  const plain = lowering(new Map());
  const readers = new Map<ValueId, Eqn<Concrete>[]>();
  for (const eqn of graph.eqns) {
    if (eqn.kind !== "map" || !writesRows(graph, eqn)) continue;
    const own = allEqns(graph.eqns).filter((other) => eqnOperands(other).has(eqn.out));
    if (own.length > 0 && own.every((other) => graph.eqns.includes(other) && readsAsLeft(plain, other, eqn.out)))
      readers.set(eqn.out, own);
  }
  if (readers.size === 0) return new Map();
  const free = lowering(new Map([...readers.keys()].map((id) => [id, "any"] as const)));
  const orders = new Map<ValueId, MatrixOrder>();
  for (const [id, own] of readers) {
    const asked = own.map((eqn) => {
      const taken = matrixTaken(free, eqn, wanted);
      return taken !== null && takesTrips(taken.cut) && taken.cut.left === "ordered"
        ? orderOf(taken.cut, taken.sides)
        : null;
    });
    const [first] = asked;
    if (first != null && asked.every((each) => each !== null && isSameOrder(each, first))) orders.set(id, first);
  }
  return orders;
}

/** The storage with room for tensors in their orders. */
export function orderedStorage(storage: StorageMap, orders: ReadonlyMap<ValueId, MatrixOrder>): StorageMap {
  return storage.map((each, id) => {
    const order = orders.get(id);
    return order === undefined || each === null ? each : { ...each, bytes: Math.max(each.bytes, orderedBytes(order)) };
  });
}

/** Whether kernels read tensors, by the names of their storage, as matrices alone: in the order that those have. */
export function readAsMatrices(kernels: readonly Kernel[], tensors: ReadonlySet<string>): boolean {
  return kernels.every(({ buffers, body }) => {
    const own = new Set(buffers.flatMap(({ name, tensor }) => (tensors.has(tensor) ? [name] : [])));
    let elements = 0;
    if (own.size > 0)
      visitStatements(
        body,
        () => {},
        (expr) => {
          if (expr.kind === "load" && own.has(expr.buffer)) elements++;
        },
      );
    return elements === 0;
  });
}

/** Whether an equation computes a temporary of f16 with at least two axes, whose elements it stores one by one. */
function writesRows(graph: ConcreteGraph, eqn: Eqn<Concrete> & { readonly kind: "map" }): boolean {
  const { type } = graph.values[eqn.out]!;
  const isCopy = withoutCasts(eqn.body).kind === "load";
  return (
    type.dtype === "f16" &&
    type.format === null &&
    type.shape.length >= 2 &&
    !isCopy &&
    graph.outputs.every(({ value }) => value !== eqn.out)
  );
}

/** Whether an equation is a product that reads a tensor as its left side, and nowhere else. */
function readsAsLeft(lowering: Lowering, eqn: Eqn<Concrete>, id: ValueId): boolean {
  if (eqn.kind !== "map") return false;
  const product = productOf(lowering.graph, eqn, boundsOf(lowering, eqn), true);
  if (product === null) return false;
  const reads = (scalar: Parameters<typeof scalarLoads<Concrete>>[0]): number =>
    scalarLoads(scalar).filter(({ tensor }) => tensor === id).length;
  const asLeft = product.terms.every(({ left }) => left.length === 1 && left.every((each) => reads(each) === 1));
  const inRight = product.terms.some(({ right }) => right.some((each) => reads(each) > 0));
  return asLeft && !inRight && reads(eqn.body) === product.terms.length;
}
