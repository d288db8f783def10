/** How a scan is cut into blocks of columns, and what the kernel of one knows. */
import type { Expr } from "../../kernel/kernel.js";
import { elementCount } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { ColumnwiseScan, Slot } from "./columnwise.js";

/** How scans are run; all that is not given is chosen for the device. */
export interface ScanOptions {
  /** Whether to run scans in blocks where that is possible; on by default. */
  readonly blocked?: boolean;
  /** Columns of a block, rounded up to whole groups. */
  readonly block?: number;
  /** Where a row's columns are kept while a block walks over them. */
  readonly memory?: Blocking["memory"];
  /** Invocations that share a row, and rows of a workgroup at most, where rows are kept in workgroup memory. */
  readonly lanes?: number;
  readonly rows?: number;
}

/** How a columnwise scan is cut into blocks. */
export interface Blocking {
  /** Columns of a block. */
  readonly block: number;
  /** Rows of a workgroup, and the invocations that share one. */
  readonly rows: number;
  readonly lanes: number;
  /**
   * Workgroup memory, with a barrier wherever lanes exchange something; or the tensors themselves, with one lane a row
   * and no barriers.
   */
  readonly memory: "workgroup" | "storage";
}

/** What the kernel of a block knows at its start. */
export interface BlockContext {
  readonly build: KernelBuilder;
  readonly shape: ColumnwiseScan;
  readonly blocking: Blocking;
  /**
   * The row that the invocation works on, in range; which of its lanes it is; which of the workgroup's rows it is. u32.
   */
  readonly row: Expr;
  readonly lane: Expr;
  readonly team: Expr;
  /** The first column of the block, u32. */
  readonly first: Expr;
  /** Whether the invocation has a row of its own; null where all have. */
  readonly inside: Expr | null;
}

/** Elements of a row that a slot keeps in workgroup memory; of a number that is a state, to hand it to all lanes. */
export function keptElements(slot: Slot, block: number): number {
  return slot.keep === "number"
    ? slot.state === null
      ? 0
      : 1
    : slot.keep === "columns"
      ? block
      : elementCount(slot.shape);
}

/**
 * Elements from row to row of a slot in workgroup memory: where several rows share a subgroup, so many more that their
 * lanes meet in no bank.
 */
export function rowPitch(slot: Slot, { block, lanes, rows }: Pick<Blocking, "block" | "lanes" | "rows">): number {
  const elements = keptElements(slot, block);
  return rows > 1 && lanes < banks && elements >= banks
    ? elements + ((((lanes - elements) % banks) + banks) % banks)
    : elements;
}

/** Banks of workgroup memory, of four bytes each. */
const banks = 32;

/** Bytes of exchange arrays that a row may need. */
export const exchangeBytes = (lanes: number): number => (lanes === 1 ? 0 : 4 * 4 * lanes);
