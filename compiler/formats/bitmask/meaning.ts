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
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { decodeItems, valuesOf } from "../element.js";
import type { Element, Format, FormatParameter, Section, Shape, Unit } from "../format.js";
import { elementsIn, getItems, newWords, placeSections, putItem, sectionOf, wordsFor } from "../layout.js";

const parameters: readonly FormatParameter[] = [{ kind: "label", name: "nonzeros" }];

/** Elements that share a running count: one vec4 of bits. */
const blockElements = 128;

/** Columns of a unit: one word of bits. */
export const unitSize = 32;

/** The format of the values of a normalized spec. */
export function valueSpec(spec: FormatSpec): FormatSpec {
  if (spec.of === null) throw new InternalError("a bitmask format that is not normalized");
  return spec.of;
}

/** For how many values there is room. */
export function nonzerosOf(spec: FormatSpec): number {
  const nonzeros = spec.args["nonzeros"];
  if (typeof nonzeros !== "number")
    throw new InternalError("a bitmask format without the count of its entries: complete it first");
  return nonzeros;
}

/** The format for values of these formats. */
export function bitmaskFormat(valueFormats: readonly Format[]): Format {
  const elementOf = (spec: FormatSpec): Element => valuesOf(valueFormats, valueSpec(spec)).element;

  function normalize(spec: FormatSpec): FormatSpec | string {
    const own = normalizeArguments(spec, parameters);
    if (typeof own === "string") return own;
    const values = valueFormats.find((format) => format.name === spec.of?.name);
    if (spec.of === null || values === undefined)
      return `bitmask needs \`of\` one of ${valueFormats.map((format) => format.name).join(", ")}.`;
    const of = values.normalize(spec.of);
    return typeof of === "string" ? of : { ...own, of };
  }

  function complete(spec: FormatSpec, dense: Float32Array): FormatSpec {
    if (spec.args["nonzeros"] !== undefined) return spec;
    const element = elementOf(spec);
    const nonzeros = dense.reduce(
      (count, value) => count + (element.isNonzero(element.encode(value, 1, 0), 0) ? 1 : 0),
      0,
    );
    return { ...spec, args: { ...spec.args, nonzeros } };
  }

  function check(spec: FormatSpec, shape: Shape): string | null {
    const nonzeros = spec.args["nonzeros"];
    if (typeof nonzeros !== "number" || nonzeros <= elementsIn(shape)) return null;
    return `${nonzeros} entries are more than the ${elementsIn(shape)} elements`;
  }

  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    // Room for one value at least, so that there is one to read where nothing is kept.
    const values = Math.max(nonzerosOf(spec), 1);
    return placeSections([
      { name: "bits", words: wordsFor(elementsIn(shape), 1) },
      { name: "counts", words: Math.ceil(elementsIn(shape) / blockElements) },
      { name: "values", words: wordsFor(values, elementOf(spec).bits) },
    ]);
  }

  function encode(spec: FormatSpec, shape: Shape, dense: Float32Array): Uint32Array<ArrayBuffer> {
    const element = elementOf(spec);
    const room = nonzerosOf(spec);
    const layout = sections(spec, shape);
    const words = newWords(layout);
    const [bits, counts, values] = [
      sectionOf(layout, "bits"),
      sectionOf(layout, "counts"),
      sectionOf(layout, "values"),
    ];
    let entry = 0;
    for (let index = 0; index < dense.length; index += 1) {
      if (index % blockElements === 0) words[counts.offset + index / blockElements] = entry;
      const value = element.encode(dense[index]!, 1, 0);
      if (!element.isNonzero(value, 0)) continue;
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
    const element = elementOf(spec);
    const layout = sections(spec, shape);
    const [bits, values] = [sectionOf(layout, "bits"), sectionOf(layout, "values")];
    const dense = new Float32Array(elementsIn(shape));
    const mask = getItems(words, bits, 1, dense.length);
    const entries = decodeItems(
      element,
      getItems(words, values, element.bits, Math.floor((values.words * 32) / element.bits)),
    );
    for (let index = 0, entry = 0; index < dense.length; index += 1) {
      if (mask[index] === 0) continue;
      dense[index] = entries[entry] ?? 0;
      entry += 1;
    }
    return dense;
  }

  function unit(_spec: FormatSpec, shape: Shape): Unit | null {
    if (shape.columns % unitSize !== 0) return null;
    return { columns: unitSize, entries: unitSize, scaleColumns: shape.columns };
  }

  return {
    name: "bitmask",
    parameters,
    normalize,
    // Where a value goes depends on all before it.
    packsOnHost: true,
    elementwise: true,
    complete,
    check,
    pattern: () => ({ kind: "masked" }),
    grid: () => null,
    sections,
    encode,
    decode,
    unit,
    element: null,
  };
}
