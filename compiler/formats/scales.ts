/**
 * The scales and zero points of a quantised format: one per row and group of columns, row-major, without padding
 * between rows. Scales are f16 or f32 items of the section "scales", zero points items of 4 or 8 bits of "zeros".
 */
import { InternalError } from "../diagnostic.js";
import { add, bitOr, call, convert, f32, less, mul, round, roundF16, select, shiftLeft, u32 } from "../kernel/build.js";
import { roundHalfEven } from "../kernel/fold.js";
import type { Expr } from "../kernel/kernel.js";
import { decodeItems, plainElements } from "./element.js";
import type { Build, Grid, GridValues, PackSource, Section, Shape, WordReader } from "./format.js";
import { getItems, modulo, putItem, quotient, range, readItem, sectionOf, wordsFor } from "./layout.js";

/** Columns that share a scale. */
export function groupColumns(grid: Grid, shape: Shape): number {
  return grid.group === "channel" ? shape.columns : grid.group;
}

/** Groups in a row. */
export function groupsPerRow(grid: Grid, shape: Shape): number {
  return shape.columns / groupColumns(grid, shape);
}

function scaleBits(grid: Grid): 16 | 32 {
  return grid.scale === "f16" ? 16 : 32;
}

/** The lengths of the sections that a grid adds. */
export function gridSections(
  grid: Grid | null,
  shape: Shape,
): readonly { readonly name: string; readonly words: number }[] {
  if (grid === null) return [];
  const groups = shape.rows * groupsPerRow(grid, shape);
  const scales = { name: "scales", words: wordsFor(groups, scaleBits(grid)) };
  return grid.symmetric ? [scales] : [scales, { name: "zeros", words: wordsFor(groups, grid.bits) }];
}

/**
 * Writes scales and zero points, and gives them back as they are stored. Throws an Error naming the place of a scale
 * that is not finite.
 */
export function encodeGrid(
  grid: Grid,
  shape: Shape,
  sections: readonly Section[],
  words: Uint32Array,
  values: GridValues,
): GridValues {
  const perRow = groupsPerRow(grid, shape);
  const groups = shape.rows * perRow;
  if (values.scale.length !== groups)
    throw new InternalError(`${groups} scales are needed, ${values.scale.length} are given`);
  if (!grid.symmetric && values.zero?.length !== groups)
    throw new InternalError(`${groups} zero points are needed, ${values.zero?.length ?? 0} are given`);
  const element = plainElements[grid.scale];
  const scale = new Float32Array(groups);
  const zero = grid.symmetric ? null : new Float32Array(groups);
  const scales = sectionOf(sections, "scales");
  for (let group = 0; group < groups; group += 1) {
    const bits = element.encode(values.scale[group]!, 1, 0);
    scale[group] = element.decode(bits);
    if (!Number.isFinite(scale[group]!))
      throw new Error(
        `The scale of row ${Math.floor(group / perRow)}, group ${group % perRow} is ${values.scale[group]!}, which ${grid.scale} cannot hold.`,
      );
    putItem(words, scales, element.bits, group, bits);
    if (zero !== null) {
      zero[group] = Math.min(Math.max(roundHalfEven(values.zero![group]!), grid.low), grid.high);
      putItem(words, sectionOf(sections, "zeros"), grid.bits, group, zero[group]!);
    }
  }
  return { scale, zero };
}

/** The scales and zero points that words hold. */
export function decodeGrid(grid: Grid, shape: Shape, sections: readonly Section[], words: Uint32Array): GridValues {
  const groups = shape.rows * groupsPerRow(grid, shape);
  const element = plainElements[grid.scale];
  const scales = sectionOf(sections, "scales");
  const scale = decodeItems(element, getItems(words, scales, element.bits, groups));
  if (grid.symmetric) return { scale, zero: null };
  const zeros = sectionOf(sections, "zeros");
  return { scale, zero: Float32Array.from(getItems(words, zeros, grid.bits, groups)) };
}

/** Scale and zero point (null where symmetric) of the group that `column` of `row` lies in, f32 locals. */
export function readGrid(
  grid: Grid,
  shape: Shape,
  sections: readonly Section[],
  read: WordReader,
  row: Expr,
  column: Expr,
): { readonly scale: Expr; readonly zero: Expr | null } {
  const group =
    grid.group === "channel"
      ? row
      : read.bind("group", add(mul(row, groupsPerRow(grid, shape)), quotient(column, groupColumns(grid, shape))));
  const scale = read.bind(
    "scale",
    plainElements[grid.scale].read(readItem(read, sectionOf(sections, "scales"), scaleBits(grid), group)),
  );
  if (grid.symmetric) return { scale, zero: null };
  const code = readItem(read, sectionOf(sections, "zeros"), grid.bits, group);
  return { scale, zero: read.bind("zero", convert("f32", modulo(code, 2 ** grid.bits))) };
}

/**
 * Scale and zero point of a group as they will be stored: the scale rounded to its type, the zero point to an integer
 * of the grid.
 */
export function gridSource(
  grid: Grid,
  shape: Shape,
  build: Build,
  source: PackSource,
  row: Expr,
  column: Expr,
): { readonly scale: Expr; readonly zero: Expr | null } {
  const group = grid.group === "channel" ? u32(0) : quotient(column, groupColumns(grid, shape));
  return {
    scale: storedScale(grid, build, source.scale(row, group)),
    zero: grid.symmetric ? null : storedZero(grid, build, source.zero(row, group)),
  };
}

function storedScale(grid: Grid, build: Build, scale: Expr): Expr {
  return build.bind("scale", grid.scale === "f16" ? roundF16(scale) : scale);
}

function storedZero(grid: Grid, build: Build, zero: Expr): Expr {
  return build.bind("zero", call("clamp", [round(zero), f32(grid.low), f32(grid.high)]));
}

/** Word `word` of "scales" or "zeros"; null for another section. */
export function packGrid(
  grid: Grid,
  shape: Shape,
  build: Build,
  section: string,
  word: Expr,
  source: PackSource,
): Expr | null {
  if (section !== "scales" && section !== "zeros") return null;
  const bits = section === "scales" ? scaleBits(grid) : grid.bits;
  const perRow = groupsPerRow(grid, shape);
  return packItems(build, bits, shape.rows * perRow, word, (index) => {
    const row = build.bind("row", quotient(index, perRow));
    const group = modulo(index, perRow);
    if (section === "scales") return plainElements[grid.scale].write(build, source.scale(row, group), null, null);
    return convert("u32", storedZero(grid, build, source.zero(row, group)));
  });
}

/** Word `word` of a section of `count` items of `bits` bits, a divisor of 32. Items beyond the end are zero. */
export function packItems(build: Build, bits: number, count: number, word: Expr, item: (index: Expr) => Expr): Expr {
  const perWord = 32 / bits;
  const whole = count % perWord === 0;
  const parts = range(perWord).map((at) => {
    const index = build.bind("item", add(mul(word, perWord), at));
    if (whole) return shiftLeft(item(index), at * bits);
    const within = less(index, count);
    return select(
      within,
      shiftLeft(item(build.bind("item", select(within, index, u32(count - 1)))), at * bits),
      u32(0),
    );
  });
  return build.bind(
    "packed",
    parts.reduce((all, part) => bitOr(all, part)),
  );
}
