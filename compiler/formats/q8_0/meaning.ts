/**
 * q8_0 of GGUF: 32 columns in 34 bytes: f16 d, then 32 signed bytes q. value = d * q.
 * Packing: d = max|x| / 127 in f32; q = x / d by the reciprocal of d before d is rounded, to nearest, halves away from
 * zero.
 */
import { blockFormat, reciprocal, storedHalf, type BlockLayout } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits } from "../../float.js";

export const q8_0Layout: BlockLayout = {
  name: "q8_0",
  columns: 32,
  bytes: 34,
  unitColumns: 32,
  encode(values, bytes) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const d = Math.fround(largest / 127);
    const inverse = reciprocal(d);
    bytes.setUint16(0, storedHalf("scale", d), true);
    for (const [at, value] of values.entries()) {
      const steps = Math.fround(value * inverse);
      bytes.setInt8(2 + at, Math.sign(steps) * Math.floor(Math.abs(steps) + 0.5));
    }
  },
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    for (let at = 0; at < 32; at += 1) values[at] = d * bytes.getInt8(2 + at);
  },
};

export const q8_0Format: Format = blockFormat(q8_0Layout);
