/**
 * `bitmask of V`, for unstructured sparsity: a bit for each element and the values of those whose bit is set. V is any
 * format of single values; its scales and zero points follow, per group of dense columns.
 *
 * Elements are numbered row * columns + column. Section "bits" holds bit e at item e; "counts" one u32 for every 128
 * elements, how many bits are set before them; "values" the kept values in order, as V stores them. An element is kept
 * where it and its stored value are not zero (-0.0 is zero).
 *
 * The length of "values" is decided by the data: the argument `nonzeros` says for how many there is room. `complete`
 * sets it to what a tensor needs; a larger one leaves zeros at the end, so that tensors may share a kernel.
 */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { decodeItems, valuesOf } from "../element.js";
import { fitScales, scaleRange } from "../fit.js";
import type { Element, Format, FormatParameter, Grid, GridValues, Section, Shape, Unit } from "../format.js";
import { elementsIn, getItems, newWords, placeSections, putItem, sectionOf, wordsFor } from "../layout.js";
import { storedGrid } from "../plain/meaning.js";
import { decodeGrid, gridSections, groupColumns, roundScales, roundZero } from "../scales.js";

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
  const gridOf = (spec: FormatSpec): Grid | null =>
    valuesOf(valueFormats, valueSpec(spec)).format.grid(valueSpec(spec));

  /** The code of each element that is kept, -1 for others, on a grid as it is stored. */
  function* codesOf(spec: FormatSpec, shape: Shape, dense: Float32Array, stored: GridValues | null): Generator<number> {
    const element = elementOf(spec);
    const grid = gridOf(spec);
    const group = grid === null ? elementsIn(shape) : groupColumns(grid, shape);
    for (let index = 0; index < dense.length; index += 1) {
      const at = Math.floor(index / group);
      const zero = stored?.zero?.[at] ?? 0;
      const code = element.encode(dense[index]!, stored?.scale[at] ?? 1, zero);
      yield dense[index] !== 0 && element.isNonzero(code, zero) ? code : -1;
    }
  }

  function normalize(spec: FormatSpec): FormatSpec | string {
    const own = normalizeArguments(spec, parameters);
    if (typeof own === "string") return own;
    const values = valueFormats.find((format) => format.name === spec.of?.name);
    if (spec.of === null || values === undefined)
      return `bitmask needs \`of\` one of ${valueFormats.map((format) => format.name).join(", ")}.`;
    const of = values.normalize(spec.of);
    return typeof of === "string" ? of : { ...own, of };
  }

  function complete(spec: FormatSpec, shape: Shape, dense: Float32Array, values: GridValues | null): FormatSpec {
    const grid = gridOf(spec);
    const of =
      values === null || grid === null ? valueSpec(spec) : fitScales(valueSpec(spec), grid, scaleRange(values.scale));
    const fitted = of === spec.of ? spec : { ...spec, of };
    if (spec.args["nonzeros"] !== undefined) return fitted;
    const rounded =
      values === null || grid === null
        ? null
        : {
            scale: roundScales(grid, shape, values.scale),
            zero: values.zero?.map((zero) => roundZero(grid, zero)) ?? null,
          };
    let nonzeros = 0;
    for (const code of codesOf(spec, shape, dense, rounded)) if (code >= 0) nonzeros += 1;
    return { ...fitted, args: { ...spec.args, nonzeros } };
  }

  function check(spec: FormatSpec, shape: Shape): string | null {
    const nonzeros = spec.args["nonzeros"];
    if (typeof nonzeros === "number" && nonzeros > elementsIn(shape))
      return `${nonzeros} entries are more than the ${elementsIn(shape)} elements`;
    return valuesOf(valueFormats, valueSpec(spec)).format.check(valueSpec(spec), shape);
  }

  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    // Room for one value at least, so that there is one to read where nothing is kept.
    const values = Math.max(nonzerosOf(spec), 1);
    return placeSections([
      { name: "bits", words: wordsFor(elementsIn(shape), 1) },
      { name: "counts", words: Math.ceil(elementsIn(shape) / blockElements) },
      { name: "values", words: wordsFor(values, elementOf(spec).bits) },
      ...gridSections(gridOf(spec), shape),
    ]);
  }

  function encode(
    spec: FormatSpec,
    shape: Shape,
    dense: Float32Array,
    grid: GridValues | null,
  ): Uint32Array<ArrayBuffer> {
    const element = elementOf(spec);
    const room = nonzerosOf(spec);
    const layout = sections(spec, shape);
    const words = newWords(layout);
    const [bits, counts, values] = [
      sectionOf(layout, "bits"),
      sectionOf(layout, "counts"),
      sectionOf(layout, "values"),
    ];
    const stored = storedGrid(valueSpec(spec).name, gridOf(spec), shape, layout, words, grid);
    let [index, entry] = [-1, 0];
    for (const value of codesOf(spec, shape, dense, stored)) {
      index += 1;
      if (index % blockElements === 0) words[counts.offset + index / blockElements] = entry;
      if (value < 0) continue;
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
    const grid = gridOf(spec);
    const stored = grid === null ? null : decodeGrid(grid, shape, layout, words);
    const group = grid === null ? elementsIn(shape) : groupColumns(grid, shape);
    for (let index = 0, entry = 0; index < dense.length; index += 1) {
      if (mask[index] === 0) continue;
      const value = entries[entry] ?? 0;
      const at = Math.floor(index / group);
      dense[index] = stored === null ? value : Math.fround(value - (stored.zero?.[at] ?? 0)) * (stored.scale[at] ?? 1);
      entry += 1;
    }
    return dense;
  }

  function unit(spec: FormatSpec, shape: Shape): Unit | null {
    const grid = gridOf(spec);
    const scaleColumns = grid === null ? shape.columns : groupColumns(grid, shape);
    if (shape.columns % unitSize !== 0 || scaleColumns % unitSize !== 0) return null;
    return { columns: unitSize, entries: unitSize, scaleColumns };
  }

  return {
    name: "bitmask",
    example: "bitmask of f16",
    parameters,
    normalize,
    // Where a value goes depends on all before it.
    packsOnHost: true,
    elementwise: true,
    complete,
    check,
    pattern: () => ({ kind: "masked" }),
    grid: gridOf,
    sections,
    encode,
    decode,
    unit,
    element: null,
    dense: null,
  };
}
