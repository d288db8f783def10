import { getItems, newWords, sectionOf } from "../../../../compiler/formats/layout.js";
import { formatOfSpec, shapeOf } from "../../../../compiler/formats/registry.js";
import type { FormatSpec } from "../../../../compiler/types/type.js";
import { denseFormat } from "../../packed.js";
import {
  checkShapeTensor,
  layerError,
  readIntegers,
  scaleTypes,
  tensorOf,
  type Container,
  type Module,
} from "../layer.js";
import { packItems } from "../pack.js";
import { bytesOf, shapeBytes, type WrittenPart } from "../written.js";

/**
 * `sparse-bitmask` of compressed-tensors: values other than zero row by row, and a bit for each column. That is our
 * `bitmask`, but for rows of bits that begin with a byte of their own, and the counts: of each row instead of each 128
 * elements.
 */
export const sparseBitmask: Container = {
  name: "sparse-bitmask",
  what: "unstructured",
  needed: ["compressed", "bitmask", "row_offsets", "shape"],
  possible: [],
  async open(module, tensors) {
    const { outputs, inputs } = module;
    await checkShapeTensor(module, tensors, "shape", [[2], [2, 1]]);
    const mask = tensorOf(module, tensors, "bitmask", ["U8"], [[outputs, Math.ceil(inputs / 8)]]);
    const offsets = tensorOf(module, tensors, "row_offsets", ["I64", "I32"], [[outputs]]);
    const found = tensors.get("compressed");
    const nonzeros = found?.shape[0] ?? 0;
    const values = tensorOf(module, tensors, "compressed", scaleTypes, [[nonzeros]]);
    const elements = outputs * inputs;
    if (nonzeros > elements)
      throw layerError("M135", module, `\`compressed\` has ${nonzeros} values for ${elements} elements`);
    // room for a little more, so that layers of nearly as many share kernels
    const step = Math.max(1, Math.floor(elements / 1024));
    const room = Math.min(elements, Math.ceil(nonzeros / step) * step);
    const format: FormatSpec = { name: "bitmask", args: { nonzeros: room }, of: denseFormat(values.dtype) };
    const shape = shapeOf([outputs, inputs]);
    return {
      format,
      pattern: { kind: "masked" },
      async words() {
        const sections = formatOfSpec(format).sections(format, shape);
        const words = newWords(sections);
        const bits = denseBits(module, await mask.read());
        checkRows(module, bits, await readIntegers(offsets), nonzeros);
        packItems(words, sectionOf(sections, "bits"), 8, bits);
        const counts = sectionOf(sections, "counts");
        for (let block = 0, count = 0, byte = 0; block < counts.words; block += 1) {
          words[counts.offset + block] = count;
          for (const end = Math.min(bits.length, byte + 16); byte < end; byte += 1) count += ones(bits[byte]!);
        }
        const kept = await values.read();
        new Uint8Array(words.buffer, 4 * sectionOf(sections, "values").offset).set(kept);
        return words;
      },
    };
  },
};

/** The bits of all elements without padding between rows. @throws ModelError M136 where padding is not zero */
function denseBits(module: Module, mask: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { outputs, inputs } = module;
  const spare = inputs % 8;
  if (spare === 0) return mask;
  const perRow = Math.ceil(inputs / 8);
  const bits = new Uint8Array(Math.ceil((outputs * inputs) / 8));
  for (let row = 0, at = 0; row < outputs; row += 1) {
    if (mask[(row + 1) * perRow - 1]! >> spare !== 0)
      throw layerError("M136", module, `\`bitmask\` has bits beyond the ${inputs} columns of row ${row}`);
    for (let column = 0; column < inputs; column += 1, at += 1) {
      const bit = (mask[row * perRow + (column >> 3)]! >> (column & 7)) & 1;
      bits[at >> 3] = bits[at >> 3]! | (bit << (at & 7));
    }
  }
  return bits;
}

/** Holds the counts of the rows to the bits. @throws ModelError M136 */
function checkRows(module: Module, bits: Uint8Array, offsets: readonly number[], nonzeros: number): void {
  const { outputs, inputs } = module;
  let count = 0;
  for (let row = 0, at = 0; row < outputs; row += 1) {
    if (offsets[row] !== count)
      throw layerError(
        "M136",
        module,
        `\`row_offsets\` of row ${row} is ${offsets[row]}, but \`bitmask\` has ${count} bits before it`,
      );
    for (const end = at + inputs; at < end; )
      if ((at & 7) === 0 && at + 8 <= end) {
        count += ones(bits[at >> 3]!);
        at += 8;
      } else {
        count += (bits[at >> 3]! >> (at & 7)) & 1;
        at += 1;
      }
  }
  if (count !== nonzeros)
    throw layerError("M136", module, `\`bitmask\` has ${count} bits, but \`compressed\` ${nonzeros} values`);
}

/** How many bits of a byte are set. */
function ones(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

/** How many values a layer in `bitmask` holds: the bits that are set. */
export function nonzerosIn(module: Module, format: FormatSpec, words: Uint32Array): number {
  return bitsOf(module, format, words).reduce((count, byte) => count + ones(byte), 0);
}

function bitsOf({ outputs, inputs }: Module, format: FormatSpec, words: Uint32Array): Uint8Array {
  const { offset } = sectionOf(formatOfSpec(format).sections(format, shapeOf([outputs, inputs])), "bits");
  return new Uint8Array(words.buffer, words.byteOffset + 4 * offset, Math.ceil((outputs * inputs) / 8));
}

/** The tensors of a layer in `bitmask` of floats of this type, with so many values. */
export function sparseBitmaskParts(
  { outputs, inputs }: Module,
  dtype: "F32" | "F16" | "BF16",
  nonzeros: number,
): readonly WrittenPart[] {
  return [
    { part: "bitmask", dtype: "U8", shape: [outputs, Math.ceil(inputs / 8)] },
    { part: "compressed", dtype, shape: [nonzeros] },
    { part: "row_offsets", dtype: "I64", shape: [outputs] },
    { part: "shape", dtype: "I64", shape: [2] },
  ];
}

/** Their bytes, from its words: rows of bits begin with a byte of their own. */
export function sparseBitmaskBytes(
  module: Module,
  format: FormatSpec,
  words: Uint32Array,
  nonzeros: number,
): readonly Uint8Array[] {
  const { outputs, inputs } = module;
  const bits = bitsOf(module, format, words);
  const perRow = Math.ceil(inputs / 8);
  const mask = new Uint8Array(outputs * perRow);
  const offsets = new BigInt64Array(outputs);
  for (let row = 0, at = 0, count = 0; row < outputs; row += 1) {
    offsets[row] = BigInt(count);
    for (let column = 0; column < inputs; column += 1, at += 1) {
      const bit = (bits[at >> 3]! >> (at & 7)) & 1;
      const byte = row * perRow + (column >> 3);
      mask[byte] = mask[byte]! | (bit << (column & 7));
      count += bit;
    }
  }
  const sections = formatOfSpec(format).sections(format, shapeOf([outputs, inputs]));
  const values = getItems(words, sectionOf(sections, "values"), format.of?.name === "f32" ? 32 : 16, nonzeros);
  return [mask, bytesOf(values as Uint16Array | Uint32Array), bytesOf(offsets), shapeBytes(module)];
}
