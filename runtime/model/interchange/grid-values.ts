/** Integers on a grid out of words of ours, however they are stored: what containers of other tools are made from. */
import { sectionOf, getItems } from "../../../compiler/formats/layout.js";
import { partsOf } from "../../../compiler/formats/nm/meaning.js";
import { chosenPositions } from "../../../compiler/formats/nm/positions.js";
import { formatOfSpec, gridValues, shapeOf } from "../../../compiler/formats/registry.js";
import { f16FromBits } from "../../../compiler/float.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import type { Module } from "./layer.js";

/** What is known of such a layer by its format alone. */
export interface GridFacts {
  /** Of a code. */
  readonly bits: 2 | 3 | 4 | 8;
  /** Columns that share a scale; all of a row where `channel`. */
  readonly group: number | "channel";
  readonly symmetric: boolean;
  /** Whether groups are of columns that need not be neighbours. */
  readonly isOrdered: boolean;
  /** Whether at most two of four neighbours are other than zero. */
  readonly isSparse: boolean;
  /** The type that holds every scale. */
  readonly scale: "F16" | "F32";
}

/** What the words hold; codes and zero points unsigned. */
export interface GridLayer {
  /** [outputs, groups]. */
  readonly scales: Float32Array;
  /** [outputs, groups]; the middle of the codes, 2^(bits - 1), where symmetric. */
  readonly zeros: Uint8Array<ArrayBuffer>;
  /** [outputs, inputs]. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** The group of each column. */
  readonly order: Uint32Array;
}

/** The blocks of GGUF that are codes times a scale. */
const blocks: { readonly [format: string]: { readonly bits: 4 | 8; readonly bytes: number } | undefined } = {
  q4_0: { bits: 4, bytes: 18 },
  q8_0: { bits: 8, bytes: 34 },
};

/** The formats whose codes are integers, and what they may lie in. */
const integers: readonly string[] = ["int2", "int3", "int4", "int8"];

/**
 * Of a format that holds integers of 2, 3, 4 or 8 bits with zero points that are codes, by themselves, in other groups or
 * n of m; null for others.
 */
export function gridFacts(format: FormatSpec): GridFacts | null {
  const block = blocks[format.name];
  if (block !== undefined)
    return { bits: block.bits, group: 32, symmetric: true, isOrdered: false, isSparse: false, scale: "F16" };
  const codes = format.name === "nm" || format.name === "regrouped" ? format.of : format;
  const grid = codes !== null && integers.includes(codes.name) ? formatOfSpec(format).grid(format) : null;
  if (grid === null || grid.zero !== "code") return null;
  const { n, m } = format.args;
  return {
    bits: grid.bits as GridFacts["bits"],
    group: grid.group,
    symmetric: grid.symmetric,
    isOrdered: format.name === "regrouped",
    isSparse: format.name === "nm" && ((m === 4 && Number(n) <= 2) || m === 2),
    scale: grid.scale === "f16" && grid.shift === 0 ? "F16" : "F32",
  };
}

/** The number of groups in a row. */
export function groupCount({ inputs }: Module, { group }: GridFacts): number {
  return group === "channel" ? 1 : inputs / group;
}

/** What the words of a layer hold, of a format that `gridFacts` knows. */
export function gridLayerOf(format: FormatSpec, facts: GridFacts, module: Module, words: Uint32Array): GridLayer {
  const { outputs, inputs } = module;
  const columns = facts.group === "channel" ? inputs : facts.group;
  const neighbours = (): Uint32Array => Uint32Array.from({ length: inputs }, (_, at) => Math.floor(at / columns));
  const block = blocks[format.name];
  if (block !== undefined) return { ...blockLayer(block, module, words), order: neighbours() };
  const shape = shapeOf([outputs, inputs]);
  const sections = formatOfSpec(format).sections(format, shape);
  const { scale, zero } = gridValues(format, shape, words)!;
  const middle = 2 ** (facts.bits - 1);
  const zeros = new Uint8Array(scale.length);
  if (zero === null) zeros.fill(middle);
  else zeros.set(zero);
  const stored = (count: number): Uint8Array<ArrayBuffer> =>
    getItems(words, sectionOf(sections, "values"), facts.bits, count) as Uint8Array<ArrayBuffer>;
  const { offset } = format.name === "regrouped" ? sectionOf(sections, "groups") : { offset: 0 };
  const order = format.name === "regrouped" ? words.slice(offset, offset + inputs) : neighbours();
  if (format.name === "nm") {
    const { n, m, together, groupBits } = partsOf(format);
    const codes = new Uint8Array(outputs * inputs);
    const entries = (codes.length / m) * n;
    const index = sectionOf(sections, "index");
    const positions = together
      ? chosenPositions(getItems(words, index, groupBits, codes.length / m), n, m)
      : getItems(words, index, groupBits / n, entries);
    const values = stored(entries);
    for (let at = 0; at < codes.length; at += columns) codes.fill(zeros[at / columns]!, at, at + columns);
    const signed = facts.symmetric ? middle : 0;
    const mask = 2 ** facts.bits - 1;
    for (let entry = 0; entry < entries; entry += 1)
      codes[Math.floor(entry / n) * m + positions[entry]!] = (values[entry]! + signed) & mask;
    return { scales: scale, zeros, codes, order };
  }
  const codes = stored(outputs * inputs);
  // two's complement, moved up
  if (facts.symmetric) {
    const mask = 2 ** facts.bits - 1;
    for (let at = 0; at < codes.length; at += 1) codes[at] = (codes[at]! + middle) & mask;
  }
  return { scales: scale, zeros, codes, order };
}

/** Blocks of 32 columns: an f16, then nibbles of column j and j + 16, or signed bytes. */
function blockLayer(
  { bits, bytes }: { readonly bits: 4 | 8; readonly bytes: number },
  { outputs, inputs }: Module,
  words: Uint32Array,
): Omit<GridLayer, "order"> {
  const count = (outputs * inputs) / 32;
  const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
  const scales = new Float32Array(count);
  const codes = new Uint8Array(outputs * inputs);
  for (let block = 0; block < count; block += 1) {
    const start = block * bytes;
    scales[block] = f16FromBits(view.getUint16(start, true));
    for (let at = 0; at < 32; at += 1)
      codes[32 * block + at] =
        bits === 8
          ? view.getUint8(start + 2 + at) ^ 0x80
          : (view.getUint8(start + 2 + (at & 15)) >> (at < 16 ? 0 : 4)) & 15;
  }
  return { scales, codes, zeros: new Uint8Array(count).fill(2 ** (bits - 1)) };
}

/** The values of a layer: (code - zero point) * scale, in f32. */
export function valuesOfGrid({ outputs, inputs }: Module, layer: GridLayer): Float32Array<ArrayBuffer> {
  const { scales, zeros, codes, order } = layer;
  const groups = scales.length / outputs;
  const values = new Float32Array(codes.length);
  for (let row = 0, at = 0; row < outputs; row += 1)
    for (let column = 0; column < inputs; column += 1, at += 1) {
      const group = row * groups + order[column]!;
      values[at] = (codes[at]! - zeros[group]!) * scales[group]!;
    }
  return values;
}
