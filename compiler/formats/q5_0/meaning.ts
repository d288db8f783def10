/**
 * q5_0 of GGUF: 32 columns in 22 bytes: f16 d, 4 bytes with the upper bits of the codes, column j at bit j, then 16 bytes
 * with the lower four as in q4_0. value = d * (code - 16).
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";
import { getNibble } from "../q4_0/meaning.js";

export const q5_0Layout: BlockLayout = {
  name: "q5_0",
  columns: 32,
  bytes: 22,
  unitColumns: 32,
  encode: null,
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    const upper = bytes.getUint32(2, true);
    for (let at = 0; at < 32; at += 1) values[at] = d * ((getNibble(bytes, 6, at) | (((upper >>> at) & 1) << 4)) - 16);
  },
};

export const q5_0Format: Format = blockFormat(q5_0Layout);
