/**
 * The formats that store every element: section "values" holds element [row, column] as item row * columns + column,
 * with a grid beside it for integers. `dense.ts` and `integer.ts` give them their names and arguments.
 */
import { InternalError } from "../diagnostic.js";
import { add, mul, sub } from "../kernel/build.js";
import type { Expr } from "../kernel/kernel.js";
import type { FormatSpec } from "../types/type.js";
import { decodeItems, elementOf, gridOf } from "./element.js";
import { fitScales, scaleRange } from "./fit.js";
import type {
  Build,
  Format,
  FormatParameter,
  GridValues,
  PackSource,
  Section,
  Shape,
  Stored,
  Unit,
  WordReader,
} from "./format.js";
import {
  elementCount,
  getItems,
  modulo,
  newWords,
  placeSections,
  putItem,
  quotient,
  readItem,
  readUnit,
  sectionOf,
  unitColumns,
  wordsFor,
} from "./layout.js";
import {
  decodeGrid,
  encodeGrid,
  gridSections,
  gridSource,
  groupColumns,
  packGrid,
  packItems,
  readGrid,
} from "./scales.js";

/** Makes such a format. `normalize` and `check` are about its arguments; the rest follows from its element and grid. */
export function plainFormat(
  name: string,
  parameters: readonly FormatParameter[],
  normalize: Format["normalize"],
  check: Format["check"],
): Format {
  return {
    name,
    parameters,
    normalize,
    check,
    packsOnHost: false,
    elementwise: true,
    complete: (spec, _dense, grid) => (grid === null ? spec : fitScales(spec, gridOf(spec), scaleRange(grid.scale))),
    pattern: () => null,
    grid: gridOf,
    sections,
    encode,
    decode,
    locate,
    unit,
    stored,
    packed,
  };
}

function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
  return placeSections([
    { name: "values", words: wordsFor(elementCount(shape), elementOf(spec).bits) },
    ...gridSections(gridOf(spec), shape),
  ]);
}

function encode(
  spec: FormatSpec,
  shape: Shape,
  dense: Float32Array,
  values: GridValues | null,
): Uint32Array<ArrayBuffer> {
  const element = elementOf(spec);
  const grid = gridOf(spec);
  const parts = sections(spec, shape);
  const words = newWords(parts);
  const stored = storedGrid(spec, shape, parts, words, values);
  const group = grid === null ? shape.columns : groupColumns(grid, shape);
  const place = sectionOf(parts, "values");
  for (let index = 0, at = 0; index < dense.length; at += 1) {
    const scale = stored?.scale[at] ?? 1;
    const zero = stored?.zero?.[at] ?? 0;
    for (const end = index + group; index < end; index += 1)
      putItem(words, place, element.bits, index, element.encode(dense[index]!, scale, zero));
  }
  return words;
}

/** Writes the grid of a spec that has one, and gives it as stored. */
export function storedGrid(
  spec: FormatSpec,
  shape: Shape,
  parts: readonly Section[],
  words: Uint32Array,
  values: GridValues | null,
): GridValues | null {
  const grid = gridOf(spec);
  if (grid === null) return null;
  if (values === null) throw new InternalError(`${spec.name} needs a scale`);
  return encodeGrid(grid, shape, parts, words, values);
}

function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
  const element = elementOf(spec);
  const grid = gridOf(spec);
  const parts = sections(spec, shape);
  const stored = grid === null ? null : decodeGrid(grid, shape, parts, words);
  const group = grid === null ? shape.columns : groupColumns(grid, shape);
  const place = sectionOf(parts, "values");
  const dense = decodeItems(element, getItems(words, place, element.bits, elementCount(shape)));
  if (stored === null) return dense;
  for (let index = 0, at = 0; index < dense.length; at += 1) {
    const scale = stored.scale[at]!;
    const zero = stored.zero?.[at] ?? 0;
    for (const end = index + group; index < end; index += 1) dense[index] = Math.fround(dense[index]! - zero) * scale;
  }
  return dense;
}

function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
  const element = elementOf(spec);
  const grid = gridOf(spec);
  const parts = sections(spec, shape);
  const index = read.bind("index", add(mul(row, shape.columns), column));
  const value = element.read(readItem(read, sectionOf(parts, "values"), element.bits, index));
  if (grid === null) return value;
  const { scale, zero } = readGrid(grid, shape, parts, read, row, column);
  return mul(zero === null ? value : sub(value, zero), scale);
}

function unit(spec: FormatSpec, shape: Shape): Unit | null {
  const grid = gridOf(spec);
  const scaleColumns = grid === null ? shape.columns : groupColumns(grid, shape);
  const columns = unitColumns(elementOf(spec).bits, [], [shape.columns, scaleColumns]);
  return columns === null ? null : { columns, entries: columns, scaleColumns };
}

function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
  const size = unit(spec, shape);
  if (size === null) throw new InternalError(`${spec.name} has no units at ${shape.columns} columns`);
  const element = elementOf(spec);
  const grid = gridOf(spec);
  const parts = sections(spec, shape);
  const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
  const words = readUnit(read, sectionOf(parts, "values"), element.bits * size.columns, index);
  const values = unitValues(spec, read, words, size.entries);
  const entries = values.map((value, column) => ({ column, value }));
  if (grid === null) return { entries, scale: null, zero: null };
  return { entries, ...readGrid(grid, shape, parts, read, row, mul(at, size.columns)) };
}

/** The values of the first `count` items of the words of a unit. */
export function unitValues(spec: FormatSpec, build: Build, words: readonly Expr[], count: number): readonly Expr[] {
  const element = elementOf(spec);
  const perWord = 32 / element.bits;
  return words.flatMap((word, at) => element.readAll(build, word, Math.min(perWord, count - at * perWord)));
}

function packed(
  spec: FormatSpec,
  shape: Shape,
  build: Build,
  section: string,
  word: Expr,
  source: PackSource,
): Expr | null {
  const element = elementOf(spec);
  const grid = gridOf(spec);
  if (section !== "values") return grid === null ? null : packGrid(grid, shape, build, section, word, source);
  const sourceAt = gridOfWord(spec, shape, build, source, 32 / element.bits);
  return packItems(build, element.bits, elementCount(shape), word, (index) => {
    const row = build.bind("row", quotient(index, shape.columns));
    const column = build.bind("column", modulo(index, shape.columns));
    const { scale, zero } = sourceAt(row, column);
    return element.write(build, build.bind("value", source.value(row, column)), scale, zero);
  });
}

/**
 * The grid of the elements of one word, read once where `wordColumns` columns never cross a group; nulls where there is
 * none.
 */
export function gridOfWord(
  spec: FormatSpec,
  shape: Shape,
  build: Build,
  source: PackSource,
  wordColumns: number,
): (row: Expr, column: Expr) => { readonly scale: Expr | null; readonly zero: Expr | null } {
  const grid = gridOf(spec);
  if (grid === null) return () => ({ scale: null, zero: null });
  const shared = groupColumns(grid, shape) % wordColumns === 0;
  let first: { readonly scale: Expr; readonly zero: Expr | null } | null = null;
  return (row, column) => {
    if (first !== null && shared) return first;
    first = gridSource(grid, shape, build, source, row, column);
    return first;
  };
}
