/** How kernels read q3_k. */
import {
  add,
  bitAnd,
  bitOr,
  call,
  component,
  convert,
  f32,
  mul,
  shiftLeft,
  shiftRight,
  sub,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { blockCode, unsignedByte, type BlockReader } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { q3_kFormat, q3_kLayout } from "./meaning.js";

export const q3_kCode: FormatCode = blockCode(q3_kFormat, q3_kLayout, {
  locate(read, column) {
    const place = read.bind("place", bitAnd(column, 31));
    const low = read.byte(add(add(shiftLeft(shiftRight(column, 7), 5), place), 32));
    const two = bitAnd(shiftRight(low, shiftLeft(bitAnd(shiftRight(column, 5), 3), 1)), 3);
    const upper = bitAnd(shiftRight(read.byte(place), shiftRight(column, 5)), 1);
    const code = convert("f32", bitOr(two, shiftLeft(upper, 2)));
    return mul(sub(code, f32(4)), scaleOf(read, shiftRight(column, 4)));
  },
  stored(read, unit) {
    const place = read.bind("place", shiftLeft(bitAnd(unit, 1), 4));
    const low = read.words(add(add(shiftLeft(shiftRight(unit, 3), 5), place), 32), 4, "after");
    const high = read.words(place, 4, "after");
    const shift = read.bind("shift", shiftLeft(bitAnd(shiftRight(unit, 1), 3), 1));
    const bit = read.bind("bit", shiftRight(unit, 1));
    const codes = low.map((word, at) =>
      read.bind(
        "codes",
        bitOr(
          bitAnd(shiftRight(word, shift), 0x03030303),
          shiftLeft(bitAnd(shiftRight(high[at]!, bit), 0x01010101), 2),
        ),
      ),
    );
    return {
      entries: upTo(16).map((column) => ({ column, value: unsignedByte(codes[column >> 2]!, column & 3) })),
      scale: scaleOf(read, unit),
      zero: f32(4),
    };
  },
  codes: null,
});

/** d * (scale - 32) of sixteen columns. */
function scaleOf(read: BlockReader, group: Expr): Expr {
  const at = read.bind("group", group);
  const low = shiftRight(read.byte(add(bitAnd(at, 7), 96)), shiftLeft(shiftRight(at, 3), 2));
  const high = shiftRight(read.byte(add(bitAnd(at, 3), 104)), shiftLeft(shiftRight(at, 2), 1));
  const scale = convert("f32", bitOr(bitAnd(low, 15), shiftLeft(bitAnd(high, 3), 4)));
  const d = component(call("unpack2x16float", [read.half(108)]), 0);
  return read.bind("scale", mul(d, sub(scale, f32(32))));
}
