/** How kernels read q5_k. */
import { add, bitAnd, bitOr, convert, mul, shiftLeft, shiftRight, sub } from "../../kernel/build.js";
import { blockCode } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { groupOf, sixBits } from "../q4_k/code.js";
import { q5_kFormat, q5_kLayout } from "./meaning.js";

export const q5_kCode: FormatCode = blockCode(q5_kFormat, q5_kLayout, {
  locate(read, column) {
    const group = read.bind("group", shiftRight(column, 5));
    const place = read.bind("place", bitAnd(column, 31));
    const byte = read.byte(add(add(shiftLeft(shiftRight(group, 1), 5), place), 48));
    const low = bitAnd(shiftRight(byte, shiftLeft(bitAnd(group, 1), 2)), 15);
    const high = bitAnd(shiftRight(read.byte(add(place, 16)), group), 1);
    const { scale, min } = sixBits(read, group);
    return sub(mul(convert("f32", bitOr(low, shiftLeft(high, 4))), scale), min);
  },
  stored(read, unit) {
    const low = read.words(add(shiftLeft(shiftRight(unit, 1), 5), 48), 8, "whole");
    const high = read.words(16, 8, "whole");
    const shift = read.bind("shift", shiftLeft(bitAnd(unit, 1), 2));
    const codes = low.map((word, at) =>
      read.bind(
        "codes",
        bitOr(
          bitAnd(shiftRight(word, shift), 0x0f0f0f0f),
          shiftLeft(bitAnd(shiftRight(high[at]!, unit), 0x01010101), 4),
        ),
      ),
    );
    return groupOf(codes, sixBits(read, unit));
  },
  codes: null,
});
