/**
 * The formats that store every element: section "values" holds element [row, column] as item row * columns + column,
 * with a grid beside it for integers. `dense/` and `integer/` give them their names and arguments.
 */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { decodeItems } from "../element.js";
import { fitScales, scaleRange } from "../fit.js";
import type { DenseType, Element, Format, Grid, GridValues, Section, Shape, Unit } from "../format.js";
import { elementsIn, getItems, newWords, placeSections, putItem, sectionOf, unitColumns, wordsFor } from "../layout.js";
import { decodeGrid, encodeGrid, gridSections, groupColumns } from "../scales.js";

/** What makes such a format: what is about its arguments, its element, its grid. */
export interface PlainParts extends Pick<Format, "name" | "parameters" | "normalize" | "check" | "grid"> {
  readonly dense?: DenseType;
  /** Where it is not the name alone. */
  readonly example?: string;
  element(spec: FormatSpec): Element;
}

/** Makes it. */
export function plainFormat({ name, parameters, normalize, check, element, grid, dense, example }: PlainParts): Format {
  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    return placeSections([
      { name: "values", words: wordsFor(elementsIn(shape), element(spec).bits) },
      ...gridSections(grid(spec), shape),
    ]);
  }

  function encode(
    spec: FormatSpec,
    shape: Shape,
    dense: Float32Array,
    values: GridValues | null,
  ): Uint32Array<ArrayBuffer> {
    const one = element(spec);
    const own = grid(spec);
    const parts = sections(spec, shape);
    const words = newWords(parts);
    const stored = storedGrid(name, own, shape, parts, words, values);
    const group = own === null ? shape.columns : groupColumns(own, shape);
    const section = sectionOf(parts, "values");
    for (let index = 0, at = 0; index < dense.length; at += 1) {
      const scale = stored?.scale[at] ?? 1;
      const zero = stored?.zero?.[at] ?? 0;
      for (const end = index + group; index < end; index += 1)
        putItem(words, section, one.bits, index, one.encode(dense[index]!, scale, zero));
    }
    return words;
  }

  function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
    const one = element(spec);
    const own = grid(spec);
    const parts = sections(spec, shape);
    const stored = own === null ? null : decodeGrid(own, shape, parts, words);
    const group = own === null ? shape.columns : groupColumns(own, shape);
    const section = sectionOf(parts, "values");
    const dense = decodeItems(one, getItems(words, section, one.bits, elementsIn(shape)));
    if (stored === null) return dense;
    for (let index = 0, at = 0; index < dense.length; at += 1) {
      const scale = stored.scale[at]!;
      const zero = stored.zero?.[at] ?? 0;
      for (const end = index + group; index < end; index += 1) dense[index] = Math.fround(dense[index]! - zero) * scale;
    }
    return dense;
  }

  function unit(spec: FormatSpec, shape: Shape): Unit | null {
    const own = grid(spec);
    const scaleColumns = own === null ? shape.columns : groupColumns(own, shape);
    const columns = unitColumns(element(spec).bits, [], [shape.columns, scaleColumns]);
    return columns === null ? null : { columns, entries: columns, scaleColumns };
  }

  return {
    name,
    example: example ?? name,
    parameters,
    normalize,
    check,
    packsOnHost: false,
    elementwise: true,
    complete: (spec, _shape, _dense, values) =>
      values === null ? spec : fitScales(spec, grid(spec), scaleRange(values.scale)),
    pattern: () => null,
    grid,
    sections,
    encode,
    decode,
    unit,
    element,
    dense: dense ?? null,
  };
}

/** Writes the grid of a format that has one, and gives it as stored. */
export function storedGrid(
  name: string,
  grid: Grid | null,
  shape: Shape,
  parts: readonly Section[],
  words: Uint32Array,
  values: GridValues | null,
): GridValues | null {
  if (grid === null) return null;
  if (values === null) throw new InternalError(`${name} needs a scale`);
  return encodeGrid(grid, shape, parts, words, values);
}
