/**
 * q8_0 of GGUF: 32 columns in 34 bytes: f16 d, then 32 signed bytes q. value = d * q.
 * Packing: d = max|x| / 127 in f32; q = x / d by the reciprocal of d before d is rounded, to nearest, halves away from
 * zero.
 */
import { add, call, component, mul } from "../../kernel/build.js";
import { blockFormat, reciprocal, signedByte, storedHalf } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits } from "../../float.js";
import { range } from "../layout.js";

export const q8_0Format: Format = blockFormat({
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
  locate(read, column) {
    const d = component(call("unpack2x16float", [read.half(0)]), 0);
    return mul(signedByte(read.byte(add(column, 2)), 0), d);
  },
  stored(read) {
    const words = read.words(2, 8, "before");
    return {
      entries: range(32).map((column) => ({ column, value: signedByte(words[column >> 2]!, column & 3) })),
      scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
      zero: null,
    };
  },
});
