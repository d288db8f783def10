/** How kernels read q8_0. */
import { add, call, component, mul } from "../../kernel/build.js";
import { upTo } from "../../types/shape.js";
import { blockCode, signedByte } from "../block/code.js";
import { elementWords } from "../code/codes.js";
import type { FormatCode } from "../code/code.js";
import { q8_0Format, q8_0Layout } from "./meaning.js";

export const q8_0Code: FormatCode = blockCode(q8_0Format, q8_0Layout, {
  locate(read, column) {
    const d = component(call("unpack2x16float", [read.half(0)]), 0);
    return mul(signedByte(read.byte(add(column, 2)), 0), d);
  },
  stored(read) {
    const words = read.words(2, 8, "before");
    return {
      entries: upTo(32).map((column) => ({ column, value: signedByte(words[column >> 2]!, column & 3) })),
      scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
      zero: null,
    };
  },
  codes: {
    words: elementWords(8, 32),
    factor: 1,
    read: (read) => ({
      words: read.words(2, 8, "before"),
      scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
    }),
  },
});
