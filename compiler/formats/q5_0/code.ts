/** How kernels read q5_0. */
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
import { blockCode, type BlockReader } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { q5_0Format, q5_0Layout } from "./meaning.js";

export const q5_0Code: FormatCode = blockCode(q5_0Format, q5_0Layout, {
  locate: (read, column) =>
    mul(sub(fiveBits(read, 2, column), f32(16)), component(call("unpack2x16float", [read.half(0)]), 0)),
  stored: (read) => ({
    entries: fiveBitEntries(read, 2),
    scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
    zero: f32(16),
  }),
  codes: null,
});

/** The code of a column (u32), f32; upper bits from byte `at` on, lower ones after them. */
export function fiveBits(read: BlockReader, at: number, column: Expr): Expr {
  const low = shiftRight(read.byte(add(bitAnd(column, 15), at + 4)), shiftLeft(shiftRight(column, 4), 2));
  const high = shiftRight(read.byte(add(shiftRight(column, 3), at)), bitAnd(column, 7));
  return convert("f32", bitOr(bitAnd(low, 15), shiftLeft(bitAnd(high, 1), 4)));
}

/** The codes of all columns. */
export function fiveBitEntries(
  read: BlockReader,
  at: number,
): readonly { readonly column: number; readonly value: Expr }[] {
  const [upper, ...words] = read.words(at, 5, "before");
  return upTo(32).map((column) => {
    const byte = column & 15;
    const low = shiftRight(words[byte >> 2]!, (byte & 3) * 8 + (column < 16 ? 0 : 4));
    const high = shiftRight(upper!, column);
    return { column, value: convert("f32", bitOr(bitAnd(low, 15), shiftLeft(bitAnd(high, 1), 4))) };
  });
}
