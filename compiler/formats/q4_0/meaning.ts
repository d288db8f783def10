/**
 * q4_0 of GGUF: 32 columns in 18 bytes: f16 d, then 16 bytes; the low half of byte j is the code of column j, the high
 * half that of column j + 16. value = d * (code - 8).
 * Packing: d = m / -8 in f32, m the value of largest magnitude, the first of equals; code = x / d + 8.5 by the
 * reciprocal
 * of d before d is rounded, truncated, at most 15.
 */
import { add, bitAnd, call, component, convert, f32, mul, shiftLeft, shiftRight, sub } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { blockFormat, reciprocal, storedHalf, type BlockReader } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits } from "../../float.js";
import { range } from "../layout.js";

export const q4_0Format: Format = blockFormat({
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
  locate: (read, column) =>
    mul(sub(nibbleAt(read, 2, column), f32(8)), component(call("unpack2x16float", [read.half(0)]), 0)),
  stored: (read) => ({
    entries: nibbleEntries(read.words(2, 4, "before")),
    scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
    zero: f32(8),
  }),
});

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

/** The code of a column (u32), f32. */
export function nibbleAt(read: BlockReader, at: number, column: Expr): Expr {
  const byte = read.byte(add(bitAnd(column, 15), at));
  return convert("f32", bitAnd(shiftRight(byte, shiftLeft(shiftRight(column, 4), 2)), 15));
}

/** The codes of all columns, from the four words that hold them. */
export function nibbleEntries(words: readonly Expr[]): readonly { readonly column: number; readonly value: Expr }[] {
  return range(32).map((column) => {
    const byte = column & 15;
    return {
      column,
      value: convert("f32", bitAnd(shiftRight(words[byte >> 2]!, (byte & 3) * 8 + (column < 16 ? 0 : 4)), 15)),
    };
  });
}
