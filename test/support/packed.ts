/** Packed weights with their dense values, the same at each run. */
import { completeFormat, formatOfSpec, scaleShape } from "../../compiler/formats/registry.js";
import { roundF16 } from "../../compiler/formats/half.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { parseFormat } from "./format-text.js";

/** A packed tensor: its words, and the values that they decode to. */
export interface Packed {
  readonly spec: FormatSpec;
  readonly words: Uint32Array;
  readonly dense: Float32Array;
}

/** Every kind of format that a weight comes in, as it is written. Groups are small, so that rows have several. */
export const weightFormats = [
  "f32", "f16", "bf16", "int4(32)", "int4(8, asymmetric)", "int4(channel)", "int8(16)", "int8(channel, asymmetric)", "int8(8, scale: f32)",
  "nm(2, 4) of f32", "nm(2, 4) of f16", "nm(1, 4) of f16", "nm(4, 8) of f16", "nm(2, 4) of int4(32)", "nm(2, 4) of int4(16, asymmetric)",
  "nm(1, 4) of int8(16)", "nm(4, 8) of int4(32)", "nm(2, 4) of int8(channel)", "bitmask of f16", "bitmask of f32",
  "q8_0", "q4_0", "q4_1", "q6_k",
] as const;

/** Why a tensor of this many columns cannot be stored so, or null. */
export function formatFault(text: string, rows: number, columns: number): string | null {
  const spec = parseFormat(text);
  return formatOfSpec(spec).check(spec, { rows, columns });
}

/** Values between -1 and 1 without structure, the same for the same seed. */
export function numbers(count: number, seed: number): Float32Array {
  let state = (Math.imul(seed, 7919) + 17) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A random tensor in a format: of n:m formats some groups have fewer values, of a bitmask some rows have none. */
export function packed(text: string, rows: number, columns: number, seed: number): Packed {
  const written = parseFormat(text);
  const shape = { rows, columns };
  const format = formatOfSpec(written);
  const pattern = format.pattern(written);
  const chance = numbers(rows * columns, seed + 1);
  const values = numbers(rows * columns, seed);
  if (pattern?.kind === "masked") for (let at = 0; at < values.length; at++) if (chance[at]! < (Math.floor(at / columns) % 3) - 1) values[at] = 0;
  if (pattern?.kind === "nm") {
    for (let group = 0; group < values.length; group += pattern.m) {
      const order = Array.from({ length: pattern.m }, (_, at) => group + at).sort((a, b) => chance[a]! - chance[b]!);
      const kept = group % 5 === 0 ? pattern.n - 1 : pattern.n;
      for (const at of order.slice(kept)) values[at] = 0;
    }
  }
  const spec = completeFormat(written, values);
  const grid = format.grid(spec);
  const groups = scaleShape(spec, shape);
  const count = groups === null ? 0 : groups.rows * groups.columns;
  const steps = grid === null ? 1 : (grid.high - grid.low) / 2;
  const scale = numbers(count, seed + 2).map((value) => roundF16((1.5 + value) / steps));
  const zero = numbers(count, seed + 3).map((value) => Math.round(steps + value));
  const words = format.encode(spec, shape, values, grid === null ? null : { scale, zero: grid.symmetric ? null : zero });
  return { spec, words, dense: format.decode(spec, shape, words) };
}
