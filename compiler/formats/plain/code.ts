/** How kernels read and write the formats that store every element. */
import { InternalError } from "../../diagnostic.js";
import { add, mul, sub } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type {
  Build,
  CodeReader,
  ElementCode,
  FormatCode,
  HalfReader,
  PackSource,
  Stored,
  WordReader,
} from "../code/code.js";
import { nibbleHalves } from "../code/halves.js";
import { codeFactor, elementCodes, elementWords } from "../code/codes.js";
import { modulo, packItems, quotient, readItem, readUnit, unitField } from "../code/layout.js";
import { gridSource, packGrid, readGrid } from "../code/scales.js";
import type { Format, Grid, Shape } from "../format.js";
import { elementsIn, sectionOf } from "../layout.js";
import { groupColumns } from "../scales.js";

/** The code of a format that `plainFormat` made, from that of its elements. */
export function plainCode(format: Format, element: (spec: FormatSpec) => ElementCode): FormatCode {
  function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
    const one = element(spec);
    const grid = format.grid(spec);
    const parts = format.sections(spec, shape);
    const index = read.bind("index", add(mul(row, shape.columns), column));
    const value = one.read(read, readItem(read, sectionOf(parts, "values"), one.bits, index));
    if (grid === null) return value;
    const { scale, zero } = readGrid(grid, shape, parts, read, row, column);
    return mul(zero === null ? value : sub(value, zero), scale);
  }

  function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
    const size = format.unit(spec, shape);
    if (size === null) throw new InternalError(`${spec.name} has no units at ${shape.columns} columns`);
    const one = element(spec);
    const grid = format.grid(spec);
    const parts = format.sections(spec, shape);
    const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
    const words = readUnit(read, sectionOf(parts, "values"), one.bits * size.columns, index);
    const values = unitValues(one, read, words, size.entries);
    const entries = values.map((value, column) => ({ column, value }));
    if (grid === null) return { entries, scale: null, zero: null };
    return { entries, ...readGrid(grid, shape, parts, read, row, mul(at, size.columns)) };
  }

  function packed(
    spec: FormatSpec,
    shape: Shape,
    build: Build,
    section: string,
    word: Expr,
    source: PackSource,
  ): Expr | null {
    const one = element(spec);
    const grid = format.grid(spec);
    if (section !== "values") return grid === null ? null : packGrid(grid, shape, build, section, word, source);
    const sourceAt = gridOfWord(grid, shape, build, source, 32 % one.bits === 0 ? 32 / one.bits : Infinity);
    return packItems(build, one.bits, elementsIn(shape), word, (index) => {
      const row = build.bind("row", quotient(index, shape.columns));
      const column = build.bind("column", modulo(index, shape.columns));
      const { scale, zero } = sourceAt(row, column);
      return one.write(build, build.bind("value", source.value(row, column)), scale, zero);
    });
  }

  function halves(spec: FormatSpec): HalfReader | null {
    const grid = format.grid(spec);
    if (grid === null || grid.zero !== "code" || element(spec).bits !== 4 || !element(spec).integer) return null;
    return {
      distance: 4,
      columns: 8,
      read(_spec, shape, read, row, piece, count) {
        const parts = format.sections(spec, shape);
        const index = read.bind("piece", add(mul(row, shape.columns / count), piece));
        const words = readUnit(read, sectionOf(parts, "values"), 4 * count, index);
        const own = { grid, ...readGrid(grid, shape, parts, read, row, mul(piece, count)) };
        return words.flatMap((word) => nibbleHalves(read, word, own));
      },
      spread: null,
    };
  }

  return { locate, stored, packed, element, halves, codes: plainCodes(format, element) };
}

/** Units of integers as they stand. */
function plainCodes(format: Format, element: (spec: FormatSpec) => ElementCode): CodeReader {
  return {
    layout(spec, shape) {
      const size = format.unit(spec, shape);
      const grid = format.grid(spec);
      const { bits, integer } = element(spec);
      // a zero point that is not whole may need more digits than its sum with half of the range has
      if (!integer || size === null || grid === null || grid.zero !== "code" || (bits !== 4 && bits !== 8)) return null;
      if ((bits * size.columns) % 32 !== 0) return null;
      return { words: elementWords(bits, size.entries), dense: true, zero: !grid.symmetric, factor: codeFactor(bits) };
    },
    read(spec, shape, read, row, at) {
      const size = format.unit(spec, shape);
      const grid = format.grid(spec);
      const { bits } = element(spec);
      if (size === null || grid === null || (bits !== 4 && bits !== 8))
        throw new InternalError(`${spec.name} has no codes at ${shape.columns} columns`);
      const parts = format.sections(spec, shape);
      const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
      const words = readUnit(read, sectionOf(parts, "values"), bits * size.columns, index);
      const held = readGrid(grid, shape, parts, read, row, mul(at, size.columns));
      return { ...elementCodes(read, bits, grid.symmetric, words, held), positions: null };
    },
  };
}

/** The values of the first `count` items of the words of a unit. */
export function unitValues(element: ElementCode, build: Build, words: readonly Expr[], count: number): readonly Expr[] {
  if (32 % element.bits !== 0)
    return upTo(count).map((at) => element.read(build, build.bind("item", unitField(words, element.bits, at))));
  const perWord = 32 / element.bits;
  return words.flatMap((word, at) => element.readAll(build, word, Math.min(perWord, count - at * perWord)));
}

/**
 * The grid of the elements of one word, read once where `wordColumns` columns never cross a group; nulls where there is
 * none.
 */
export function gridOfWord(
  grid: Grid | null,
  shape: Shape,
  build: Build,
  source: PackSource,
  wordColumns: number,
): (row: Expr, column: Expr) => { readonly scale: Expr | null; readonly zero: Expr | null } {
  if (grid === null) return () => ({ scale: null, zero: null });
  const shared = groupColumns(grid, shape) % wordColumns === 0;
  let first: { readonly scale: Expr; readonly zero: Expr | null } | null = null;
  return (row, column) => {
    if (first !== null && shared) return first;
    first = gridSource(grid, shape, build, source, row, column);
    return first;
  };
}
