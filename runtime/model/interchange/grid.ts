/** Layers of codes with scales, however their containers have them: integers on a grid, and what else is times a scale. */
import { fitScales, scaleRange, wideScales } from "../../../compiler/formats/fit.js";
import { newWords, sectionOf } from "../../../compiler/formats/layout.js";
import { formatOfSpec, normalizeFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { encodeGrid, roundScale } from "../../../compiler/formats/scales.js";
import type { Format } from "../../../compiler/formats/format.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import type { StoredPattern } from "../packed.js";
import { layerError, type Layer, type Module } from "./layer.js";
import { packItems, packQuads } from "./pack.js";

/** The formats of integers, by the bits of a code that they are for. */
const integerNames = ["", "int2", "int2", "int3", "int4", "int5", "int6", "int8", "int8"] as const;

/** What a container holds of such a layer. */
export interface GridParts {
  /** Bits of a code in the files, at most 8. */
  readonly bits: number;
  /** Columns that share a scale; all of a row where `channel`. */
  readonly group: number | "channel";
  /** The group of each column, where that is not column / group. */
  readonly order: Uint32Array | null;
  /** Whether at most two of four neighbours have another code than that of zero. */
  readonly isSparse: boolean;
  /** [outputs, groups]. */
  scales(): Promise<Float32Array>;
  /** Unsigned, [outputs, groups]; null where all are the middle, 2^(bits - 1). */
  readonly zeros: (() => Promise<Uint8Array>) | null;
  /** Unsigned, [outputs, inputs]; a buffer that may be changed. */
  codes(): Promise<Uint8Array>;
}

/**
 * A layer in the integers of the fewest bits that hold its codes, with the same values: scales are stored so that they
 * are exact. A zero point that is the middle everywhere is none.
 * @throws ModelError M133 (groups that no format of ours has), M136 (scales that are not finite)
 */
export async function gridLayer(module: Module, parts: GridParts): Promise<Layer> {
  const { bits, group, order, isSparse } = parts;
  const middle = 2 ** (bits - 1);
  const scales = await parts.scales();
  const zeros = parts.zeros === null ? null : await parts.zeros();
  const symmetric = zeros === null || zeros.every((zero) => zero === middle);
  const exact = exactly(module, { name: integerNames[bits]!, args: { group, symmetric }, of: null }, scales);
  const format = wrapped(exact, order, isSparse);
  const shape = shapeOf([module.outputs, module.inputs]);
  const own = checked(module, format);
  const grid = own.grid(format)!;
  return {
    format,
    pattern: patternOf(isSparse),
    async words() {
      const sections = own.sections(format, shape);
      const words = newWords(sections);
      const zero = symmetric || parts.zeros === null ? null : Float32Array.from(await parts.zeros());
      encodeGrid(grid, shape, sections, words, { scale: await parts.scales(), zero });
      if (order !== null) words.set(order, sectionOf(sections, "groups").offset);
      const codes = await parts.codes();
      // two's complement, in as many bits as the format has
      if (symmetric) {
        const mask = 2 ** grid.bits - 1;
        const { length } = codes;
        for (let at = 0; at < length; at += 1) codes[at] = (codes[at]! - middle) & mask;
      }
      if (isSparse) packQuads(words, sections, codes, { bits: grid.bits, magnitude: 2 ** grid.bits - 1 });
      else packItems(words, sectionOf(sections, "values"), grid.bits, codes);
      return words;
    },
  };
}

/** What a container holds of a layer whose values are no integers: floats of 8 bits, places in a table. */
export interface ScaledParts {
  /** The format of the values: `fp8_e4m3(channel)`; how its scales are stored is found. */
  readonly values: FormatSpec;
  readonly isSparse: boolean;
  /** [outputs, groups]. */
  scales(): Promise<Float32Array>;
  /** The items of that format, [outputs, inputs]. */
  items(): Promise<Uint8Array>;
}

/**
 * Such a layer, with the same values: item * scale in f32.
 * @throws ModelError M133 (groups that no format of ours has), M136 (scales that are not finite)
 */
export async function scaledLayer(module: Module, parts: ScaledParts): Promise<Layer> {
  const { isSparse } = parts;
  const format = wrapped(exactly(module, parts.values, await parts.scales()), null, isSparse);
  const own = checked(module, format);
  const grid = own.grid(format)!;
  const shape = shapeOf([module.outputs, module.inputs]);
  return {
    format,
    pattern: patternOf(isSparse),
    async words() {
      const sections = own.sections(format, shape);
      const words = newWords(sections);
      encodeGrid(grid, shape, sections, words, { scale: await parts.scales(), zero: null });
      const items = await parts.items();
      // all bits but that of the sign
      if (isSparse) packQuads(words, sections, items, { bits: grid.bits, magnitude: 2 ** (grid.bits - 1) - 1 });
      else packItems(words, sectionOf(sections, "values"), grid.bits, items);
      return words;
    },
  };
}

/** A format with scales, which are stored so that each is exact. @throws ModelError M133, M136 */
function exactly(module: Module, named: FormatSpec, scales: Float32Array): FormatSpec {
  const bad = scales.findIndex((scale) => !Number.isFinite(scale));
  if (bad >= 0) throw layerError("M136", module, `a scale is ${scales[bad]}, number ${bad} of ${scales.length}`);
  const plain = normalizeFormat(named);
  if (typeof plain === "string") throw layerError("M133", module, plain.replace(/\.$/, ""));
  const half = formatOfSpec(plain).grid(plain)!;
  return scales.every((scale) => roundScale(half, scale) === scale)
    ? fitScales(plain, half, scaleRange(scales))
    : wideScales(plain);
}

/** The format of a layer, which has its shape. @throws ModelError M133 */
function checked(module: Module, format: FormatSpec): Format {
  const own = formatOfSpec(format);
  const problem = own.check(format, shapeOf([module.outputs, module.inputs]));
  if (problem !== null) throw layerError("M133", module, problem);
  return own;
}

function patternOf(isSparse: boolean): StoredPattern {
  return isSparse ? { kind: "nm", n: 2, m: 4, axis: 1 } : { kind: "full" };
}

function wrapped(format: FormatSpec, order: Uint32Array | null, isSparse: boolean): FormatSpec {
  if (isSparse) return { name: "nm", args: { n: 2, m: 4 }, of: format };
  return order === null ? format : { name: "regrouped", args: {}, of: format };
}

/**
 * The group of each column, null where it is column / group. @throws ModelError M136 where one is out of range, or a
 * group has not as many columns as it should
 */
export function groupOrder(
  module: Module,
  part: string,
  indices: readonly number[],
  group: number,
): Uint32Array | null {
  const groups = module.inputs / group;
  const members = new Uint32Array(groups);
  for (const [column, index] of indices.entries()) {
    if (!(index >= 0 && index < groups))
      throw layerError("M136", module, `\`${part}\` puts column ${column} in group ${index} of ${groups}`);
    members[index] = members[index]! + 1;
  }
  const wrong = members.findIndex((count) => count !== group);
  if (wrong >= 0)
    throw layerError("M136", module, `\`${part}\` gives group ${wrong} ${members[wrong]} columns; each has ${group}`);
  return indices.every((index, column) => index === Math.floor(column / group)) ? null : Uint32Array.from(indices);
}
