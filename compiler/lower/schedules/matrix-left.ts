/** Activations of a product by matrices that are read as they lie, and not by way of workgroup memory. */
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { run, type DenseSide } from "../product/matrix-sides.js";
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
  return (vector) =>
    rows.map((row) => {
      const name = build.fresh("left");
      build.add({
        kind: "load_matrix",
        name,
        role: "left",
        array: view,
        index: k.add(row, vector),
        stride: k.u32(pitch),
        columns: false,
      });
      return name;
    });
}
