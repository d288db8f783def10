/** How kernels read and write `nm(n, m) of V`. */
import { InternalError } from "../../diagnostic.js";
import {
  add,
  and,
  bitAnd,
  bitOr,
  equal,
  f32,
  less,
  min,
  mul,
  or,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../../kernel/build.js";
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
  SpreadReader,
  Stored,
  WordReader,
} from "../code/code.js";
import {
  nibbleGroups,
  nibbleHalves,
  spreadNibbles,
  spreadPairs,
  type NibbleGroups,
  type PieceGrid,
} from "../code/halves.js";
import { codeFactor, elementCodes, elementWords } from "../code/codes.js";
import { modulo, packItems, quotient, readItem, readPair, readUnit, unitField } from "../code/layout.js";
import { packGrid, readGrid } from "../code/scales.js";
import type { DenseType, Format, Grid, Shape } from "../format.js";
import { elementsIn, sectionOf } from "../layout.js";
import { gridOfWord, unitValues } from "../plain/code.js";
import { choiceNumber, chosenOf, fieldsOf, placeAt } from "../code/places.js";
import { entryCount, partsOf } from "./meaning.js";

/** The code of that format; `elementOf` gives that of the values, `denseOf` their type where they are just numbers. */
export function nmCode(
  format: Format,
  elementOf: (values: FormatSpec) => ElementCode,
  denseOf: (values: FormatSpec) => DenseType | null,
): FormatCode {
  function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
    const parts = partsOf(spec);
    const { n, m, values } = parts;
    const element = elementOf(values);
    const grid = format.grid(spec);
    const layout = format.sections(spec, shape);
    const group = read.bind("group", add(mul(row, shape.columns / m), quotient(column, m)));
    const position = read.bind("position", modulo(column, m));
    const { which, found } = placeAt(read, sectionOf(layout, "index"), parts, group, position);
    const entry = read.bind("entry", add(mul(group, n), which));
    const value = element.read(read, readItem(read, sectionOf(layout, "values"), element.bits, entry));
    if (grid === null) return select(found, value, f32(0));
    const { scale, zero } = readGrid(grid, shape, layout, read, row, column);
    return select(found, mul(zero === null ? value : sub(value, zero), scale), f32(0));
  }

  function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
    const { n, m, together, groupBits, values } = partsOf(spec);
    const size = format.unit(spec, shape);
    if (size === null)
      throw new InternalError(`nm(${n}, ${m}) of ${values.name} has no units at ${shape.columns} columns`);
    const grid = format.grid(spec);
    const layout = format.sections(spec, shape);
    const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
    const words = readUnit(read, sectionOf(layout, "values"), elementOf(values).bits * size.entries, index);
    const groups = size.columns / m;
    const positionOf = together
      ? chosenOf(read, sectionOf(layout, "index"), n, m, mul(index, groups), groups)
      : fieldsOf(readUnit(read, sectionOf(layout, "index"), groupBits * groups, index), groupBits / n);
    const entries = unitValues(elementOf(values), read, words, size.entries).map((value, entry) => ({
      column: add(positionOf(entry), Math.floor(entry / n) * m),
      value,
    }));
    if (grid === null) return { entries, scale: null, zero: null };
    return { entries, ...readGrid(grid, shape, layout, read, row, mul(at, size.columns)) };
  }

  function packed(
    spec: FormatSpec,
    shape: Shape,
    build: Build,
    section: string,
    word: Expr,
    source: PackSource,
  ): Expr | null {
    const parts = partsOf(spec);
    const { n, m, together, groupBits, values } = parts;
    const element = elementOf(values);
    const grid = format.grid(spec);
    if (section !== "values" && section !== "index")
      return grid === null ? null : packGrid(grid, shape, build, section, word, source);
    if (section === "index") {
      return packItems(build, groupBits, elementsIn(shape) / m, word, (group) => {
        const elements = packGroup(spec, shape, build, source, group);
        if (together) return choiceNumber(build, elements.kept, n);
        const positionBits = groupBits / n;
        const fields = upTo(n).map((j) =>
          shiftLeft(
            chosen(
              elements,
              j,
              upTo(m).map((at) => u32(at)),
            ),
            j * positionBits,
          ),
        );
        return build.bind(
          "positions",
          fields.reduce((a, b) => bitOr(a, b)),
        );
      });
    }
    const perWord = 32 / element.bits;
    const count = entryCount(parts, shape);
    if (!Number.isInteger(perWord)) {
      // the items of a word, and parts of items, lie in a few groups, of which the first depends on the word
      const last = elementsIn(shape) / m - 1;
      const firstGroup = build.bind("group", quotient(quotient(mul(word, 32), element.bits), n));
      const groups = upTo(Math.ceil(Math.ceil(perWord) / n) + 1).map((at) =>
        packGroup(spec, shape, build, source, build.bind("group", min(add(firstGroup, at), last))),
      );
      return packItems(build, element.bits, count, word, (entry) => {
        const group = build.bind("within", sub(quotient(entry, n), firstGroup));
        const rank = build.bind("rank", modulo(entry, n));
        return build.bind(
          "code",
          groups
            .map((elements) => chosen(elements, rank, elements.codes))
            .reduceRight((rest, code, at) => select(equal(group, at), code, rest)),
        );
      });
    }
    // The items of a word lie in groups that do not depend on the word where one number divides the other.
    if (count % perWord === 0 && (perWord % n === 0 || n % perWord === 0)) {
      const groupsAWord = Math.max(perWord / n, 1);
      const wordsAGroup = Math.max(n / perWord, 1);
      const firstGroup = build.bind("group", n > perWord ? quotient(word, wordsAGroup) : mul(word, groupsAWord));
      const firstEntry = mul(modulo(word, wordsAGroup), perWord);
      const groups = upTo(groupsAWord).map((at) => packGroup(spec, shape, build, source, add(firstGroup, at)));
      const items = upTo(perWord).map((at) => {
        const elements = groups[Math.floor(at / n)] ?? groups[0]!;
        return shiftLeft(
          chosen(elements, n > perWord ? add(firstEntry, at) : at % n, elements.codes),
          at * element.bits,
        );
      });
      return build.bind(
        "packed",
        items.reduce((a, b) => bitOr(a, b)),
      );
    }
    return packItems(build, element.bits, count, word, (entry) => {
      const elements = packGroup(spec, shape, build, source, quotient(entry, n));
      return chosen(elements, modulo(entry, n), elements.codes);
    });
  }

  /** Decides which of the m elements of a group are entries. */
  function packGroup(spec: FormatSpec, shape: Shape, build: Build, source: PackSource, group: Expr): PackedGroup {
    const { n, m, values } = partsOf(spec);
    const element = elementOf(values);
    const row = build.bind("row", quotient(group, shape.columns / m));
    const first = build.bind("column", mul(modulo(group, shape.columns / m), m));
    // A group of m never crosses a group of the grid, whose columns are a multiple of 8 or the row.
    const { scale, zero } = gridOfWord(format.grid(spec), shape, build, source, m)(row, first);
    const codes = upTo(m).map((at) =>
      element.write(build, build.bind("value", source.value(row, add(first, at))), scale, zero),
    );
    const isNonzero = codes.map((code) => build.bind("holds", element.isNonzero(code, zero)));
    const nonzeros = isNonzero.map((flag) => select(flag, u32(1), u32(0))).reduce((a, b) => add(a, b));
    const fill = build.bind("fill", sub(u32(n), select(less(nonzeros, n), nonzeros, u32(n))));
    const kept: Expr[] = [];
    const rank: Expr[] = [];
    let zerosBefore: Expr = u32(0);
    let keptBefore: Expr = u32(0);
    for (const flag of isNonzero) {
      const keeps = build.bind("keeps", or(flag, less(zerosBefore, fill)));
      kept.push(keeps);
      rank.push(keptBefore);
      zerosBefore = build.bind("zeros", add(zerosBefore, select(flag, u32(0), u32(1))));
      keptBefore = build.bind("kept", add(keptBefore, select(keeps, u32(1), u32(0))));
    }
    return { codes, kept, rank };
  }

  function halves(spec: FormatSpec): HalfReader | null {
    const { n, m, together, values } = partsOf(spec);
    const { bits, integer } = elementOf(values);
    const grid = format.grid(spec);
    if (n !== 2 || m !== 4 || together) return null;
    if (bits === 4 && integer && grid !== null) return nibbleReader(grid, format.spread?.(spec)?.columns ?? null);
    if (denseOf(values) !== "f16") return null;
    return {
      distance: 4,
      columns: 8,
      read(_spec, shape, read, row, piece, count) {
        const layout = format.sections(spec, shape);
        const index = read.bind("piece", add(mul(row, shape.columns / count), piece));
        const words = readUnit(read, sectionOf(layout, "values"), 8 * count, index);
        const positions = readUnit(read, sectionOf(layout, "index"), count, index);
        return upTo(count / 8).flatMap((at) => {
          const [a, b] = [words[2 * at]!, words[2 * at + 1]!];
          const first = read.bind("first", bitOr(bitAnd(a, 0xffff), shiftLeft(b, 16)));
          const second = read.bind("second", bitOr(shiftRight(a, 16), bitAnd(b, 0xffff0000)));
          const two = unitField(positions, 8, at);
          const spread = read.bind("spread", bitOr(bitAnd(two, 0xf), shiftLeft(bitAnd(two, 0xf0), 12)));
          return spreadPairs(read, first, second, spread, 0);
        });
      },
      spread: null,
    };
  }

  /** 2:4 of codes of four bits. */
  function nibbleReader(grid: Grid, spreadColumns: number | null): HalfReader {
    type Read = HalfReader["read"];
    const partsOfPiece = (...[spec, shape, read, row, piece, count]: Parameters<Read>) => {
      const layout = format.sections(spec, shape);
      const index = read.bind("piece", add(mul(row, shape.columns / count), piece));
      const words = readUnit(read, sectionOf(layout, "values"), 2 * count, index);
      const positions = readPair(read, sectionOf(layout, "index"), count, index);
      const own = { grid, ...readGrid(grid, shape, layout, read, row, mul(piece, count)) };
      return { words, positions, own };
    };
    const halvesOfGroups = (read: WordReader, groups: NibbleGroups, own: PieceGrid): readonly Expr[] => {
      const columns = spreadNibbles(read, groups).map((word) => nibbleHalves(read, word, own));
      return [0, 2, 1, 3].flatMap((pair) => columns.map((halves) => halves[pair]!));
    };
    const spread = (columns: number): SpreadReader => ({
      distance: 8,
      columns,
      read(...piece) {
        const read = piece[2];
        const { words, positions, own } = partsOfPiece(...piece);
        return positions.flatMap((some, at) =>
          halvesOfGroups(read, { first: words[2 * at]!, second: words[2 * at + 1]!, positions: some }, own),
        );
      },
    });
    return {
      distance: 8,
      columns: 16,
      read(...piece) {
        const read = piece[2];
        const { words, positions, own } = partsOfPiece(...piece);
        // without a code of zero there is no word for no entry
        if (words.length % 2 === 0 && grid.symmetric)
          return positions.flatMap((some, at) =>
            halvesOfGroups(read, nibbleGroups(read, words[2 * at]!, words[2 * at + 1]!, some), own),
          );
        return words.flatMap((word, at) => {
          // a word has the entries of four groups, of which 0 and 2, and 1 and 3, lie in two halves
          const [first, second, third, fourth] = nibbleHalves(read, word, own) as [Expr, Expr, Expr, Expr];
          const four = unitField(positions, 16, at);
          const pairs = read.bind("spread", bitOr(bitAnd(four, 0xff), shiftLeft(bitAnd(four, 0xff00), 8)));
          return [...spreadPairs(read, first, second, pairs, 0), ...spreadPairs(read, third, fourth, pairs, 4)];
        });
      },
      spread: spreadColumns === null ? null : spread(spreadColumns),
    };
  }

  return { locate, stored, packed, element: null, halves, codes: nmCodes(format, elementOf) };
}

/** Units of 2:4 integers: two neighbours of their entries are a group's, and its positions a nibble. */
function nmCodes(format: Format, elementOf: (values: FormatSpec) => ElementCode): CodeReader {
  return {
    layout(spec, shape) {
      const { n, m, together, values } = partsOf(spec);
      const size = format.unit(spec, shape);
      const grid = format.grid(spec);
      const { bits, integer } = elementOf(values);
      if (!integer || together) return null;
      if (n !== 2 || m !== 4 || size === null || grid === null || (bits !== 4 && bits !== 8)) return null;
      if ((bits * size.entries) % 32 !== 0 || size.columns % 32 !== 0) return null;
      return { words: elementWords(bits, size.entries), dense: false, zero: !grid.symmetric, factor: codeFactor(bits) };
    },
    read(spec, shape, read, row, at) {
      const { m, groupBits, values } = partsOf(spec);
      const size = format.unit(spec, shape);
      const grid = format.grid(spec);
      const { bits } = elementOf(values);
      if (size === null || grid === null || (bits !== 4 && bits !== 8))
        throw new InternalError(`${values.name} has no codes at ${shape.columns} columns`);
      const layout = format.sections(spec, shape);
      const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
      const words = readUnit(read, sectionOf(layout, "values"), bits * size.entries, index);
      const positions = readPair(read, sectionOf(layout, "index"), (groupBits * size.columns) / m, index);
      const held = readGrid(grid, shape, layout, read, row, mul(at, size.columns));
      return { ...elementCodes(read, bits, grid.symmetric, words, held), positions };
    },
  };
}

/** What a group of m dense elements stores: per element its bits, whether it is an entry, and which. */
interface PackedGroup {
  readonly codes: readonly Expr[];
  readonly kept: readonly Expr[];
  readonly rank: readonly Expr[];
}

/** Of `each` (one per element of the group) that of entry `entry`; 0 if there is none. */
function chosen(elements: PackedGroup, entry: number | Expr, each: readonly Expr[]): Expr {
  return each.reduce<Expr>(
    (rest, value, at) => select(and(elements.kept[at]!, equal(elements.rank[at]!, entry)), value, rest),
    u32(0),
  );
}
