import type { Expr, Statement } from "../../kernel/kernel.js";
import type { FormatSpec } from "../../types/type.js";
import type { Element, Section, Shape } from "../format.js";

/**
 * What kernels do with tensors of a format: the same as its meaning (`formats/format.ts`), as Kernel expressions, and
 * all that code generation calls. `test/formats/laws.ts` holds the two together.
 */
export interface FormatCode {
  /** The element at [row, column] as an f32 expression. Both are u32 expressions in range. */
  locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr;

  /**
   * Unit `unit` of row `row` (u32 expressions), as the format's `unit` says, read with the widest loads that the layout
   * allows.
   */
  stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, unit: Expr): Stored;

  /**
   * Packing on the device: word `word` (u32 expression, within the section) of a section, from the dense elements
   * `value(row, column)`, f32 expressions, and the grid. Null where a format packs on the host only.
   */
  packed(spec: FormatSpec, shape: Shape, build: Build, section: string, word: Expr, source: PackSource): Expr | null;

  /** How kernels read and write single values, where the meaning has an `element`. */
  readonly element: ((spec: FormatSpec) => ElementCode) | null;

  /** How products of integers read units; null where values are no integers on a grid. */
  readonly codes: CodeReader | null;

  /** How products by matrices read units of a spec; null where they go by `stored`. */
  halves(spec: FormatSpec): HalfReader | null;
}

/** What `Element` says, as Kernel expressions. */
export interface ElementCode extends Pick<Element, "bits" | "integer"> {
  /** The value (f32, as `decode`) of the item that stands lowest in a word; higher bits may hold anything. */
  read(build: Pick<Build, "bind">, word: Expr): Expr;
  /** The values of the first `count` items of a word; only where `bits` divide 32. */
  readAll(build: Build, word: Expr, count: number): readonly Expr[];
  /** The bits of an f32 expression, as `encode`: a u32 without higher bits. */
  write(build: Build, value: Expr, scale: Expr | null, zero: Expr | null): Expr;
  /** Whether bits stand for a value other than zero, as `isNonzero`. */
  isNonzero(bits: Expr, zero: Expr | null): Expr;
}

/** What a unit holds: the sum over entries of (value - zero) * scale * activation[column]. */
export interface Stored {
  /**
   * `column` counts from the unit's first column: a number, or a u32 expression where the position is data, one of the
   * unit's columns whatever the words hold. `value` is f32, not yet scaled.
   */
  readonly entries: readonly { readonly column: number | Expr; readonly value: Expr }[];
  /** f32, or null for 1. */
  readonly scale: Expr | null;
  /** f32, or null for 0. Subtracted from each value before scaling. */
  readonly zero: Expr | null;
}

/** How a format gives its units as integer codes. */
export interface CodeReader {
  /** How the codes of a unit stand in words, the same for every unit; null where they cannot be given so. */
  layout(spec: FormatSpec, shape: Shape): CodeLayout | null;
  /** Those of unit `unit` of row `row` (u32 expressions): the sum over entries of (code - zero) * scale * factor * activation. */
  read(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, unit: Expr): Codes;
}

export interface CodeLayout {
  /** For each word the entries of the unit whose codes are its bytes, the lowest first. */
  readonly words: readonly (readonly [number, number, number, number])[];
  /** Whether entry e is column e; else entries 2g and 2g + 1 are columns of group g of four neighbours. */
  readonly dense: boolean;
  /** Whether there is a zero point. */
  readonly zero: boolean;
  /** A power of two that the scale is to be multiplied by. */
  readonly factor: number;
}

export interface Codes {
  /** Words of four signed bytes. */
  readonly words: readonly Expr[];
  /** Where entries are not columns: words in which group g of the unit has nibble g, two positions of two bits. */
  readonly positions: readonly Expr[] | null;
  /** f32. */
  readonly scale: Expr;
  /** f32, of the codes as the words have them; null for 0. */
  readonly zero: Expr | null;
}

/** How kernels read columns as f16, in an order that costs little. */
export interface HalfReader {
  /** Word i of every 2 * distance columns holds columns i and i + distance. */
  readonly distance: number;
  /** The fewest columns that can be read at once: a multiple of 2 * distance that divides the unit. */
  readonly columns: number;
  /**
   * Columns piece * count .. of a row (u32 expressions), in words of two f16 each, rounded once. `count` is a multiple of
   * `columns` and divides the unit.
   */
  read(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, piece: Expr, count: number): readonly Expr[];
  /** The same of a copy whose words lie as they are unpacked; null where that would spare nothing. */
  readonly spread: SpreadReader | null;
}

/** How kernels read a copy whose words have been put, once, into the order that the format's `spread` says. */
export type SpreadReader = Omit<HalfReader, "spread">;

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
  /** Item `index` of a section of f16, as f32, by a load of its own; null where items are taken out of words. */
  readonly half: ((section: Section, index: Expr) => Expr) | null;
  /** Words 2*index and 2*index+1 as vec2<u32>. */
  words2(section: Section, index: Expr): Expr;
}

export interface PackSource {
  /** f32 element. */
  value(row: Expr, column: Expr): Expr;
  /** f32 scale and zero of a group. */
  scale(row: Expr, group: Expr): Expr;
  zero(row: Expr, group: Expr): Expr;
  /** The largest magnitude among the scales of a row of so many groups, f32. */
  mostScale(row: Expr, groups: number): Expr;
}
