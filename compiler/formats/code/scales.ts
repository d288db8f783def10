/** Reading and writing the scales and zero points of a grid, which lie as `scales.ts` says. */
import {
  abs,
  add,
  bitcast,
  call,
  convert,
  div,
  equal,
  f32,
  less,
  mul,
  round,
  select,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Grid, Section, Shape } from "../format.js";
import { sectionOf } from "../layout.js";
import { mostHalf } from "../fit.js";
import { scaleElements } from "../element.js";
import { groupColumns, groupsPerRow, scaleBits, stepFactor, zeroBits } from "../scales.js";
import type { Build, PackSource, WordReader } from "./code.js";
import { plainElementCodes, scaleElementCodes } from "./element.js";
import { f16BitsExpr, roundSignificandExpr } from "./half.js";
import { modulo, packItems, quotient, readItem } from "./layout.js";

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
  const place = sectionOf(sections, "scales");
  const stored =
    grid.scale === "f16" && read.half !== null
      ? read.half(place, group)
      : scaleElementCodes[grid.scale].read(read, readItem(read, place, scaleBits(grid), group));
  const factor =
    grid.scale === "int8"
      ? bitcast("f32", read.word(sectionOf(sections, "steps"), row))
      : grid.shift === 0
        ? null
        : f32(2 ** -grid.shift);
  const scale = read.bind("scale", factor === null ? stored : mul(stored, factor));
  if (grid.symmetric) return { scale, zero: null };
  const code = readItem(read, sectionOf(sections, "zeros"), zeroBits(grid), group);
  if (grid.zero === "f16") return { scale, zero: read.bind("zero", plainElementCodes.f16.read(read, code)) };
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
    scale: storedScale(grid, shape, build, source, row, group),
    zero: grid.symmetric ? null : storedZero(grid, build, source.zero(row, group)),
  };
}

function storedScale(grid: Grid, shape: Shape, build: Build, source: PackSource, row: Expr, group: Expr): Expr {
  if (grid.scale === "int8") {
    const { code, step } = codedScale(grid, shape, build, source, row, group);
    return build.bind("scale", mul(code, step));
  }
  return build.bind("scale", roundSignificandExpr(build, source.scale(row, group), scaleElements[grid.scale].digits));
}

/** The step of the scales of a row, which are codes. */
function stepOf(grid: Grid, shape: Shape, build: Build, source: PackSource, row: Expr): Expr {
  const most = source.mostScale(row, groupsPerRow(grid, shape));
  return build.bind("step", roundSignificandExpr(build, mul(most, f32(stepFactor))));
}

/** A scale that is a code, and its step. */
function codedScale(
  grid: Grid,
  shape: Shape,
  build: Build,
  source: PackSource,
  row: Expr,
  group: Expr,
): { readonly code: Expr; readonly step: Expr } {
  const step = stepOf(grid, shape, build, source, row);
  const none = equal(step, 0);
  const steps = div(source.scale(row, group), select(none, f32(1), step));
  return { code: build.bind("code", round(select(none, f32(0), steps))), step };
}

function storedZero(grid: Grid, build: Build, zero: Expr): Expr {
  if (grid.zero === "f16") {
    const within = build.bind("zero", call("clamp", [zero, f32(-mostHalf), f32(mostHalf)]));
    // no subnormals, which a device may read as zero
    return build.bind("zero", select(less(abs(within), f32(2 ** -14)), f32(0), roundSignificandExpr(build, within)));
  }
  return build.bind("zero", call("clamp", [round(zero), f32(grid.low), f32(grid.high)]));
}

/** Word `word` of "scales", "zeros" or "steps"; null for another section. */
export function packGrid(
  grid: Grid,
  shape: Shape,
  build: Build,
  section: string,
  word: Expr,
  source: PackSource,
): Expr | null {
  if (section === "steps")
    return packItems(build, 32, shape.rows, word, (row) => bitcast("u32", stepOf(grid, shape, build, source, row)));
  if (section !== "scales" && section !== "zeros") return null;
  const bits = section === "scales" ? scaleBits(grid) : zeroBits(grid);
  const perRow = groupsPerRow(grid, shape);
  return packItems(build, bits, shape.rows * perRow, word, (index) => {
    const row = build.bind("row", quotient(index, perRow));
    const group = modulo(index, perRow);
    if (section === "scales") {
      const scale =
        grid.scale === "int8" ? codedScale(grid, shape, build, source, row, group).code : source.scale(row, group);
      // exact, and f16 then rounds as it would round the scale: to 11 bits
      const shifted = grid.shift === 0 ? scale : mul(scale, f32(2 ** grid.shift));
      return scaleElementCodes[grid.scale].write(build, shifted, null, null);
    }
    if (grid.zero === "f16") return f16BitsExpr(build, storedZero(grid, build, source.zero(row, group)));
    return convert("u32", storedZero(grid, build, source.zero(row, group)));
  });
}
