/** Activations of a product by matrices that are read as they lie, and not by way of workgroup memory. */
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { run, type DenseSide } from "../product/matrix-sides.js";
import { matricesAlong, type MatrixOrder } from "../toolkit/order.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Environment } from "../toolkit/scalar.js";
import type { TileContext } from "./matrix-context.js";
import { matricesOf } from "./matrix-tile.js";

/** The subgroup's left matrices of 16 columns, of which the first is so many vectors of eight (u32) after a row's begin. */
export type LeftInMemory = (vector: Expr) => readonly string[];

/**
 * Loads of left matrices from memory; `part`: where the subgroup's part of a slice begins, in vectors, null for 0. A row of
 * matrices that would begin past the last token's begins earlier, and is not stored.
 */
export function leftInMemory(
  { build, tile, firstM, ownM }: TileContext,
  environment: Environment,
  side: DenseSide,
  part: Expr | null,
): LeftInMemory {
  const pitch = side.pitch / run;
  const view = build.view(side.storage, "vec4<u32>", "read");
  const rows = upTo(matricesOf(tile)[0]).map((i) => {
    const row = k.min(k.add(k.add(firstM, ownM), i * matrixSize), side.outer - matrixSize);
    const start = k.add(k.div(side.start(environment), run), k.mul(row, pitch));
    return build.bind("left_row", part === null ? start : k.add(start, part));
  });
  return (vector) => rows.map((row) => leftMatrix(build, view, k.add(row, vector), pitch));
}

/** Loads a left matrix from a view, its rows `pitch` vectors apart; gives its name. */
function leftMatrix(build: KernelBuilder, array: string, index: Expr, pitch: number): string {
  const name = build.fresh("left");
  build.add({ kind: "load_matrix", name, role: "left", array, index, stride: k.u32(pitch), columns: false });
  return name;
}

/** Vectors of eight elements of a matrix, and of a row of it. */
const vectorsOfMatrix = (matrixSize * matrixSize) / run;
const vectorsOfRow = matrixSize / run;

/** The same from a tensor in the order of matrices, from column `place` (u32) of that order on: each is one block. */
export function leftInOrder(
  { build, tile, firstM, ownM }: TileContext,
  side: DenseSide,
  order: MatrixOrder,
): (place: Expr) => readonly string[] {
  const view = build.view(side.storage, "vec4<u32>", "read");
  const along = matricesAlong(order);
  const rows = upTo(matricesOf(tile)[0]).map((i) => {
    const row = k.add(k.div(k.add(firstM, ownM), matrixSize), i);
    return build.bind("left_row", (along * matrixSize) % tile.tokens === 0 ? row : k.min(row, along - 1));
  });
  return (place) => {
    const first = build.bind("matrices", k.mul(k.div(place, matrixSize), along));
    return rows.map((row) => leftMatrix(build, view, k.mul(k.add(first, row), vectorsOfMatrix), vectorsOfRow));
  };
}
