/**
 * How the scales of a tensor are stored: as f16 or fp8; where some lie outside of its normal range, 2^-14 to 65504 or 2^-6 to 448, as that
 * times one power of two for the whole tensor; and where none brings them all into that range, as f32. Subnormals of
 * f16 are avoided, as they have fewer digits and a device may read them as zero.
 * (`spec/decisions/0015-scales-of-any-size.md`)
 */
import type { FormatSpec } from "../types/type.js";
import type { Grid, ScaleType } from "./format.js";

/** The largest f16. */
export const mostHalf = 65504;

/** The smallest normal number and the largest one of the types that hold a part of all scales. */
const bounds: { readonly [T in ScaleType]: { readonly least: number; readonly most: number } | null } = {
  f16: { least: 2 ** -14, most: mostHalf },
  fp8_e4m3: { least: 2 ** -6, most: 448 },
  bf16: null,
  int8: null,
  f32: null,
};

/**
 * Shifts are multiples of it: tensors of one model then have few formats, and so share kernels. Scales that lie within
 * 22 of the 30 powers of two that f16 has always find one.
 */
const shiftStep = 8;
/** fp8_e4m3 has 14 powers of two. */
const smallShiftStep = 4;

/** The largest shift: the smallest normal f16 then stands for the smallest normal f32. */
export const mostShift = 112;

/** The smallest magnitude but zero of a tensor's scales, infinite where there is none, and the largest. */
export interface ScaleRange {
  readonly least: number;
  readonly most: number;
}

/** That of some scales. */
export function scaleRange(scales: Float32Array): ScaleRange {
  let [least, most] = [Infinity, 0];
  for (const scale of scales) {
    const size = Math.abs(scale);
    if (size > most) most = size;
    if (size !== 0 && size < least) least = size;
  }
  return { least, most };
}

/** Whether a grid can hold scales of this range, as they are once rounded, in numbers that every device reads. */
export function fitsScales(grid: Grid, { least, most }: ScaleRange): boolean {
  const factor = 2 ** grid.shift;
  const bound = bounds[grid.scale];
  return bound === null || (least * factor >= bound.least && most * factor <= bound.most);
}

/**
 * An integer spec with its scales stored so that they fit: as it is where they do, else with the smallest shift, else
 * with scales of f32. Of scales that are not finite the spec stays, and `encode` refuses.
 */
export function fitScales(spec: FormatSpec, grid: Grid | null, range: ScaleRange): FormatSpec {
  if (grid === null || !Number.isFinite(range.most) || fitsScales(grid, range)) return spec;
  const { shift: _, ...args } = spec.args;
  const largest = bounds[grid.scale]?.most ?? Infinity;
  const step = grid.scale === "f16" ? shiftStep : smallShiftStep;
  for (let shift = 0; range.most * 2 ** shift <= largest && shift <= mostShift; shift += step)
    if (fitsScales({ ...grid, shift }, range)) return { ...spec, args: shift === 0 ? args : { ...args, shift } };
  return wideScales(spec);
}

/** The spec with the scales of its grid in f32, which holds any. */
export function wideScales(spec: FormatSpec): FormatSpec {
  const { shift: _, ...args } = spec.args;
  return {
    ...spec,
    args: args["group"] === undefined ? args : { ...args, scale: "f32" },
    of: spec.of === null ? null : wideScales(spec.of),
  };
}
