/**
 * q4_k of GGUF (Q4_K): 256 columns in 144 bytes: f16 d, f16 dmin, 12 bytes of scales and minima of 6 bits, 128 bytes of
 * codes. Of 32 columns g (0 to 7) value = d * scale[g] * code - dmin * min[g]; column i of them is in byte 16 + 32 (g / 2)
 * + i, in its low half where g is even.
 *
 * Packing is that of llama.cpp without an importance matrix: `pack.ts`.
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";
import { packBlock } from "./pack.js";

export const q4_kLayout: BlockLayout = {
  name: "q4_k",
  columns: 256,
  bytes: 144,
  unitColumns: 32,
  encode(values, bytes) {
    const codes = packBlock(values, bytes);
    for (let at = 0; at < 128; at += 1) {
      const column = 64 * (at >> 5) + (at & 31);
      bytes.setUint8(16 + at, codes[column]! | (codes[column + 32]! << 4));
    }
  },
  decode(bytes, values) {
    for (let column = 0; column < 256; column += 1) {
      const group = column >> 5;
      const byte = bytes.getUint8(16 + 32 * (group >> 1) + (column & 31));
      values[column] = scaledBySix(bytes, group, (byte >> (4 * (group & 1))) & 15);
    }
  },
};

export const q4_kFormat: Format = blockFormat(q4_kLayout);

/** d * scale * code - dmin * min of a group of 32: what q4_k and q5_k have at the beginning of a block. */
export function scaledBySix(bytes: DataView, group: number, code: number): number {
  const [d, dmin] = [f16FromBits(bytes.getUint16(0, true)), f16FromBits(bytes.getUint16(2, true))];
  const [a, b, c] = [4, 8, 12].map((at) => bytes.getUint8(at + (group & 3))) as [number, number, number];
  const scale = group < 4 ? a & 63 : (c & 15) | ((a >> 2) & 0x30);
  const min = group < 4 ? b & 63 : (c >> 4) | ((b >> 2) & 0x30);
  return Math.fround(Math.fround(Math.fround(d * scale) * code) - Math.fround(dmin * min));
}
