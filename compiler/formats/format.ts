import type { FormatSpec } from "../types/type.js";

/**
 * What a storage format means: `meaning.ts` of a folder each, listed in `registry.ts`. A tensor of any format is ONE
 * run of u32 words ("the words"), made of sections that each start at a multiple of 4 words, so that any section can be
 * read as vec4<u32>. Rank above 2 is stored as [rows, columns] with the last axis as columns.
 *
 * `encode` and `decode` say what the words stand for, on the host. How kernels read and write them stands beside it, in
 * the folder's `code.ts`. The laws that hold the two together are in `test/formats/laws.ts`.
 */
export interface Format {
  readonly name: string;

  /** How `pack w as` goes on with it, for a weight `w`. */
  readonly example: string;

  /** The arguments it takes, positional ones first; how they are written and read is generic over this. */
  readonly parameters: readonly FormatParameter[];

  /** Whether tensors are packed by `encode` alone: `packed` of its code gives null. */
  readonly packsOnHost: boolean;

  /** Of a format of blocks: columns that share a scale, and how many such groups are a block. */
  readonly block?: { readonly group: number; readonly many: number };

  /** Where tensors come from files alone: `encode` is an error. */
  readonly readOnly?: true;

  /** Where it is not by `pack ... as` that tensors come to be so: how. */
  readonly made?: string;

  /** Whether `encode` rounds each element by itself, given the grid; false where it finds scales in its neighbours. */
  readonly elementwise: boolean;

  /**
   * Fills defaults in and checks the arguments themselves ("group must be a positive multiple of 8"). A string is a
   * full sentence saying what is wrong.
   */
  normalize(spec: FormatSpec): FormatSpec | string;

  /**
   * Fills in what only the values decide: the count of entries of a bitmask; how the scales of a grid are stored, where
   * f16 alone cannot (`fitScales`). Every other format gives `spec` back.
   */
  complete(spec: FormatSpec, shape: Shape, dense: Float32Array, grid: GridValues | null): FormatSpec;

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

  /**
   * The units of neighbouring columns that products read (`stored` of its code). A unit never crosses a row or a
   * quantisation group. Null where the shape does not allow units (columns not a multiple of the unit).
   */
  unit(spec: FormatSpec, shape: Shape): Unit | null;

  /**
   * How the words of a device's copy may lie so that products by matrices unpack them with less work; null, or left out,
   * where no other order spares any.
   */
  spread?(spec: FormatSpec): Spread | null;

  /**
   * How single values are stored, where the format is no more than that and a grid: then others may hold its values.
   */
  readonly element: ((spec: FormatSpec) => Element) | null;

  /** The type of number whose row-major tensor the words are; null where they are anything else. */
  readonly dense: DenseType | null;
}

/** Words in the order in which they are unpacked. */
export interface Spread {
  /** Neighbouring columns of a row whose words change among each other. */
  readonly columns: number;
  /** What words become, by section; those of other sections stay as they are. */
  readonly sections: { readonly [section: string]: SpreadWords };
}

/**
 * "entries": of two words of codes of four bits, those at even places, and those at odd ones; a nibble of the second word
 * follows that at its place in the first. "positions": the nibbles 0, 4, 1, 5, 2, 6, 3, 7 of a word, the lowest first.
 */
export type SpreadWords = "entries" | "positions";

/** The types of numbers that tensors are stored in as they are. */
export type DenseType = "f32" | "f16" | "bf16" | "i32" | "u32";

/** Stored values of `bits` bits. `scale` and `zero` are those of the value's group; 1 and 0 where there is no grid. */
export interface Element {
  /** 1 to 32. */
  readonly bits: number;
  /** Whether bits are a whole number, unsigned or, where the grid is symmetric, in two's complement. */
  readonly integer: boolean;
  /** Whether zero is among the values, whatever the zero point. */
  readonly holdsZero: boolean;
  /** The bits of the nearest representable value, unsigned. */
  encode(value: number, scale: number, zero: number): number;
  /** The value of bits before the zero point is taken off and the scale applied. */
  decode(bits: number): number;
  /** Whether bits stand for a value other than zero (-0.0 is zero). */
  isNonzero(bits: number, zero: number): boolean;
}

/**
 * An argument of a format, as written: a number by position (or one of `words` in its place), a flag that is one of two
 * bare words, or a word by its label (`scale: f32`), which is left out where there is no fallback. A `label` number is
 * given by its label, too, and may be left out. A `table` is the name of a constant that is a list of numbers.
 */
export type FormatParameter =
  | {
      readonly kind: "number";
      readonly name: string;
      readonly words: readonly string[];
      readonly optional?: true;
    }
  | { readonly kind: "table"; readonly name: string }
  | {
      readonly kind: "flag";
      readonly name: string;
      readonly yes: string;
      readonly no: string;
      readonly fallback: boolean;
    }
  | {
      readonly kind: "word";
      readonly name: string;
      readonly words: readonly string[];
      readonly fallback: string | null;
    }
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
   * Codes: low .. high inclusive. Symmetric: value = code * scale. Asymmetric: value = (code - zero) * scale, low = 0. Of
   * what is no integer the least and the largest number that a scale of 1 allows.
   */
  readonly low: number;
  readonly high: number;
  readonly scale: ScaleType;
  /** Scales of f16 and fp8_e4m3 are stored times 2^shift; 0 for others. */
  readonly shift: number;
  /** How zero points are stored: as codes, or as f16, which need not be whole. */
  readonly zero: "code" | "f16";
}

/** The types that scales are stored in; those of int8 are codes, with a step for each row (`scales.ts`). */
export type ScaleType = "f16" | "bf16" | "f32" | "fp8_e4m3" | "int8";

export interface GridValues {
  readonly scale: Float32Array;
  /** Where asymmetric. */
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
