/**
 * iq4_nl of GGUF (IQ4_NL): 32 columns in 18 bytes: f16 d, then 16 bytes of codes as in q4_0. value = d * table[code].
 */
import { blockFormat, type BlockLayout } from "../block/meaning.js";
import { f16FromBits } from "../../float.js";
import type { Format } from "../format.js";
import { getNibble } from "../q4_0/meaning.js";

/** What a code stands for. */
export const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

export const iq4_nlLayout: BlockLayout = {
  name: "iq4_nl",
  columns: 32,
  bytes: 18,
  unitColumns: 32,
  encode: null,
  decode(bytes, values) {
    const d = f16FromBits(bytes.getUint16(0, true));
    for (let at = 0; at < 32; at += 1) values[at] = d * levels[getNibble(bytes, 2, at)]!;
  },
};

export const iq4_nlFormat: Format = blockFormat(iq4_nlLayout);
