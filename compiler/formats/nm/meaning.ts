/**
 * `nm(n, m) of V`: of every m neighbours of a row, n entries with their positions. V is any format of single values that
 * holds zero.
 *
 * Groups of m columns are numbered along the rows, without padding between rows. Entry e = group * n + j is item e of
 * section "values" (as V stores it), its position in the group item e of log2(m) bits of section "index"; positions
 * increase with j. With `positions: together`, as always for m = 16, a group's positions are one item of section "index",
 * of the fewest bits that count the ways to choose n of m (`positions.ts`). V's scales and zero points follow, per group of
 * dense columns.
 *
 * The entries are the elements whose stored value is not zero. A group that has fewer than n is filled with explicit
 * zeros at the lowest free positions. (-0.0 counts as zero: its sign is kept only where it fills.)
 */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { decodeItems, valuesOf } from "../element.js";
import { fitScales, scaleRange } from "../fit.js";
import type { Element, Format, FormatParameter, Grid, GridValues, Section, Shape, Spread, Unit } from "../format.js";
import { elementsIn, getItems, newWords, placeSections, putItem, sectionOf, unitColumns, wordsFor } from "../layout.js";
import { choiceBits, choiceCode, chosenPositions } from "./positions.js";
import { storedGrid } from "../plain/meaning.js";
import { decodeGrid, gridSections, groupColumns } from "../scales.js";

const parameters: readonly FormatParameter[] = [
  { kind: "number", name: "n", words: [] },
  { kind: "number", name: "m", words: [] },
  { kind: "word", name: "positions", words: ["together"], fallback: null },
];

/** The facts of a normalized spec: n of m, how positions are stored, and V. */
export interface NmParts {
  readonly n: number;
  readonly m: number;
  /** Whether the positions of a group are one number. */
  readonly together: boolean;
  /** Bits of a group's positions. */
  readonly groupBits: number;
  readonly values: FormatSpec;
}

/** Those facts. */
export function partsOf(spec: FormatSpec): NmParts {
  const { n, m } = spec.args;
  if (typeof n !== "number" || typeof m !== "number" || spec.of === null)
    throw new InternalError("an nm format that is not normalized");
  const together = m === 16 || spec.args["positions"] !== undefined;
  return { n, m, together, groupBits: together ? choiceBits(n, m) : n * Math.log2(m), values: spec.of };
}

/** The number of stored entries. */
export function entryCount({ n, m }: NmParts, shape: Shape): number {
  return (elementsIn(shape) / m) * n;
}

/** The format for values of these formats. */
export function nmFormat(valueFormats: readonly Format[]): Format {
  const elementOf = (spec: FormatSpec): Element => valuesOf(valueFormats, spec).element;
  const gridOf = (spec: FormatSpec): Grid | null => valuesOf(valueFormats, spec).format.grid(spec);

  function normalize(spec: FormatSpec): FormatSpec | string {
    const own = normalizeArguments(spec, parameters);
    if (typeof own === "string") return own;
    const { n, m } = own.args;
    if (typeof n !== "number" || (m !== 2 && m !== 4 && m !== 8 && m !== 16))
      return `The m of nm(n, m) must be 2, 4, 8 or 16, and is ${String(m)}.`;
    if (n >= m) return `The n of nm(n, m) must be less than m, and nm(${n}, ${m}) is not.`;
    const values = valueFormats.find((format) => format.name === spec.of?.name);
    if (spec.of === null || values === undefined)
      return `nm(${n}, ${m}) needs \`of\` one of ${valueFormats.map((format) => format.name).join(", ")}.`;
    const of = values.normalize(spec.of);
    if (typeof of === "string") return of;
    if (values.element?.(of).holdsZero !== true)
      return `nm(${n}, ${m}) fills groups with zeros, which ${of.name} ${of.name === values.name && of.args["zero"] !== undefined ? "with zero points of f16 " : ""}does not hold.`;
    const group = values.grid(of)?.group ?? "channel";
    if (group !== "channel" && group % m !== 0)
      return `The group of nm(${n}, ${m}) of ${of.name} must be a multiple of ${m}, and is ${group}.`;
    const { positions, ...args } = own.args;
    // m = 16 has no other way
    return { ...own, args: m === 16 || positions === undefined ? args : own.args, of };
  }

  function check(spec: FormatSpec, shape: Shape): string | null {
    const { m, values } = partsOf(spec);
    if (shape.columns % m !== 0) return `K = ${shape.columns} is not a multiple of ${m}`;
    return valuesOf(valueFormats, values).format.check(values, shape);
  }

  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    const parts = partsOf(spec);
    const entries = entryCount(parts, shape);
    return placeSections([
      { name: "values", words: wordsFor(entries, elementOf(parts.values).bits) },
      { name: "index", words: wordsFor(elementsIn(shape) / parts.m, parts.groupBits) },
      ...gridSections(gridOf(parts.values), shape),
    ]);
  }

  function encode(
    spec: FormatSpec,
    shape: Shape,
    dense: Float32Array,
    values: GridValues | null,
  ): Uint32Array<ArrayBuffer> {
    const { n, m, together, groupBits, values: of } = partsOf(spec);
    const element = elementOf(of);
    const grid = gridOf(of);
    const layout = sections(spec, shape);
    const words = newWords(layout);
    const stored = storedGrid(of.name, grid, shape, layout, words, values);
    const scaleColumns = grid === null ? elementsIn(shape) : groupColumns(grid, shape);
    const [valuePlace, indexPlace] = [sectionOf(layout, "values"), sectionOf(layout, "index")];
    const codes = new Array<number>(m).fill(0);
    for (let first = 0, entry = 0; first < dense.length; first += m) {
      let nonzeros = 0;
      let kept = 0;
      for (let at = 0; at < m; at += 1) {
        const value = dense[first + at]!;
        const block = stored === null ? 0 : Math.floor((first + at) / scaleColumns);
        const zero = stored?.zero?.[block] ?? 0;
        const code = element.encode(value, stored?.scale[block] ?? 1, zero);
        codes[at] = code;
        if (value !== 0) nonzeros += 1;
        if (element.isNonzero(code, zero)) kept += 1;
      }
      if (nonzeros > n) {
        const row = Math.floor(first / shape.columns);
        const column = first % shape.columns;
        throw new Error(
          `Row ${row} has ${nonzeros} values other than zero in columns ${column} to ${column + m - 1}; nm(${n}, ${m}) holds at most ${n} of every ${m}.`,
        );
      }
      let mask = 0;
      for (let at = 0, fill = n - kept; at < m; at += 1) {
        const block = stored === null ? 0 : Math.floor((first + at) / scaleColumns);
        const isNonzero = element.isNonzero(codes[at]!, stored?.zero?.[block] ?? 0);
        if (!isNonzero && fill <= 0) continue;
        if (!isNonzero) fill -= 1;
        putItem(words, valuePlace, element.bits, entry, codes[at]!);
        if (!together) putItem(words, indexPlace, groupBits / n, entry, at);
        mask |= 1 << at;
        entry += 1;
      }
      if (together) putItem(words, indexPlace, groupBits, first / m, choiceCode(mask, n, m));
    }
    return words;
  }

  function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
    const parts = partsOf(spec);
    const { n, m, together, groupBits, values: of } = parts;
    const element = elementOf(of);
    const grid = gridOf(of);
    const layout = sections(spec, shape);
    const stored = grid === null ? null : decodeGrid(grid, shape, layout, words);
    const scaleColumns = grid === null ? elementsIn(shape) : groupColumns(grid, shape);
    const [valuePlace, indexPlace] = [sectionOf(layout, "values"), sectionOf(layout, "index")];
    const dense = new Float32Array(elementsIn(shape));
    const entries = entryCount(parts, shape);
    const values = decodeItems(element, getItems(words, valuePlace, element.bits, entries));
    const positions = together
      ? chosenPositions(getItems(words, indexPlace, groupBits, elementsIn(shape) / m), n, m)
      : getItems(words, indexPlace, groupBits / n, entries);
    for (let entry = 0, first = 0; entry < entries; first += m) {
      // The groups of a scale are of multiples of m columns, so m neighbours have one.
      const block = Math.floor(first / scaleColumns);
      const scale = stored?.scale[block] ?? 1;
      const zero = stored?.zero?.[block] ?? 0;
      for (const end = entry + n; entry < end; entry += 1) {
        const index = first + positions[entry]!;
        const value = values[entry]!;
        dense[index] = stored === null ? value : Math.fround(value - zero) * scale;
      }
    }
    return dense;
  }

  function unit(spec: FormatSpec, shape: Shape): Unit | null {
    const { n, m, together, groupBits, values } = partsOf(spec);
    const grid = gridOf(values);
    const scaleColumns = grid === null ? shape.columns : groupColumns(grid, shape);
    const density = n / m;
    const columns = unitColumns(
      elementOf(values).bits * density,
      // the positions of a group may lie in two words
      together ? [] : [groupBits / m],
      [shape.columns, scaleColumns],
    );
    return columns === null || columns % m !== 0 ? null : { columns, entries: columns * density, scaleColumns };
  }

  /** Eight groups, whose first and second entries and positions are taken out of a word each. */
  function spread(spec: FormatSpec): Spread | null {
    const { n, m, together, values } = partsOf(spec);
    const { bits, integer } = elementOf(values);
    const isTaken = n === 2 && m === 4 && !together && bits === 4 && integer && gridOf(values)?.symmetric === true;
    return isTaken ? { columns: 32, sections: { values: "entries", index: "positions" } } : null;
  }

  return {
    name: "nm",
    example: "nm(2, 4) of f16",
    parameters,
    normalize,
    packsOnHost: false,
    elementwise: true,
    complete(spec, _shape, _dense, grid) {
      const { values } = partsOf(spec);
      return grid === null ? spec : { ...spec, of: fitScales(values, gridOf(values), scaleRange(grid.scale)) };
    },
    check,
    pattern: (spec) => ({ kind: "nm", n: partsOf(spec).n, m: partsOf(spec).m }),
    grid: (spec) => gridOf(partsOf(spec).values),
    sections,
    encode,
    decode,
    unit,
    spread,
    element: null,
    dense: null,
  };
}
