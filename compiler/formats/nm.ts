/**
 * `nm(n, m) of V`: of every m neighbours of a row, n entries with their positions. V is f32, f16, bf16, int8 or int4.
 *
 * Groups of m columns are numbered along the rows, without padding between rows. Entry e = group * n + j is item e of
 * section "values" (as V stores it), its position in the group item e of log2(m) bits of section "index"; positions
 * rise with j. V's scales and zero points follow, per group of dense columns.
 *
 * The entries are the elements whose stored value is not zero. A group that has fewer than n is filled with explicit
 * zeros at the lowest free positions. (-0.0 counts as zero: its sign is kept only where it fills.)
 */
import { InternalError } from "../diagnostic.js";
import {
  add,
  and,
  bitAnd,
  bitOr,
  equal,
  f32,
  less,
  mul,
  or,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../kernel/build.js";
import type { Expr } from "../kernel/kernel.js";
import type { FormatSpec } from "../types/type.js";
import { normalizeArguments } from "./arguments.js";
import { f32Format, f16Format, bf16Format } from "./dense.js";
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
import { int4Format, int8Format } from "./integer.js";
import {
  elementCount,
  getItems,
  modulo,
  newWords,
  placeSections,
  putItem,
  quotient,
  range,
  readItem,
  readUnit,
  sectionOf,
  unitColumns,
  unitField,
  wordsFor,
} from "./layout.js";
import { gridOfWord, storedGrid, unitValues } from "./plain.js";
import { decodeGrid, gridSections, groupColumns, packGrid, packItems, readGrid } from "./scales.js";

const parameters: readonly FormatParameter[] = [
  { kind: "number", name: "n", words: [] },
  { kind: "number", name: "m", words: [] },
];

const valueFormats: readonly Format[] = [f32Format, f16Format, bf16Format, int8Format, int4Format];

/** The facts of a normalized spec: n of m, the bits of a position, and V. */
interface Parts {
  readonly n: number;
  readonly m: number;
  readonly positionBits: number;
  readonly values: FormatSpec;
}

function partsOf(spec: FormatSpec): Parts {
  const { n, m } = spec.args;
  if (typeof n !== "number" || typeof m !== "number" || spec.of === null)
    throw new InternalError("an nm format that is not normalized");
  return { n, m, positionBits: Math.log2(m), values: spec.of };
}

function normalize(spec: FormatSpec): FormatSpec | string {
  const own = normalizeArguments(spec, parameters);
  if (typeof own === "string") return own;
  const { n, m } = own.args;
  if (typeof n !== "number" || (m !== 2 && m !== 4 && m !== 8))
    return `The m of nm(n, m) must be 2, 4 or 8, and is ${String(m)}.`;
  if (n >= m) return `The n of nm(n, m) must be less than m, and nm(${n}, ${m}) is not.`;
  const values = valueFormats.find((format) => format.name === spec.of?.name);
  if (spec.of === null || values === undefined)
    return `nm(${n}, ${m}) needs \`of\` one of ${valueFormats.map((format) => format.name).join(", ")}.`;
  const of = values.normalize(spec.of);
  return typeof of === "string" ? of : { ...own, of };
}

function check(spec: FormatSpec, shape: Shape): string | null {
  const { m, values } = partsOf(spec);
  if (shape.columns % m !== 0) return `K = ${shape.columns} is not a multiple of ${m}`;
  return valueFormats.find((format) => format.name === values.name)?.check(values, shape) ?? null;
}

/** The number of stored entries. */
function entryCount({ n, m }: Parts, shape: Shape): number {
  return (elementCount(shape) / m) * n;
}

function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
  const parts = partsOf(spec);
  const entries = entryCount(parts, shape);
  return placeSections([
    { name: "values", words: wordsFor(entries, elementOf(parts.values).bits) },
    { name: "index", words: wordsFor(entries, parts.positionBits) },
    ...gridSections(gridOf(parts.values), shape),
  ]);
}

function encode(
  spec: FormatSpec,
  shape: Shape,
  dense: Float32Array,
  values: GridValues | null,
): Uint32Array<ArrayBuffer> {
  const { n, m, positionBits, values: of } = partsOf(spec);
  const element = elementOf(of);
  const grid = gridOf(of);
  const layout = sections(spec, shape);
  const words = newWords(layout);
  const stored = storedGrid(of, shape, layout, words, values);
  const scaleColumns = grid === null ? elementCount(shape) : groupColumns(grid, shape);
  const [valuePlace, indexPlace] = [sectionOf(layout, "values"), sectionOf(layout, "index")];
  const codes = new Array<number>(m).fill(0);
  for (let first = 0, entry = 0; first < dense.length; first += m) {
    let nonzeros = 0;
    let held = 0;
    for (let at = 0; at < m; at += 1) {
      const value = dense[first + at]!;
      const block = stored === null ? 0 : Math.floor((first + at) / scaleColumns);
      const zero = stored?.zero?.[block] ?? 0;
      const code = element.encode(value, stored?.scale[block] ?? 1, zero);
      codes[at] = code;
      if (value !== 0) nonzeros += 1;
      if (element.holds(code, zero)) held += 1;
    }
    if (nonzeros > n) {
      const row = Math.floor(first / shape.columns);
      const column = first % shape.columns;
      throw new Error(
        `Row ${row} has ${nonzeros} values other than zero in columns ${column} to ${column + m - 1}; nm(${n}, ${m}) holds at most ${n} of every ${m}.`,
      );
    }
    for (let at = 0, fill = n - held; at < m; at += 1) {
      const block = stored === null ? 0 : Math.floor((first + at) / scaleColumns);
      const holds = element.holds(codes[at]!, stored?.zero?.[block] ?? 0);
      if (!holds && fill <= 0) continue;
      if (!holds) fill -= 1;
      putItem(words, valuePlace, element.bits, entry, codes[at]!);
      putItem(words, indexPlace, positionBits, entry, at);
      entry += 1;
    }
  }
  return words;
}

function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
  const parts = partsOf(spec);
  const { n, m, positionBits, values: of } = parts;
  const element = elementOf(of);
  const grid = gridOf(of);
  const layout = sections(spec, shape);
  const stored = grid === null ? null : decodeGrid(grid, shape, layout, words);
  const scaleColumns = grid === null ? elementCount(shape) : groupColumns(grid, shape);
  const [valuePlace, indexPlace] = [sectionOf(layout, "values"), sectionOf(layout, "index")];
  const dense = new Float32Array(elementCount(shape));
  const entries = entryCount(parts, shape);
  const values = decodeItems(element, getItems(words, valuePlace, element.bits, entries));
  const positions = getItems(words, indexPlace, positionBits, entries);
  for (let entry = 0, first = 0; entry < entries; first += m) {
    // The groups of a scale are of multiples of 8 columns, so m neighbours have one.
    const block = Math.floor(first / scaleColumns);
    const scale = stored?.scale[block] ?? 1;
    const zero = stored?.zero?.[block] ?? 0;
    for (const end = entry + n; entry < end; entry += 1) {
      const place = first + positions[entry]!;
      const value = values[entry]!;
      dense[place] = stored === null ? value : Math.fround(value - zero) * scale;
    }
  }
  return dense;
}

function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
  const { n, m, positionBits, values } = partsOf(spec);
  const element = elementOf(values);
  const grid = gridOf(values);
  const layout = sections(spec, shape);
  const group = read.bind("group", add(mul(row, shape.columns / m), quotient(column, m)));
  const position = read.bind("position", modulo(column, m));
  const positions = readPositions(read, sectionOf(layout, "index"), n, positionBits, group);
  const here = positions.map((candidate) => read.bind("here", equal(candidate, position)));
  const which = here.reduceRight<Expr>((otherwise, found, j) => select(found, u32(j), otherwise), u32(0));
  const found = here.reduce((a, b) => or(a, b));
  const entry = read.bind("entry", add(mul(group, n), which));
  const value = element.read(readItem(read, sectionOf(layout, "values"), element.bits, entry));
  if (grid === null) return select(found, value, f32(0));
  const { scale, zero } = readGrid(grid, shape, layout, read, row, column);
  return select(found, mul(zero === null ? value : sub(value, zero), scale), f32(0));
}

/** The n positions of a group. */
function readPositions(read: WordReader, section: Section, n: number, bits: number, group: Expr): readonly Expr[] {
  if (32 % (n * bits) === 0) {
    const field = read.bind("index", readItem(read, section, n * bits, group));
    return range(n).map((j) => bitAnd(shiftRight(field, j * bits), 2 ** bits - 1));
  }
  // The fields of a group may straddle two words; the second is only looked at if it exists.
  const bit = read.bind("bit", mul(group, n * bits));
  const word = read.bind("word", shiftRight(bit, 5));
  const low = read.bind("low", read.word(section, word));
  const high = read.bind(
    "high",
    read.word(section, read.bind("next", select(less(word, section.words - 1), add(word, 1), word))),
  );
  const offset = read.bind("offset", bitAnd(bit, 31));
  // Shifted in two steps: by 32 a shift would be none.
  const field = read.bind("index", bitOr(shiftRight(low, offset), shiftLeft(shiftLeft(high, 1), sub(u32(31), offset))));
  return range(n).map((j) => bitAnd(shiftRight(field, j * bits), 2 ** bits - 1));
}

function unit(spec: FormatSpec, shape: Shape): Unit | null {
  const { n, m, positionBits, values } = partsOf(spec);
  const grid = gridOf(values);
  const scaleColumns = grid === null ? shape.columns : groupColumns(grid, shape);
  const density = n / m;
  const columns = unitColumns(
    elementOf(values).bits * density,
    [positionBits * density],
    [shape.columns, scaleColumns],
  );
  return columns === null || columns % m !== 0 ? null : { columns, entries: columns * density, scaleColumns };
}

function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
  const { n, m, positionBits, values } = partsOf(spec);
  const size = unit(spec, shape);
  if (size === null)
    throw new InternalError(`nm(${n}, ${m}) of ${values.name} has no units at ${shape.columns} columns`);
  const grid = gridOf(values);
  const layout = sections(spec, shape);
  const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
  const words = readUnit(read, sectionOf(layout, "values"), elementOf(values).bits * size.entries, index);
  const positions = readUnit(read, sectionOf(layout, "index"), positionBits * size.entries, index);
  const entries = unitValues(values, read, words, size.entries).map((value, entry) => {
    const position = unitField(positions, positionBits, entry);
    return { column: add(position, Math.floor(entry / n) * m), value };
  });
  if (grid === null) return { entries, scale: null, zero: null };
  return { entries, ...readGrid(grid, shape, layout, read, row, mul(at, size.columns)) };
}

/** What a group of m dense elements stores: per element its bits, whether it is an entry, and which. */
interface PackedGroup {
  readonly codes: readonly Expr[];
  readonly kept: readonly Expr[];
  readonly rank: readonly Expr[];
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
  const { n, m, positionBits, values } = parts;
  const element = elementOf(values);
  const grid = gridOf(values);
  if (section !== "values" && section !== "index")
    return grid === null ? null : packGrid(grid, shape, build, section, word, source);
  if (section === "index") {
    return packFields(build, n * positionBits, elementCount(shape) / m, word, (group) => {
      const elements = packGroup(parts, shape, build, source, group);
      const fields = range(n).map((j) =>
        shiftLeft(
          chosen(
            elements,
            j,
            range(m).map((at) => u32(at)),
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
  // The items of a word lie in groups that do not depend on the word where one number divides the other.
  if (count % perWord === 0 && (perWord % n === 0 || n % perWord === 0)) {
    const groupsAWord = Math.max(perWord / n, 1);
    const wordsAGroup = Math.max(n / perWord, 1);
    const firstGroup = build.bind("group", n > perWord ? quotient(word, wordsAGroup) : mul(word, groupsAWord));
    const firstEntry = mul(modulo(word, wordsAGroup), perWord);
    const groups = range(groupsAWord).map((at) => packGroup(parts, shape, build, source, add(firstGroup, at)));
    const items = range(perWord).map((at) => {
      const elements = groups[Math.floor(at / n)] ?? groups[0]!;
      return shiftLeft(chosen(elements, n > perWord ? add(firstEntry, at) : at % n, elements.codes), at * element.bits);
    });
    return build.bind(
      "packed",
      items.reduce((a, b) => bitOr(a, b)),
    );
  }
  return packItems(build, element.bits, count, word, (entry) => {
    const elements = packGroup(parts, shape, build, source, quotient(entry, n));
    return chosen(elements, modulo(entry, n), elements.codes);
  });
}

/** Decides which of the m elements of a group are entries. */
function packGroup({ n, m, values }: Parts, shape: Shape, build: Build, source: PackSource, group: Expr): PackedGroup {
  const element = elementOf(values);
  const row = build.bind("row", quotient(group, shape.columns / m));
  const first = build.bind("column", mul(modulo(group, shape.columns / m), m));
  // A group of m never crosses a group of the grid, whose columns are a multiple of 8 or the row.
  const { scale, zero } = gridOfWord(values, shape, build, source, m)(row, first);
  const codes = range(m).map((at) =>
    element.write(build, build.bind("value", source.value(row, add(first, at))), scale, zero),
  );
  const holds = codes.map((code) => build.bind("holds", element.holdsExpr(code, zero)));
  const held = holds.map((flag) => select(flag, u32(1), u32(0))).reduce((a, b) => add(a, b));
  const fill = build.bind("fill", sub(u32(n), select(less(held, n), held, u32(n))));
  const kept: Expr[] = [];
  const rank: Expr[] = [];
  let zerosBefore: Expr = u32(0);
  let keptBefore: Expr = u32(0);
  for (const flag of holds) {
    const keeps = build.bind("keeps", or(flag, less(zerosBefore, fill)));
    kept.push(keeps);
    rank.push(keptBefore);
    zerosBefore = build.bind("zeros", add(zerosBefore, select(flag, u32(0), u32(1))));
    keptBefore = build.bind("kept", add(keptBefore, select(keeps, u32(1), u32(0))));
  }
  return { codes, kept, rank };
}

/** Of `each` (one per element of the group) that of entry `entry`; 0 if there is none. */
function chosen(elements: PackedGroup, entry: number | Expr, each: readonly Expr[]): Expr {
  return each.reduce<Expr>(
    (rest, value, at) => select(and(elements.kept[at]!, equal(elements.rank[at]!, entry)), value, rest),
    u32(0),
  );
}

/** Word `word` of a section of `count` fields of `bits` bits that may straddle words. */
function packFields(build: Build, bits: number, count: number, word: Expr, field: (index: Expr) => Expr): Expr {
  if (32 % bits === 0) return packItems(build, bits, count, word, field);
  const firstBit = build.bind("bit", mul(word, 32));
  const first = build.bind("field", quotient(firstBit, bits));
  // Of the first field the lowest `cut` bits stand in the word before.
  const cut = build.bind("cut", sub(firstBit, mul(first, bits)));
  const parts = range(Math.ceil((bits - 1 + 32) / bits)).map((at) => {
    const index = build.bind("item", add(first, at));
    const within = less(index, count);
    const value = field(build.bind("item", select(within, index, u32(count - 1))));
    if (at === 0) return select(within, shiftRight(value, cut), u32(0));
    const shift = build.bind("shift", sub(u32(at * bits), cut));
    return select(and(within, less(shift, 32)), shiftLeft(value, shift), u32(0));
  });
  return build.bind(
    "packed",
    parts.reduce((a, b) => bitOr(a, b)),
  );
}

export const nmFormat: Format = {
  name: "nm",
  parameters,
  normalize,
  packsOnHost: false,
  elementwise: true,
  complete(spec, _dense, grid) {
    const { values } = partsOf(spec);
    return grid === null ? spec : { ...spec, of: fitScales(values, gridOf(values), scaleRange(grid.scale)) };
  },
  check,
  pattern: (spec) => ({ kind: "nm", n: partsOf(spec).n, m: partsOf(spec).m }),
  grid: (spec) => gridOf(partsOf(spec).values),
  sections,
  encode,
  decode,
  locate,
  unit,
  stored,
  packed,
};
