/** Packed weights with their dense values, the same at each run. */
import { completeFormat, formatOfSpec, scaleShape } from "../../compiler/formats/registry.js";
import type { Format } from "../../compiler/formats/format.js";
import { roundF16 } from "../../compiler/float.js";
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
  "f32",
  "f16",
  "bf16",
  "int4(32)",
  "int4(8, asymmetric)",
  "int4(channel)",
  "int8(16)",
  "int8(channel, asymmetric)",
  "int8(8, scale: f32)",
  "nm(2, 4) of f32",
  "nm(2, 4) of f16",
  "nm(1, 4) of f16",
  "nm(4, 8) of f16",
  "nm(2, 4) of int4(32)",
  "nm(2, 4) of int4(16, asymmetric)",
  "nm(1, 4) of int8(16)",
  "nm(4, 8) of int4(32)",
  "nm(2, 4) of int8(channel)",
  "bitmask of f16",
  "bitmask of f32",
  "q8_0",
  "q4_0",
  "q4_1",
  "q6_k",
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

/** A random tensor in a format: some groups of an n:m format have fewer values, some rows of a bitmask have none. */
export function packed(text: string, rows: number, columns: number, seed: number): Packed {
  const values = numbers(rows * columns, seed);
  return packValues(
    text,
    rows,
    columns,
    values.map((value, at) => (at % 20 === 1 || Math.floor(at / columns) % 5 === 3 ? 0 : value)),
  );
}

/**
 * Dense values in a format: of n:m patterns the largest are kept, of a bitmask those above the mean size; scales map
 * the largest to the last code.
 */
export function packValues(text: string, rows: number, columns: number, given: Float32Array): Packed {
  const written = parseFormat(text);
  const shape = { rows, columns };
  const format = formatOfSpec(written);
  const values = prune(format.pattern(written), given);
  const spec = completeFormat(written, shape, values);
  const grid = format.grid(spec);
  const groups = scaleShape(spec, shape);
  if (grid === null || groups === null) {
    const words = format.encode(spec, shape, values, null);
    return { spec, words, dense: format.decode(spec, shape, words) };
  }
  const length = columns / groups.columns;
  const extent = Array.from({ length: groups.rows * groups.columns }, (_, at) => {
    const group = values.subarray(at * length, (at + 1) * length);
    return { low: Math.min(0, ...group), high: Math.max(0, ...group) };
  });
  const scale = Float32Array.from(extent, ({ low, high }) =>
    roundF16(Math.max(2 ** -14, grid.symmetric ? Math.max(-low, high) / grid.high : (high - low) / grid.high)),
  );
  const zero = grid.symmetric
    ? null
    : Float32Array.from(extent, ({ low }, at) => Math.min(grid.high, Math.round(-low / scale[at]!)));
  // how many entries a bitmask has is decided by the codes
  const whole = written.name === "bitmask" ? completeFormat(written, shape, values, { scale, zero }) : spec;
  const words = format.encode(whole, shape, values, { scale, zero });
  return { spec: whole, words, dense: format.decode(whole, shape, words) };
}

function prune(pattern: ReturnType<Format["pattern"]>, given: Float32Array): Float32Array {
  if (pattern === null) return given;
  const size = (at: number): number => Math.abs(given[at]!);
  if (pattern.kind === "masked") {
    const mean = given.reduce((sum, value) => sum + Math.abs(value), 0) / given.length;
    return given.map((value, at) => (size(at) > mean ? value : 0));
  }
  const { n, m } = pattern;
  const values = given.slice();
  for (let group = 0; group < values.length; group += m) {
    const order = Array.from({ length: m }, (_, at) => group + at).sort((a, b) => size(b) - size(a));
    for (const at of order.slice(n)) values[at] = 0;
  }
  return values;
}
