/**
 * `bitmask of V`, for unstructured sparsity: a bit for each element and the values of those whose bit is set. V is f32,
 * f16 or bf16.
 *
 * Elements are numbered row * columns + column. Section "bits" holds bit e at item e; "counts" one u32 for every 128
 * elements, how many bits are set before them; "values" the kept values in order, as V stores them. An element is kept
 * where its stored value is not zero (-0.0 is zero).
 *
 * The length of "values" is decided by the data: the argument `nonzeros` says for how many there is room. `complete`
 * sets it to what a tensor needs; a larger one leaves zeros at the end, so that tensors may share a kernel.
 */
import { InternalError } from "../../diagnostic.js";
import {
  add,
  bitAnd,
  call,
  component,
  equal,
  f32,
  greater,
  min,
  mul,
  notEqual,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { bf16Format, f16Format, f32Format } from "../dense/meaning.js";
import { decodeItems, elementOf } from "../element.js";
import type { Format, FormatParameter, Section, Shape, Stored, Unit, WordReader } from "../format.js";
import {
  elementCount,
  getItems,
  newWords,
  placeSections,
  putItem,
  range,
  readItem,
  sectionOf,
  wordsFor,
} from "../layout.js";

const parameters: readonly FormatParameter[] = [{ kind: "label", name: "nonzeros" }];

const valueFormats: readonly Format[] = [f32Format, f16Format, bf16Format];

/** Elements that share a running count: one vec4 of bits. */
const blockElements = 128;

/** Columns of a unit: one word of bits. */
const unitSize = 32;

function normalize(spec: FormatSpec): FormatSpec | string {
  const own = normalizeArguments(spec, parameters);
  if (typeof own === "string") return own;
  const values = valueFormats.find((format) => format.name === spec.of?.name);
  if (spec.of === null || values === undefined)
    return `bitmask needs \`of\` one of ${valueFormats.map((format) => format.name).join(", ")}.`;
  const of = values.normalize(spec.of);
  return typeof of === "string" ? of : { ...own, of };
}

function valuesOf(spec: FormatSpec): FormatSpec {
  if (spec.of === null) throw new InternalError("a bitmask format that is not normalized");
  return spec.of;
}

function nonzerosOf(spec: FormatSpec): number {
  const nonzeros = spec.args["nonzeros"];
  if (typeof nonzeros !== "number")
    throw new InternalError("a bitmask format without the count of its entries: complete it first");
  return nonzeros;
}

function complete(spec: FormatSpec, dense: Float32Array): FormatSpec {
  if (spec.args["nonzeros"] !== undefined) return spec;
  const element = elementOf(valuesOf(spec));
  const nonzeros = dense.reduce((count, value) => count + (element.holds(element.encode(value, 1, 0), 0) ? 1 : 0), 0);
  return { ...spec, args: { ...spec.args, nonzeros } };
}

function check(spec: FormatSpec, shape: Shape): string | null {
  const nonzeros = spec.args["nonzeros"];
  if (typeof nonzeros !== "number" || nonzeros <= elementCount(shape)) return null;
  return `${nonzeros} entries are more than the ${elementCount(shape)} elements`;
}

function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
  // Room for one value at least, so that there is one to read where nothing is kept.
  const values = Math.max(nonzerosOf(spec), 1);
  return placeSections([
    { name: "bits", words: wordsFor(elementCount(shape), 1) },
    { name: "counts", words: Math.ceil(elementCount(shape) / blockElements) },
    { name: "values", words: wordsFor(values, elementOf(valuesOf(spec)).bits) },
  ]);
}

function encode(spec: FormatSpec, shape: Shape, dense: Float32Array): Uint32Array<ArrayBuffer> {
  const element = elementOf(valuesOf(spec));
  const room = nonzerosOf(spec);
  const layout = sections(spec, shape);
  const words = newWords(layout);
  const [bits, counts, values] = [sectionOf(layout, "bits"), sectionOf(layout, "counts"), sectionOf(layout, "values")];
  let entry = 0;
  for (let index = 0; index < dense.length; index += 1) {
    if (index % blockElements === 0) words[counts.offset + index / blockElements] = entry;
    const value = element.encode(dense[index]!, 1, 0);
    if (!element.holds(value, 0)) continue;
    if (entry === room)
      throw new Error(
        `Row ${Math.floor(index / shape.columns)}, column ${index % shape.columns} holds a value when the ${room} entries of the bitmask are already taken.`,
      );
    putItem(words, bits, 1, index, 1);
    putItem(words, values, element.bits, entry, value);
    entry += 1;
  }
  return words;
}

function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
  const element = elementOf(valuesOf(spec));
  const layout = sections(spec, shape);
  const [bits, values] = [sectionOf(layout, "bits"), sectionOf(layout, "values")];
  const dense = new Float32Array(elementCount(shape));
  const held = getItems(words, bits, 1, dense.length);
  const entries = decodeItems(
    element,
    getItems(words, values, element.bits, Math.floor((values.words * 32) / element.bits)),
  );
  for (let index = 0, entry = 0; index < dense.length; index += 1) {
    if (held[index] === 0) continue;
    dense[index] = entries[entry] ?? 0;
    entry += 1;
  }
  return dense;
}

/**
 * The bits before word `word` of the section "bits": those of the blocks before, and of the words of its own block.
 * Also gives that word.
 */
function countBefore(
  layout: readonly Section[],
  read: WordReader,
  word: Expr,
): { readonly bits: Expr; readonly before: Expr } {
  const block = read.bind("block", shiftRight(word, 2));
  const four = read.bind("bits", read.words4(sectionOf(layout, "bits"), block));
  const lane = read.bind("lane", bitAnd(word, 3));
  const parts = range(4).map((at) => component(four, at));
  const own = parts.reduceRight((otherwise, part, at) => select(equal(lane, at), part, otherwise));
  const before = range(3).map((at) => select(greater(lane, at), countOnes(parts[at]!), u32(0)));
  return {
    bits: read.bind("own", own),
    before: read.bind(
      "before",
      before.reduce((a, b) => add(a, b), read.word(sectionOf(layout, "counts"), block)),
    ),
  };
}

function countOnes(word: Expr): Expr {
  return call("countOneBits", [word]);
}

/** Value `entry`; where the element is not kept, `entry` may be the one after the last, and the value is any. */
function entryValue(spec: FormatSpec, layout: readonly Section[], read: WordReader, entry: Expr): Expr {
  const element = elementOf(valuesOf(spec));
  const last = Math.max(nonzerosOf(spec), 1) - 1;
  return element.read(readItem(read, sectionOf(layout, "values"), element.bits, read.bind("entry", min(entry, last))));
}

function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
  const layout = sections(spec, shape);
  const index = read.bind("index", add(mul(row, shape.columns), column));
  const { bits, before } = countBefore(layout, read, shiftRight(index, 5));
  const bit = read.bind("bit", shiftLeft(u32(1), bitAnd(index, 31)));
  const value = entryValue(spec, layout, read, add(before, countOnes(bitAnd(bits, sub(bit, 1)))));
  return select(notEqual(bitAnd(bits, bit), 0), value, f32(0));
}

function unit(_spec: FormatSpec, shape: Shape): Unit | null {
  if (shape.columns % unitSize !== 0) return null;
  return { columns: unitSize, entries: unitSize, scaleColumns: shape.columns };
}

function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
  if (unit(spec, shape) === null) throw new InternalError(`bitmask has no units at ${shape.columns} columns`);
  const layout = sections(spec, shape);
  const { bits, before } = countBefore(layout, read, add(mul(row, shape.columns / unitSize), at));
  let entry = before;
  const entries = range(unitSize).map((column) => {
    const bit = read.bind("bit", bitAnd(shiftRight(bits, column), 1));
    const value = select(notEqual(bit, 0), entryValue(spec, layout, read, entry), f32(0));
    entry = read.bind("next", add(entry, bit));
    return { column, value };
  });
  return { entries, scale: null, zero: null };
}

export const bitmaskFormat: Format = {
  name: "bitmask",
  parameters,
  normalize,
  packsOnHost: true,
  elementwise: true,
  complete,
  check,
  pattern: () => ({ kind: "masked" }),
  grid: () => null,
  sections,
  encode,
  decode,
  locate,
  unit,
  stored,
  // Where a value goes depends on all before it: packed on the host.
  packed: () => null,
};
