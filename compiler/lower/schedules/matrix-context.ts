/** What the parts of a kernel by matrices share while it is built. */
import type { Expr } from "../../kernel/kernel.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { MatrixTile } from "./matrix-tile.js";

/** Where the kernel is: its tile, the first row and column of the subgroup's matrices in it, and its part of k. */
export interface TileContext {
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  /** Workgroup memory of vec4<u32>: the slices, and after them the results. */
  readonly array: string;
  readonly tile: MatrixTile;
  readonly size: number;
  readonly lanes: number;
  readonly firstM: Expr;
  readonly firstN: Expr;
  readonly ownM: Expr;
  readonly ownN: Expr;
  /** Null where each subgroup takes all of k. */
  readonly partOfK: Expr | null;
  /** Which of the tile's workgroups it is; null where there is one. */
  readonly partOfTile: Expr | null;
}

/** Names of result matrices by term, along m, along n. */
export type Results = readonly (readonly (readonly string[])[])[];
