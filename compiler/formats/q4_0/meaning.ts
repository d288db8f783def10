/**
 * q4_0 of GGUF: 32 columns in 18 bytes: f16 d, then 16 bytes; the low half of byte j is the code of column j, the high
 * half that of column j + 16. value = d * (code - 8).
 * Packing: d = m / -8 in f32, m the value of largest magnitude, the first of equals; code = x / d + 8.5 by the
 * reciprocal
 * of d before d is rounded, truncated, at most 15.
 */
import { blockFormat, reciprocal, storedHalf, type BlockLayout } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits } from "../../float.js";

export const q4_0Layout: BlockLayout = {
  name: "q4_0",
  columns: 32,
  bytes: 18,
  unitColumns: 32,
  encode(values, bytes) {
    const extreme = values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const d = Math.fround(extreme / -8);
    const inverse = reciprocal(d);
    bytes.setUint16(0, storedHalf("scale", d), true);
    putNibbles(bytes, 2, values, (value) => Math.fround(Math.fround(value * inverse) + 8.5));
  },
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    for (let at = 0; at < 32; at += 1) values[at] = d * (getNibble(bytes, 2, at) - 8);
  },
};

export const q4_0Format: Format = blockFormat(q4_0Layout);

/** Codes 0 .. 15 of 32 columns from byte `at` on: truncated, at most 15. */
export function putNibbles(bytes: DataView, at: number, values: Float32Array, code: (value: number) => number): void {
  const codes = Array.from(values, (value) => Math.min(15, Math.trunc(code(value))));
  for (let j = 0; j < 16; j += 1) bytes.setUint8(at + j, codes[j]! | (codes[j + 16]! << 4));
}

/** The code of a column. */
export function getNibble(bytes: DataView, at: number, column: number): number {
  const byte = bytes.getUint8(at + (column & 15));
  return column < 16 ? byte & 15 : byte >> 4;
}
