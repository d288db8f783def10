/**
 * q4_1 of GGUF: 32 columns in 20 bytes: f16 d, f16 m, then 16 bytes of codes as in q4_0. value = d * code + m.
 * Packing: d = (max - min) / 15 in f32, m = min; code = (x - min) / d + 0.5 by the reciprocal of d before d is rounded,
 * truncated, at most 15.
 */
import { blockFormat, reciprocal, storedHalf, type BlockLayout } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits } from "../../float.js";
import { getNibble, putNibbles } from "../q4_0/meaning.js";

export const q4_1Layout: BlockLayout = {
  name: "q4_1",
  columns: 32,
  bytes: 20,
  unitColumns: 32,
  encode(values, bytes) {
    const min = values.reduce((least, value) => Math.min(least, value), Infinity);
    const max = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const d = Math.fround(Math.fround(max - min) / 15);
    const inverse = reciprocal(d);
    bytes.setUint16(0, storedHalf("scale", d), true);
    bytes.setUint16(2, storedHalf("minimum", min), true);
    putNibbles(bytes, 4, values, (value) => Math.fround(Math.fround(Math.fround(value - min) * inverse) + 0.5));
  },
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    const m = f16FromBits(bytes.getUint16(2, true));
    for (let at = 0; at < 32; at += 1) values[at] = d * getNibble(bytes, 4, at) + m;
  },
};

export const q4_1Format: Format = blockFormat(q4_1Layout);
