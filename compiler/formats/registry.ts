/**
 * Every format by name, and what follows from a spec for any of them. A new format is a folder with a `meaning.ts` and
 * a `code.ts`, a line here and one in `code/registry.ts`.
 */
import { InternalError } from "../diagnostic.js";
import { elementCount } from "../types/shape.js";
import type { FormatRef, FormatSpec } from "../types/type.js";
import { printArguments } from "./arguments.js";
import { bitmaskFormat } from "./bitmask/meaning.js";
import { bf16Format, f16Format, f32Format, i32Format, u32Format } from "./dense/meaning.js";
import type { DenseType, Format, GridValues, Shape } from "./format.js";
import { codebookFormat } from "./codebook/meaning.js";
import { fp8E4m3Format, fp8E5m2Format } from "./fp8/meaning.js";
import { int2Format, int3Format, int4Format, int5Format, int6Format, int8Format } from "./integer/meaning.js";
import { elementsIn, totalWords } from "./layout.js";
import { lowrankFormat } from "./lowrank/meaning.js";
import { nmFormat } from "./nm/meaning.js";
import { q4_0Format } from "./q4_0/meaning.js";
import { q4_1Format } from "./q4_1/meaning.js";
import { q6_kFormat } from "./q6_k/meaning.js";
import { q5_0Format } from "./q5_0/meaning.js";
import { q5_1Format } from "./q5_1/meaning.js";
import { q2_kFormat } from "./q2_k/meaning.js";
import { q3_kFormat } from "./q3_k/meaning.js";
import { q4_kFormat } from "./q4_k/meaning.js";
import { q5_kFormat } from "./q5_k/meaning.js";
import { iq4_nlFormat } from "./iq4_nl/meaning.js";
import { q8_0Format } from "./q8_0/meaning.js";
import { regroupedFormat } from "./regrouped/meaning.js";
import { decodeGrid, roundScales, withScales } from "./scales.js";
import { sliceFormat } from "./slice/meaning.js";

/** Those whose integers may have columns in any order. */
const integers = {
  int8: int8Format,
  int6: int6Format,
  int5: int5Format,
  int4: int4Format,
  int3: int3Format,
  int2: int2Format,
} as const;

/** Those that store single values, which others may hold. */
const elements = {
  f32: f32Format,
  f16: f16Format,
  bf16: bf16Format,
  i32: i32Format,
  u32: u32Format,
  ...integers,
  fp8_e4m3: fp8E4m3Format,
  fp8_e5m2: fp8E5m2Format,
  codebook: codebookFormat,
} as const;

/** Those that may have a correction of low rank beside them. */
const correctable = {
  ...elements,
  nm: nmFormat(Object.values(elements)),
  bitmask: bitmaskFormat(Object.values(elements)),
  regrouped: regroupedFormat(Object.values(integers)),
  q8_0: q8_0Format,
  q4_0: q4_0Format,
  q4_1: q4_1Format,
  q6_k: q6_kFormat,
  q5_0: q5_0Format,
  q5_1: q5_1Format,
  q2_k: q2_kFormat,
  q3_k: q3_kFormat,
  q4_k: q4_kFormat,
  q5_k: q5_kFormat,
  iq4_nl: iq4_nlFormat,
} as const;

/** All formats by name, in the order of the specification. */
const named = { ...correctable, lowrank: lowrankFormat(Object.values(correctable)) } as const satisfies {
  readonly [name: string]: Format;
};

/** The same, and what tensors have within a compilation only. */
export const byName = { ...named, slice: sliceFormat } as const satisfies { readonly [name: string]: Format };

/** `formats/code/registry.ts` has the code of each. */
export type FormatName = keyof typeof byName;

/** All formats, in the order of the specification. */
export const formats: readonly Format[] = Object.values(named);

/** The format of that name, or null. */
export function formatOf(name: string): Format | null {
  return Object.values<Format>(byName).find((format) => format.name === name) ?? null;
}

/** The format of a spec that has been normalized. */
export function formatOfSpec(spec: FormatSpec): Format {
  const format = formatOf(spec.name);
  if (format === null) throw new InternalError(`there is no format ${spec.name}`);
  return format;
}

/** The spec with its defaults filled in, or a full sentence saying what is wrong with it. */
export function normalizeFormat(spec: FormatSpec): FormatSpec | string {
  const format = formats.find(({ name }) => name === spec.name);
  if (format === undefined)
    return `There is no format \`${spec.name}\`; the formats are ${formats.map((known) => known.name).join(", ")}.`;
  return format.normalize(spec);
}

/**
 * The spec with what only the values decide: the count of entries of a bitmask, how scales are stored where f16 alone
 * cannot hold them. The identity else. `grid` is the one that they are to be packed on, with scales as `roundedGrid`
 * has them.
 */
export function completeFormat(
  spec: FormatSpec,
  shape: Shape,
  dense: Float32Array,
  grid: GridValues | null = null,
): FormatSpec {
  return formatOfSpec(spec).complete(spec, shape, dense, grid);
}

/** A grid with its scales as packing in this format rounds them, before it is said how they are stored. */
export function roundedGrid(spec: FormatSpec, shape: Shape, grid: GridValues): GridValues {
  const own = formatOfSpec(spec).grid(spec);
  return own === null ? grid : { ...grid, scale: roundScales(own, shape, grid.scale) };
}

/** Whether a format is the row-major numbers of a float type, as files have them. */
export function isDense(spec: FormatSpec): boolean {
  const dense = formatOf(spec.name)?.dense ?? null;
  return dense === "f32" || dense === "f16" || dense === "bf16";
}

/** The type of the numbers that a format stores as they are, in whatever pattern; null where it rounds them further. */
export function plainType(spec: FormatSpec): DenseType | null {
  return spec.of !== null ? plainType(spec.of) : (formatOf(spec.name)?.dense ?? null);
}

/** Rows and columns of a tensor: the last axis is the columns. A scalar is one row of one column. */
export function shapeOf(dims: readonly number[]): Shape {
  return { rows: elementCount(dims.slice(0, -1)), columns: dims.at(-1) ?? 1 };
}

/** The u32 words of a tensor, padding included: a multiple of 4. */
export function formatWords(spec: FormatSpec, shape: Shape): number {
  return totalWords(formatOfSpec(spec).sections(spec, shape));
}

/** The bytes of a tensor in memory, padding included: a multiple of 16. */
export function formatBytes(spec: FormatSpec, shape: Shape): number {
  return 4 * formatWords(spec, shape);
}

/** Bits for each dense element, scales, indices and all, the padding between sections not counted. */
export function bitsPerWeight(spec: FormatSpec, shape: Shape): number {
  const words = formatOfSpec(spec)
    .sections(spec, shape)
    .reduce((sum, section) => sum + section.words, 0);
  return (32 * words) / elementsIn(shape);
}

/**
 * The words of a tensor in a format that differs in how scales are stored, from those in another: the codes stay.
 * `scale` are the scales that it was packed with, as `roundedGrid` has them.
 */
export function repacked(
  from: FormatSpec,
  to: FormatSpec,
  shape: Shape,
  words: Uint32Array,
  scale: Float32Array,
): Uint32Array<ArrayBuffer> {
  const format = formatOfSpec(to);
  const grid = format.grid(to);
  if (grid === null) throw new InternalError(`${to.name} has no scales`);
  return withScales(
    words,
    formatOfSpec(from).sections(from, shape),
    { grid, shape, sections: format.sections(to, shape) },
    scale,
  );
}

/** Whether values of a format may be rounded to f16 where the other side is f16: not what is written in f32. */
export function roundsToHalf(spec: FormatSpec): boolean {
  return spec.of === null ? spec.name !== "f32" : roundsToHalf(spec.of);
}

/**
 * Scales and zero points that words hold, or null for a format without a grid: what `encode` needs to give the same
 * words again.
 */
export function gridValues(spec: FormatSpec, shape: Shape, words: Uint32Array): GridValues | null {
  const format = formatOfSpec(spec);
  const grid = format.grid(spec);
  return grid === null ? null : decodeGrid(grid, shape, format.sections(spec, shape), words);
}

/**
 * The shape of the scale tensor (and of the zero point) that packing in this format takes, or null for a format without
 * a grid.
 */
export function scaleShape(spec: FormatSpec, shape: Shape): Shape | null {
  const grid = formatOfSpec(spec).grid(spec);
  if (grid === null) return null;
  return { rows: shape.rows, columns: grid.group === "channel" ? 1 : shape.columns / grid.group };
}

/**
 * As it is written in source: `nm(2, 4) of int4(128, symmetric)`. Arguments at their default are left out where they
 * have a label; where `length` is "short", flags are, too: `int4(128)`.
 */
export function printFormat(format: FormatRef | FormatSpec, length: "full" | "short" = "full"): string {
  if ("parameter" in format) return format.parameter;
  const own = format.name + printArguments(format, formatOf(format.name)?.parameters ?? [], length);
  return format.of === null ? own : `${own} of ${printFormat(format.of, length)}`;
}
