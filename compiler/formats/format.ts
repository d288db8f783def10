import type { Expr, Statement } from "../kernel/kernel.js";
import type { FormatSpec } from "../types/type.js";

/**
 * A storage format: one file each in this folder, listed in `registry.ts`. A tensor of any format is ONE run of u32
 * words ("the words"), made of sections that each start at a multiple of 4 words, so that any section can be read as
 * vec4<u32>. Rank above 2 is stored as [rows, columns] with the last axis as columns.
 *
 * `encode` and `decode` are the plain meaning, on the host. `locate`, `stored` and `packed` give the same as Kernel
 * expressions, and are all that code generation calls. The laws that hold them together are in
 * `test/formats/laws.ts`.
 */
export interface Format {
  readonly name: string;

  /** The arguments it takes, positional ones first; how they are written and read is generic over this. */
  readonly parameters: readonly FormatParameter[];

  /** Whether tensors are packed by `encode` alone: `packed` gives null. */
  readonly packsOnHost: boolean;

  /** Whether `encode` rounds each element by itself, given the grid; false where it finds scales in its neighbours. */
  readonly elementwise: boolean;

  /**
   * Fills defaults in and checks the arguments themselves ("group must be a positive multiple of 8"). A string is a
   * full sentence saying what is wrong.
   */
  normalize(spec: FormatSpec): FormatSpec | string;

  /**
   * Fills in what only the values decide: the count of entries of a bitmask; how the scales of a grid are held, where
   * f16 alone cannot (`fitScales`). Every other format gives `spec` back.
   */
  complete(spec: FormatSpec, dense: Float32Array, grid: GridValues | null): FormatSpec;

  /** Why a tensor of this shape cannot be stored so ("K = 100 is not a multiple of the group of 128"), or null. */
  check(spec: FormatSpec, shape: Shape): string | null;

  /** The pattern a tensor must provably have to be packed so; null: any. `axis` is always the last. */
  pattern(
    spec: FormatSpec,
  ): { readonly kind: "nm"; readonly n: number; readonly m: number } | { readonly kind: "masked" } | null;

  /**
   * Whether `encode` needs a scale (f32 [rows, groups], which the format's scale type must be able to hold) and a zero
   * point.
   */
  grid(spec: FormatSpec): Grid | null;

  sections(spec: FormatSpec, shape: Shape): readonly Section[];

  /**
   * Dense values to words. Values that the pattern forbids must be zero (else an Error names the place); off-grid
   * values are rounded to nearest, halves to even, saturating.
   */
  encode(spec: FormatSpec, shape: Shape, dense: Float32Array, grid: GridValues | null): Uint32Array<ArrayBuffer>;

  /** Words to dense values. */
  decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer>;

  /** The element at [row, column] as an f32 expression. Both are u32 expressions in range. */
  locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr;

  /**
   * A unit of neighbouring columns, for products: `stored` reads unit `unit` of row `row` (u32 expressions) with the
   * widest loads the layout allows. A unit never crosses a row or a quantisation group. null where the shape does not
   * allow units (columns not a multiple of the unit); then products go through `locate`.
   */
  unit(spec: FormatSpec, shape: Shape): Unit | null;
  stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, unit: Expr): Stored;

  /**
   * Packing on the device: word `word` (u32 expression, within the section) of a section, from the dense elements
   * `value(row, column)`, f32 expressions, and the grid. Null where a format packs on the host only.
   */
  packed(spec: FormatSpec, shape: Shape, build: Build, section: string, word: Expr, source: PackSource): Expr | null;
}

/**
 * An argument of a format, as written: a number by position (or one of `words` in its place), a flag that is one of two
 * bare words, or a word by its label (`scale: f32`). A `label` number is given by its label, too, and may be left out.
 */
export type FormatParameter =
  | { readonly kind: "number"; readonly name: string; readonly words: readonly string[] }
  | {
      readonly kind: "flag";
      readonly name: string;
      readonly yes: string;
      readonly no: string;
      readonly fallback: boolean;
    }
  | { readonly kind: "word"; readonly name: string; readonly words: readonly string[]; readonly fallback: string }
  | { readonly kind: "label"; readonly name: string };

export interface Shape {
  /** Product of all axes but the last. */
  readonly rows: number;
  readonly columns: number;
}

/** A part of the words: `words` is its length without padding, `offset` its start, a multiple of 4. */
export interface Section {
  readonly name: string;
  readonly offset: number;
  readonly words: number;
}

export interface Grid {
  /** Columns that share a scale; the scale tensor has shape [rows, columns / group]. */
  readonly group: number | "channel";
  readonly symmetric: boolean;
  readonly bits: number;
  /**
   * Codes: low .. high inclusive. Symmetric: value = code * scale. Asymmetric: value = (code - zero) * scale, low = 0.
   */
  readonly low: number;
  readonly high: number;
  readonly scale: "f16" | "f32";
  /** Scales of f16 are stored times 2^shift; 0 for those of f32. */
  readonly shift: number;
}

export interface GridValues {
  readonly scale: Float32Array;
  /** Integer values, where asymmetric. */
  readonly zero: Float32Array | null;
}

export interface Unit {
  /** Dense columns a unit spans; a power of two. */
  readonly columns: number;
  /** Entries that a unit stores: `columns` for a dense format, n/m of it for n:m. */
  readonly entries: number;
  /** Columns that share one scale; a multiple of `columns`; the whole row if there is none. */
  readonly scaleColumns: number;
}

/** What a unit holds: the sum over entries of (value - zero) * scale * activation[column]. */
export interface Stored {
  /**
   * `column` counts from the unit's first column: a number, or a u32 expression where the position is data. `value` is
   * f32, not yet scaled.
   */
  readonly entries: readonly { readonly column: number | Expr; readonly value: Expr }[];
  /** f32, or null for 1. */
  readonly scale: Expr | null;
  /** f32, or null for 0. Subtracted from each value before scaling. */
  readonly zero: Expr | null;
}

/** Where expressions can be given a name, so that they are computed once. */
export interface Build {
  /**
   * Adds `let name = value` to the statements being built (a fresh name is made from the hint) and returns the local.
   */
  bind(hint: string, value: Expr): Expr;
  /** Adds a statement. */
  add(statement: Statement): void;
}

/** Reads words of the tensor: index is a u32 expression counted from the section's start. */
export interface WordReader extends Build {
  word(section: Section, index: Expr): Expr;
  /** Words 4*index .. 4*index+3 as vec4<u32>. */
  words4(section: Section, index: Expr): Expr;
}

export interface PackSource {
  /** f32 element. */
  value(row: Expr, column: Expr): Expr;
  /** f32 scale and zero of a group. */
  scale(row: Expr, group: Expr): Expr;
  zero(row: Expr, group: Expr): Expr;
}
