/** How kernels read q6_k. */
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
import { upTo } from "../../types/shape.js";
import { blockCode, signedByte, unsignedByte } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { d, q6_kFormat, q6_kLayout, scales, upper } from "./meaning.js";

export const q6_kCode: FormatCode = blockCode(q6_kFormat, q6_kLayout, {
  locate(read, column) {
    const half = shiftRight(column, 7);
    const quarter = read.bind("quarter", bitAnd(shiftRight(column, 5), 3));
    const j = read.bind("j", bitAnd(column, 31));
    const lowByte = read.byte(add(add(shiftLeft(half, 6), shiftLeft(bitAnd(quarter, 1), 5)), j));
    const low = bitAnd(shiftRight(lowByte, shiftLeft(shiftRight(quarter, 1), 2)), 15);
    const high = bitAnd(shiftRight(read.byte(add(add(shiftLeft(half, 5), j), upper)), shiftLeft(quarter, 1)), 3);
    const scale = mul(
      component(call("unpack2x16float", [read.half(d)]), 0),
      signedByte(read.byte(add(shiftRight(column, 4), scales)), 0),
    );
    return mul(sub(convert("f32", bitOr(low, shiftLeft(high, 4))), f32(32)), scale);
  },
  stored(read, unit) {
    const half = shiftRight(unit, 3);
    const quarter = read.bind("quarter", bitAnd(shiftRight(unit, 1), 3));
    const j = read.bind("j", shiftLeft(bitAnd(unit, 1), 4));
    const low = read.words(add(add(shiftLeft(half, 6), shiftLeft(bitAnd(quarter, 1), 5)), j), 4, "after");
    const high = read.words(add(add(shiftLeft(half, 5), j), upper), 4, "after");
    const [lowShift, highShift] = [
      read.bind("shift", shiftLeft(shiftRight(quarter, 1), 2)),
      read.bind("shift", shiftLeft(quarter, 1)),
    ];
    const codes = upTo(4).map((at) =>
      read.bind(
        "codes",
        bitOr(
          bitAnd(shiftRight(low[at]!, lowShift), 0x0f0f0f0f),
          shiftLeft(bitAnd(shiftRight(high[at]!, highShift), 0x03030303), 4),
        ),
      ),
    );
    return {
      entries: upTo(16).map((column) => ({ column, value: unsignedByte(codes[column >> 2]!, column & 3) })),
      scale: read.bind(
        "scale",
        mul(component(call("unpack2x16float", [read.half(d)]), 0), signedByte(read.byte(add(unit, scales)), 0)),
      ),
      zero: f32(32),
    };
  },
  codes: null,
});
