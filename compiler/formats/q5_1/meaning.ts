/**
 * q5_1 of GGUF: 32 columns in 24 bytes: f16 d, f16 m, then upper and lower bits of the codes as in q5_0. value = d * code +
 * m.
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";
import { getNibble } from "../q4_0/meaning.js";

export const q5_1Layout: BlockLayout = {
  name: "q5_1",
  columns: 32,
  bytes: 24,
  unitColumns: 32,
  encode: null,
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    const m = f16FromBits(bytes.getUint16(2, true));
    const upper = bytes.getUint32(4, true);
    for (let at = 0; at < 32; at += 1) values[at] = d * (getNibble(bytes, 8, at) | (((upper >>> at) & 1) << 4)) + m;
  },
};

export const q5_1Format: Format = blockFormat(q5_1Layout);
