/**
 * q5_k of GGUF (Q5_K): 256 columns in 176 bytes: as q4_k, with the upper bits of the codes in 32 bytes before the lower
 * ones: that of column i of the 32 columns g is bit g of byte 16 + i.
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import type { Format } from "../format.js";
import { scaledBySix } from "../q4_k/meaning.js";

export const q5_kLayout: BlockLayout = {
  name: "q5_k",
  columns: 256,
  bytes: 176,
  unitColumns: 32,
  encode: null,
  decode(bytes, values) {
    for (let column = 0; column < 256; column += 1) {
      const group = column >> 5;
      const low = (bytes.getUint8(48 + 32 * (group >> 1) + (column & 31)) >> (4 * (group & 1))) & 15;
      const high = (bytes.getUint8(16 + (column & 31)) >> group) & 1;
      values[column] = scaledBySix(bytes, group, low | (high << 4));
    }
  },
};

export const q5_kFormat: Format = blockFormat(q5_kLayout);
