/**
 * q3_k of GGUF (Q3_K): 256 columns in 110 bytes: 32 bytes with the upper bits of the codes, 64 with the lower two, 12 with
 * scales of 6 bits, f16 d. value = d * (scale - 32) * (code - 4). Column 128 h + 32 q + i has its lower bits at bit 2 q of
 * byte 32 + 32 h + i, its upper one is bit 4 h + q of byte i. Scale s of sixteen columns has its lower four bits in byte
 * 96 + s % 8, high half from s = 8 on, its upper two at bit 2 (s / 4) of byte 104 + s % 4.
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";

export const q3_kLayout: BlockLayout = {
  name: "q3_k",
  columns: 256,
  bytes: 110,
  unitColumns: 16,
  encode: null,
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(108, true));
    for (let column = 0; column < 256; column += 1) {
      const s = column >> 4;
      const low = (bytes.getUint8(96 + (s & 7)) >> (4 * (s >> 3))) & 15;
      const high = (bytes.getUint8(104 + (s & 3)) >> (2 * (s >> 2))) & 3;
      const code = (bytes.getUint8(32 + 32 * (column >> 7) + (column & 31)) >> (2 * ((column >> 5) & 3))) & 3;
      const upper = (bytes.getUint8(column & 31) >> (column >> 5)) & 1;
      values[column] = d * ((low | (high << 4)) - 32) * (code + 4 * upper - 4);
    }
  },
};

export const q3_kFormat: Format = blockFormat(q3_kLayout);
