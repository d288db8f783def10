/** What products by teams of lanes are cut by and made of: their units, and their activations in workgroup memory. */
import type { WordReader } from "../../formats/code/code.js";
import type { ProductTerm } from "../../graph/analysis/product.js";
import type { Expr } from "../../kernel/kernel.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Environment } from "../toolkit/scalar.js";

/** How such a product is cut. */
export interface TeamCut {
  /** Invocations of a team: a power of two, at most a subgroup. */
  readonly lanes: number;
  /** Teams of a workgroup. */
  readonly teams: number;
  /** Rows a team has under way together. */
  readonly rows: number;
  /** Workgroups at most; they take the rows in turns. */
  readonly workgroups: number;
  /** Slots (a unit for each lane of a team) whose activations stand in workgroup memory at once. */
  readonly slots: number;
  /**
   * Memories, each for a chunk of so many slots. With 2 of them the activations of the next chunk are arranged while a
   * chunk is multiplied; with one for each chunk all are arranged at once.
   */
  readonly memories: number;
}

/** When the words of weights are loaded. */
export interface Loading {
  /** Slots whose weights are loaded before the activations are arranged. */
  readonly early: number;
  /** Slots whose weights are loaded before the first of them is multiplied. */
  readonly ahead: number;
  /**
   * Slots, of one term, whose words are on their way in registers while others are multiplied, from row to row: the most
   * up to this number that divide those of a chunk. 0: what `early` and `ahead` say.
   */
  readonly carried: number;
}

/** What a kernel of a cut is made of. */
export interface TeamParts {
  readonly build: KernelBuilder;
  readonly lane: Expr;
  /** Invocations of the workgroup. */
  readonly size: number;
  /** Environments with the indices of each token. */
  readonly tokens: readonly Environment[];
}

/** The units of a product, and its activations. */
export interface TeamUnits<U> {
  /** Reads unit `unit` of a row of a term. `inside`: whether it is one of the row's, and not the last again; null: it is. */
  open(term: ProductTerm, words: WordReader, row: Expr, unit: Expr, inside: Expr | null): U;
  readonly activations: TeamActivations<U>;
}

/** The activations of the units that the lanes have in a slot. */
export interface SlotActivations<U> {
  /** Adds a unit of a row to the sum of each token. */
  add(unit: U, sums: readonly Expr[]): void;
}

/** The activations of a workgroup. */
export interface TeamActivations<U> {
  /** Computes what all of them share. Once, before the rest; what was loaded before is under way meanwhile. */
  begin(): void;
  /**
   * Loads what those of `slots` slots from `firstSlot` (u32) on are made of, where registers have room; what is returned
   * puts them into workgroup memory, for all to read.
   */
  stage(firstSlot: Expr): () => void;
  /** Whether a lane may keep all of its own in registers. */
  readonly holds: boolean;
  /** Those of slot `slot`, counted from the first that is staged, in memory `memory` (u32). */
  slot(slot: number, memory: Expr | null): SlotActivations<U>;
  /** With several memories: arranges the chunks in turns. Barriers are the caller's. */
  readonly turns: {
    /** Those of the first chunk in the first memory. */
    first(): void;
    /** Those of so many chunks, each in its memory. */
    all(chunks: number): void;
    /** Loads what those of the chunk after `chunk` (u32) are made of; what is returned puts them into `memory`. */
    next(chunk: Expr, memory: Expr): () => void;
  };
}
