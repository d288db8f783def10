/** How kernels read q4_1. */
import { add, call, component, mul } from "../../kernel/build.js";
import { blockCode } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { nibbleAt, nibbleEntries } from "../q4_0/code.js";
import { q4_1Format, q4_1Layout } from "./meaning.js";

export const q4_1Code: FormatCode = blockCode(q4_1Format, q4_1Layout, {
  locate(read, column) {
    const pair = read.bind("pair", call("unpack2x16float", [read.half(0)]));
    return add(mul(nibbleAt(read, 4, column), component(pair, 0)), component(pair, 1));
  },
  stored(read) {
    const pair = read.bind("pair", call("unpack2x16float", [read.half(0)]));
    const [d, m] = [read.bind("d", component(pair, 0)), read.bind("m", component(pair, 1))];
    // d * code is exact in f32, so that a fused multiplication gives the same; m / d as a zero point would not.
    return {
      entries: nibbleEntries(read.words(4, 4, "before")).map(({ column, value }) => ({
        column,
        value: add(mul(value, d), m),
      })),
      scale: null,
      zero: null,
    };
  },
  codes: null,
});
