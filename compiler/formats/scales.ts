/**
 * The scales and zero points of a quantised format: one per row and group of columns, row-major, without padding
 * between rows. Scales are items of their type in the section "scales", zero points codes or f16 in "zeros". Scales of f16
 * are rounded to its 11 significant bits, whatever their size, and stored times 2^shift (`fit.ts` finds it). Scales of int8
 * are whole multiples, -127 to 127, of a step for each row, an f32 of 11 significant bits in section "steps".
 */
import { InternalError } from "../diagnostic.js";
import { roundF16, roundHalfEven, roundSignificand } from "../float.js";
import { decodeItems, plainElements, scaleElements } from "./element.js";
import { mostHalf } from "./fit.js";
import type { Grid, GridValues, Section, Shape } from "./format.js";
import { getItems, newWords, putItem, sectionOf, wordsFor } from "./layout.js";

/** Columns that share a scale. */
export function groupColumns(grid: Grid, shape: Shape): number {
  return grid.group === "channel" ? shape.columns : grid.group;
}

/** Groups in a row. */
export function groupsPerRow(grid: Grid, shape: Shape): number {
  return shape.columns / groupColumns(grid, shape);
}

/** Bits of a stored scale. */
export function scaleBits(grid: Grid): number {
  return scaleElements[grid.scale].element.bits;
}

/** Bits of a stored zero point. */
export function zeroBits(grid: Grid): number {
  return grid.zero === "f16" ? 16 : grid.bits;
}

/** A zero point as it is stored: a code, or a normal f16 or zero. */
export function roundZero(grid: Grid, zero: number): number {
  if (grid.zero === "code") return Math.min(Math.max(roundHalfEven(zero), grid.low), grid.high);
  return Math.abs(zero) < 2 ** -14 ? 0 : roundF16(Math.min(Math.max(zero, -mostHalf), mostHalf));
}

/** The lengths of the sections that a grid adds. */
export function gridSections(
  grid: Grid | null,
  shape: Shape,
): readonly { readonly name: string; readonly words: number }[] {
  if (grid === null) return [];
  const groups = shape.rows * groupsPerRow(grid, shape);
  const scales = { name: "scales", words: wordsFor(groups, scaleBits(grid)) };
  return [
    scales,
    ...(grid.symmetric ? [] : [{ name: "zeros", words: wordsFor(groups, zeroBits(grid)) }]),
    ...(grid.scale === "int8" ? [{ name: "steps", words: shape.rows }] : []),
  ];
}

/** A scale as it is stored by itself, without a step: to the significant bits of its type, 11 for f16. */
export function roundScale(grid: Grid, scale: number): number {
  return roundSignificand(scale, scaleElements[grid.scale].digits);
}

/** What the largest scale of a row is multiplied by to have its step: then it has the code 127. */
export const stepFactor = Math.fround(1 / 127);

/** The step of the scales of each row where they are codes, else null. Times a code it is exact in f32. */
function stepsOf(grid: Grid, shape: Shape, scales: Float32Array): Float32Array | null {
  if (grid.scale !== "int8") return null;
  const perRow = groupsPerRow(grid, shape);
  return Float32Array.from({ length: shape.rows }, (_, row) => {
    const own = scales.subarray(row * perRow, (row + 1) * perRow);
    return roundSignificand(
      Math.fround(own.reduce((most, scale) => Math.max(most, Math.abs(scale)), 0) * stepFactor),
      11,
    );
  });
}

function codeOfScale(scale: number, step: number): number {
  return step === 0 ? 0 : roundHalfEven(Math.fround(scale / step));
}

/** Scales as they are stored. */
export function roundScales(grid: Grid, shape: Shape, scales: Float32Array): Float32Array {
  const steps = stepsOf(grid, shape, scales);
  if (steps === null) return scales.map((scale) => roundScale(grid, scale));
  const perRow = groupsPerRow(grid, shape);
  return scales.map((scale, group) => {
    const step = steps[Math.floor(group / perRow)]!;
    return codeOfScale(scale, step) * step;
  });
}

/**
 * Writes scales and zero points, and gives them back as they are stored. Throws an Error naming the index of a scale
 * that is not finite, or that the format cannot hold.
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
  const scale = new Float32Array(groups);
  const zero = grid.symmetric ? null : new Float32Array(groups);
  const steps = stepsOf(grid, shape, values.scale);
  if (steps !== null)
    words.set(new Uint32Array(steps.buffer, steps.byteOffset, steps.length), sectionOf(sections, "steps").offset);
  for (let group = 0; group < groups; group += 1) {
    const step = steps?.[Math.floor(group / perRow)] ?? null;
    scale[group] = putScale(grid, perRow, sectionOf(sections, "scales"), words, group, values.scale[group]!, step);
    if (zero !== null) {
      zero[group] = roundZero(grid, values.zero![group]!);
      if (!Number.isFinite(zero[group]!))
        throw new Error(
          `The zero point of row ${Math.floor(group / perRow)}, group ${group % perRow} is ${values.zero![group]!}.`,
        );
      const bits = grid.zero === "f16" ? plainElements.f16.encode(zero[group]!, 1, 0) : zero[group]!;
      putItem(words, sectionOf(sections, "zeros"), zeroBits(grid), group, bits);
    }
  }
  return { scale, zero };
}

/** Writes the scale of a group, and gives it as it is stored. */
function putScale(
  grid: Grid,
  perRow: number,
  section: Section,
  words: Uint32Array,
  group: number,
  scale: number,
  step: number | null,
): number {
  const { element } = scaleElements[grid.scale];
  const code = step === null ? null : codeOfScale(scale, step);
  const rounded = step === null || code === null ? roundScale(grid, scale) : code * step;
  const bits = element.encode(code ?? rounded * 2 ** grid.shift, 1, 0);
  if (!Number.isFinite(rounded) || (code === null && element.decode(bits) / 2 ** grid.shift !== rounded))
    throw new Error(
      `The scale of row ${Math.floor(group / perRow)}, group ${group % perRow} is ${scale}, which ${grid.scale}${grid.shift === 0 ? "" : ` with a shift of ${grid.shift}`} cannot hold.`,
    );
  putItem(words, section, element.bits, group, bits);
  return rounded;
}

/**
 * The words of a tensor whose scales are to be stored otherwise, from those that were packed with the same scales:
 * codes, positions and zero points stay, for they were made with scales as they are rounded and not as they are stored.
 */
export function withScales(
  words: Uint32Array,
  from: readonly Section[],
  to: { readonly grid: Grid; readonly shape: Shape; readonly sections: readonly Section[] },
  scales: Float32Array,
): Uint32Array<ArrayBuffer> {
  const result = newWords(to.sections);
  for (const section of to.sections) {
    const { offset } = sectionOf(from, section.name);
    if (section.name !== "scales") result.set(words.subarray(offset, offset + section.words), section.offset);
  }
  const perRow = groupsPerRow(to.grid, to.shape);
  scales.forEach((scale, group) =>
    putScale(to.grid, perRow, sectionOf(to.sections, "scales"), result, group, scale, null),
  );
  return result;
}

/** The scales and zero points that words hold. */
export function decodeGrid(grid: Grid, shape: Shape, sections: readonly Section[], words: Uint32Array): GridValues {
  const groups = shape.rows * groupsPerRow(grid, shape);
  const { element } = scaleElements[grid.scale];
  const scales = sectionOf(sections, "scales");
  const stored = decodeItems(element, getItems(words, scales, element.bits, groups));
  const scale = grid.shift === 0 ? stored : stored.map((value) => value / 2 ** grid.shift);
  if (grid.scale === "int8") {
    const { offset } = sectionOf(sections, "steps");
    const steps = new Float32Array(words.slice(offset, offset + shape.rows).buffer);
    const perRow = groupsPerRow(grid, shape);
    stored.forEach((code, group) => (scale[group] = code * steps[Math.floor(group / perRow)]!));
  }
  if (grid.symmetric) return { scale, zero: null };
  const zeros = sectionOf(sections, "zeros");
  const items = getItems(words, zeros, zeroBits(grid), groups);
  return { scale, zero: grid.zero === "f16" ? decodeItems(plainElements.f16, items) : Float32Array.from(items) };
}
