/**
 * The order of a tensor of f16 [tokens, columns] as the matrices of a product read it: matrices of 16 tokens and 16 columns
 * one after another, so that a subgroup loads each as one block. Columns come as the slices of a trip have them.
 */
import type { RowOrder } from "../../types/row-order.js";
import type { ValueId } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";

/** Neighbouring columns that an invocation takes of a trip: a slice has the same few columns of each. */
export const span = 64;

/** How columns come: those of a trip in slices, a few of each span, and of those i and i + `distance` side by side. */
export interface ColumnOrder {
  readonly trip: number;
  readonly slice: number;
  readonly distance: number;
}

/** The order of a tensor. Tokens are filled up to whole matrices with what is never used. */
export interface MatrixOrder extends ColumnOrder {
  readonly tokens: number;
  /** A multiple of the trip. */
  readonly columns: number;
}

/** The tensors of a graph that are not in row-major order. */
export interface Orders {
  /** Activations; "any": what may yet be put into an order. */
  readonly matrices: ReadonlyMap<ValueId, MatrixOrder | "any">;
  /** Packed inputs, which their caller has put into these. */
  readonly rows: ReadonlyMap<ValueId, RowOrder>;
}

/** No such tensors. */
export const rowMajor: Orders = { matrices: new Map(), rows: new Map() };

/** Columns of a span that a slice has. */
export const ofSpan = ({ trip, slice }: Pick<ColumnOrder, "trip" | "slice">): number => (slice * span) / trip;

/** Matrices along the tokens. */
export const matricesAlong = ({ tokens }: MatrixOrder): number => Math.ceil(tokens / matrixSize);

/** Bytes of a tensor in that order. */
export function orderedBytes(order: MatrixOrder): number {
  return 2 * matricesAlong(order) * matrixSize * order.columns;
}

/** Whether two orders are one. */
export function isSameOrder(a: MatrixOrder, b: MatrixOrder): boolean {
  return (
    a.trip === b.trip &&
    a.slice === b.slice &&
    a.distance === b.distance &&
    a.tokens === b.tokens &&
    a.columns === b.columns
  );
}

/** The place of the element of a token and a column (u32), counted in elements. */
export function placeIn(order: MatrixOrder, token: Expr, column: Expr): Expr {
  const { trip, slice, distance } = order;
  const columns = ofSpan(order);
  const [inTrip, inSpan] = [k.rem(column, trip), k.rem(column, span)];
  // columns i and i + distance of every 2 * distance are neighbours
  const block = k.sub(inSpan, k.rem(inSpan, 2 * distance));
  const neighbour = k.add(k.mul(k.rem(inSpan, distance), 2), k.div(k.rem(inSpan, 2 * distance), distance));
  const own = distance === 1 ? inSpan : k.add(block, neighbour);
  const place = k.add(
    k.add(k.sub(column, inTrip), k.mul(k.div(own, columns), slice)),
    k.add(k.mul(k.div(inTrip, span), columns), k.rem(own, columns)),
  );
  const matrix = k.add(k.mul(k.div(place, matrixSize), matricesAlong(order)), k.div(token, matrixSize));
  return k.add(
    k.mul(matrix, matrixSize * matrixSize),
    k.add(k.mul(k.rem(token, matrixSize), matrixSize), k.rem(place, matrixSize)),
  );
}
