/**
 * q2_k of GGUF (Q2_K): 256 columns in 84 bytes: 16 bytes, of 16 columns each the scale in the low half and the minimum in
 * the high one; 64 bytes of codes; f16 d, f16 dmin. value = d * scale * code - dmin * min. Column 128 h + 32 q + i has its
 * code at bit 2 q of byte 16 + 32 h + i.
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";

export const q2_kLayout: BlockLayout = {
  name: "q2_k",
  columns: 256,
  bytes: 84,
  unitColumns: 16,
  encode: null,
  decode(bytes, values) {
    const [d, dmin] = [f16FromBits(bytes.getUint16(80, true)), f16FromBits(bytes.getUint16(82, true))];
    for (let column = 0; column < 256; column += 1) {
      const both = bytes.getUint8(column >> 4);
      const code = (bytes.getUint8(16 + 32 * (column >> 7) + (column & 31)) >> (2 * ((column >> 5) & 3))) & 3;
      values[column] = d * (both & 15) * code - dmin * (both >> 4);
    }
  },
};

export const q2_kFormat: Format = blockFormat(q2_kLayout);
