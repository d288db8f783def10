/**
 * `regrouped of V`: V is any format of integers in groups, of columns that need not be neighbours. Methods that round the columns
 * in an order of their own put columns of one rank together (`desc_act` of GPTQ).
 *
 * The sections of V, and "groups": the group of each column, 32 bits. `encode` groups neighbours, as V does; other
 * groups come from the files of other tools.
 */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { decodeItems } from "../element.js";
import type { Format, Grid, GridValues, Section, Shape, Unit } from "../format.js";
import { elementsIn, getItems, newWords, roundUp, sectionOf, totalWords } from "../layout.js";
import { decodeGrid, groupColumns, groupsPerRow } from "../scales.js";

/** V of a normalized spec. */
export function groupedSpec(spec: FormatSpec): FormatSpec {
  if (spec.of === null) throw new InternalError("a regrouped format that is not normalized");
  return spec.of;
}

/** The format for values of these formats. */
export function regroupedFormat(integers: readonly Format[]): Format {
  function formatOf(spec: FormatSpec): Format {
    const format = integers.find(({ name }) => name === groupedSpec(spec).name);
    if (format === undefined) throw new InternalError(`${groupedSpec(spec).name} has no groups`);
    return format;
  }
  function gridOf(spec: FormatSpec): Grid {
    const grid = formatOf(spec).grid(groupedSpec(spec));
    if (grid === null) throw new InternalError(`${groupedSpec(spec).name} has no grid`);
    return grid;
  }

  function normalize(spec: FormatSpec): FormatSpec | string {
    const own = normalizeArguments(spec, []);
    if (typeof own === "string") return own;
    const format = integers.find(({ name }) => name === spec.of?.name);
    if (spec.of === null || format === undefined)
      return `regrouped needs \`of\` one of ${integers.map(({ name }) => name).join(", ")}.`;
    const of = format.normalize(spec.of);
    if (typeof of === "string") return of;
    return of.args["group"] === "channel" ? "regrouped needs groups of columns, not `channel`." : { ...own, of };
  }

  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    const inner = formatOf(spec).sections(groupedSpec(spec), shape);
    return [...inner, { name: "groups", offset: roundUp(totalWords(inner), 4), words: shape.columns }];
  }

  function encode(
    spec: FormatSpec,
    shape: Shape,
    dense: Float32Array,
    values: GridValues | null,
  ): Uint32Array<ArrayBuffer> {
    const layout = sections(spec, shape);
    const words = newWords(layout);
    words.set(formatOf(spec).encode(groupedSpec(spec), shape, dense, values));
    const { offset } = sectionOf(layout, "groups");
    const group = groupColumns(gridOf(spec), shape);
    for (let column = 0; column < shape.columns; column += 1) words[offset + column] = Math.floor(column / group);
    return words;
  }

  function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
    const layout = sections(spec, shape);
    const grid = gridOf(spec);
    const element = formatOf(spec).element?.(groupedSpec(spec));
    if (element === undefined) throw new InternalError(`${groupedSpec(spec).name} does not store single values`);
    const { scale, zero } = decodeGrid(grid, shape, layout, words);
    const items = getItems(words, sectionOf(layout, "values"), element.bits, elementsIn(shape));
    const dense = decodeItems(element, items);
    const perRow = groupsPerRow(grid, shape);
    const { offset } = sectionOf(layout, "groups");
    for (let row = 0, index = 0; row < shape.rows; row += 1)
      for (let column = 0; column < shape.columns; column += 1, index += 1) {
        const at = row * perRow + words[offset + column]!;
        dense[index] = Math.fround(dense[index]! - (zero?.[at] ?? 0)) * scale[at]!;
      }
    return dense;
  }

  function unit(spec: FormatSpec, shape: Shape): Unit | null {
    const columns = 32 / gridOf(spec).bits;
    // codes that straddle words are read one by one
    if (!Number.isInteger(columns)) return null;
    return shape.columns % columns === 0 ? { columns, entries: columns, scaleColumns: shape.columns } : null;
  }

  return {
    name: "regrouped",
    example: "regrouped of int4(128) with scale int4_scale(w, 128)",
    parameters: [],
    normalize,
    packsOnHost: false,
    elementwise: true,
    complete: (spec, shape, dense, grid) => ({
      ...spec,
      of: formatOf(spec).complete(groupedSpec(spec), shape, dense, grid),
    }),
    check: (spec, shape) => formatOf(spec).check(groupedSpec(spec), shape),
    pattern: () => null,
    grid: gridOf,
    sections,
    encode,
    decode,
    unit,
    element: null,
    dense: null,
  };
}
