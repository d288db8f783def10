/** Layers of integers on a grid, however their containers have them, in int4 or int8. */
import { fitScales, scaleRange, wideScales } from "../../../compiler/formats/fit.js";
import { newWords, sectionOf } from "../../../compiler/formats/layout.js";
import { formatOfSpec, normalizeFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { encodeGrid, roundScale } from "../../../compiler/formats/scales.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import { layerError, type Layer, type Module } from "./layer.js";
import { packItems, packQuads } from "./pack.js";

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
 * A layer in int4 (codes of up to 4 bits) or int8, with the same values: scales are stored so that they are exact. A
 * zero point that is the middle everywhere is none.
 * @throws ModelError M133 (groups that no format of ours has), M136 (scales that are not finite)
 */
export async function gridLayer(module: Module, parts: GridParts): Promise<Layer> {
  const { bits, group, order, isSparse } = parts;
  const middle = 2 ** (bits - 1);
  const scales = await parts.scales();
  const bad = scales.findIndex((scale) => !Number.isFinite(scale));
  if (bad >= 0) throw layerError("M136", module, `a scale is ${scales[bad]}, number ${bad} of ${scales.length}`);
  const zeros = parts.zeros === null ? null : await parts.zeros();
  const symmetric = zeros === null || zeros.every((zero) => zero === middle);
  const named: FormatSpec = {
    name: bits <= 4 ? "int4" : "int8",
    args: { group, symmetric },
    of: null,
  };
  const plain = normalizeFormat(named);
  if (typeof plain === "string") throw layerError("M133", module, plain.replace(/\.$/, ""));
  const half = formatOfSpec(plain).grid(plain)!;
  const exact = scales.every((scale) => roundScale(half, scale) === scale)
    ? fitScales(plain, half, scaleRange(scales))
    : wideScales(plain);
  const format = wrapped(exact, order, isSparse);
  const shape = shapeOf([module.outputs, module.inputs]);
  const own = formatOfSpec(format);
  const problem = own.check(format, shape);
  if (problem !== null) throw layerError("M133", module, problem);
  const grid = own.grid(format)!;
  return {
    format,
    pattern: isSparse ? { kind: "nm", n: 2, m: 4, axis: 1 } : { kind: "full" },
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
