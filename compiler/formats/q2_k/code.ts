/** How kernels read q2_k. */
import { add, bitAnd, call, component, convert, mul, shiftLeft, shiftRight, sub } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { blockCode, unsignedByte, type BlockReader } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { q2_kFormat, q2_kLayout } from "./meaning.js";

export const q2_kCode: FormatCode = blockCode(q2_kFormat, q2_kLayout, {
  locate(read, column) {
    const byte = read.byte(add(add(shiftLeft(shiftRight(column, 7), 5), bitAnd(column, 31)), 16));
    const code = bitAnd(shiftRight(byte, shiftLeft(bitAnd(shiftRight(column, 5), 3), 1)), 3);
    const { scale, min } = halvesOf(read, shiftRight(column, 4));
    return sub(mul(convert("f32", code), scale), min);
  },
  stored(read, unit) {
    const words = read.words(
      add(add(shiftLeft(shiftRight(unit, 3), 5), shiftLeft(bitAnd(unit, 1), 4)), 16),
      4,
      "whole",
    );
    const shift = read.bind("shift", shiftLeft(bitAnd(shiftRight(unit, 1), 3), 1));
    const codes = words.map((word) => read.bind("codes", bitAnd(shiftRight(word, shift), 0x03030303)));
    const { scale, min } = halvesOf(read, unit);
    return {
      entries: upTo(16).map((column) => ({
        column,
        value: sub(mul(unsignedByte(codes[column >> 2]!, column & 3), scale), min),
      })),
      scale: null,
      zero: null,
    };
  },
  codes: null,
});

/** d * scale and dmin * min of sixteen columns. */
function halvesOf(read: BlockReader, group: Expr): { readonly scale: Expr; readonly min: Expr } {
  const pair = read.bind("pair", call("unpack2x16float", [read.half(80)]));
  const both = read.bind("both", read.byte(group));
  return {
    scale: read.bind("scale", mul(component(pair, 0), convert("f32", bitAnd(both, 15)))),
    min: read.bind("min", mul(component(pair, 1), convert("f32", bitAnd(shiftRight(both, 4), 15)))),
  };
}
