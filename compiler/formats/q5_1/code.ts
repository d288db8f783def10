/** How kernels read q5_1. */
import { add, call, component, mul } from "../../kernel/build.js";
import { blockCode } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { fiveBitEntries, fiveBits } from "../q5_0/code.js";
import { q5_1Format, q5_1Layout } from "./meaning.js";

export const q5_1Code: FormatCode = blockCode(q5_1Format, q5_1Layout, {
  locate(read, column) {
    const pair = read.bind("pair", call("unpack2x16float", [read.half(0)]));
    return add(mul(fiveBits(read, 4, column), component(pair, 0)), component(pair, 1));
  },
  stored(read) {
    const pair = read.bind("pair", call("unpack2x16float", [read.half(0)]));
    const [d, m] = [read.bind("d", component(pair, 0)), read.bind("m", component(pair, 1))];
    return {
      entries: fiveBitEntries(read, 4).map(({ column, value }) => ({ column, value: add(mul(value, d), m) })),
      scale: null,
      zero: null,
    };
  },
  codes: null,
});
