/** What lies in the order in which products by matrices load it: which activations, which weights, and in which order. */
import { movedSections } from "../../formats/interleave.js";
import type { RowOrder } from "../../types/row-order.js";
import { allEqns, eqnOperands } from "../../graph/eqn.js";
import type { ConcreteGraph, Eqn, Scalar, ValueId } from "../../graph/graph.js";
import { productOf } from "../../graph/analysis/product.js";
import { scalarLoads, withoutCasts } from "../../graph/scalar.js";
import type { StorageMap } from "../../graph/storage.js";
import type { Kernel } from "../../kernel/kernel.js";
import { visitStatements } from "../../kernel/walk.js";
import type { Concrete } from "../../types/type.js";
import { matrixSize } from "../../target.js";
import type { StoredSide } from "../product/matrix-sides.js";
import { isSameOrder, orderedBytes, rowMajor, type MatrixOrder, type Orders } from "../toolkit/order.js";
import type { Lowering } from "../toolkit/lowering.js";
import { boundsOf } from "../toolkit/positions.js";
import { matrixTaken, type Wanted } from "./choose.js";
import { orderOf, takesTrips } from "./matrix-tile.js";

/**
 * The orders of what only products by matrices read that want it so, and agree. `lowering` makes one with orders given.
 * With `interleave` packed inputs that those products alone read lie with their rows side by side. Whoever lowers by
 * them must see that those readers did take their tiles: any other would read nonsense.
 */
export function matrixOrders(
  graph: ConcreteGraph,
  lowering: (orders: Orders) => Lowering,
  wanted: Wanted,
  interleave: boolean,
): Orders {
  const plain = lowering(rowMajor);
  const all = allEqns(graph.eqns);
  const readers = new Map<ValueId, Eqn<Concrete>[]>();
  for (const eqn of graph.eqns) {
    if (eqn.kind !== "map" || !writesRows(graph, eqn)) continue;
    const own = all.filter((other) => eqnOperands(other).has(eqn.out));
    if (own.length > 0 && own.every((other) => graph.eqns.includes(other) && readsAsLeft(plain, other, eqn.out)))
      readers.set(eqn.out, own);
  }
  if (readers.size === 0) return rowMajor;
  const free = lowering({ matrices: new Map([...readers.keys()].map((id) => [id, "any"] as const)), rows: new Map() });
  const matrices = new Map<ValueId, MatrixOrder>();
  const rows = new Map<ValueId, RowOrder>();
  for (const [id, own] of readers) {
    const asked = own.map((eqn) => {
      const taken = matrixTaken(free, eqn, wanted);
      if (taken === null || !takesTrips(taken.cut) || taken.cut.left !== "ordered") return null;
      return { ...taken, order: orderOf(taken.cut, taken.sides) };
    });
    const agreed = asked.filter((each) => each !== null);
    const [first] = agreed;
    if (first === undefined || agreed.length < asked.length) continue;
    if (!agreed.every(({ order }) => isSameOrder(order, first.order))) continue;
    matrices.set(id, first.order);
    // tiles are whole, so that none reaches past the last block
    for (const { cut, sides } of interleave ? agreed : [])
      for (const side of sides.right) {
        if (side.kind !== "stored" || cut.rows % besideRows !== 0 || side.outer % cut.rows !== 0) continue;
        const beside = besideOrder(side, first.order.trip);
        if (mayLieBeside(graph, side, beside)) rows.set(side.term.rows!.load.tensor, beside);
      }
  }
  return { matrices, rows };
}

/** Rows of packed weights that lie side by side: those of a matrix. */
const besideRows = matrixSize;

/** The order that a side is wanted in, its words as they are unpacked where that spares work. */
function besideOrder({ reader, most }: StoredSide, trip: number): RowOrder {
  const spread = reader?.spread ?? null;
  const spreads = spread !== null && most % spread.columns === 0;
  return { rows: besideRows, columns: trip, ...(spreads ? { spread: true } : {}) };
}

/** Whether a packed side is an input that nothing else reads, and may be put into an order. */
function mayLieBeside(graph: ConcreteGraph, { term, index, reader }: StoredSide, order: RowOrder): boolean {
  const { load, spec, shape } = term.rows!;
  const [row, column] = load.at;
  return (
    reader !== null &&
    graph.inputs.some(({ value, part, mutable }) => value === load.tensor && part === undefined && !mutable) &&
    graph.outputs.every(({ value }) => value !== load.tensor) &&
    load.at.length === 2 &&
    row?.kind === "index" &&
    row.index === index &&
    column?.kind === "index" &&
    column.index === term.column.index &&
    allEqns(graph.eqns).filter((eqn) => eqnOperands(eqn).has(load.tensor)).length === 1 &&
    movedSections(spec, shape, order) !== null
  );
}

/** The storage with room for tensors in their orders. */
export function orderedStorage(storage: StorageMap, { matrices }: Orders): StorageMap {
  return storage.map((each, id) => {
    const order = matrices.get(id);
    return order === undefined || order === "any" || each === null
      ? each
      : { ...each, bytes: Math.max(each.bytes, orderedBytes(order)) };
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
  const reads = (scalar: Scalar<Concrete>): number => scalarLoads(scalar).filter(({ tensor }) => tensor === id).length;
  const asLeft = product.terms.every(({ left }) => left.length === 1 && left.every((each) => reads(each) === 1));
  const inRight = product.terms.some(({ right }) => right.some((each) => reads(each) > 0));
  return asLeft && !inRight && reads(eqn.body) === product.terms.length;
}
