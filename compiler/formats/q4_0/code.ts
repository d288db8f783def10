/** How kernels read q4_0. */
import { add, bitAnd, call, component, convert, f32, mul, shiftLeft, shiftRight, sub } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { blockCode, type BlockReader } from "../block/code.js";
import { codeFactor, elementCodes } from "../code/codes.js";
import type { FormatCode } from "../code/code.js";
import { q4_0Format, q4_0Layout } from "./meaning.js";

export const q4_0Code: FormatCode = blockCode(q4_0Format, q4_0Layout, {
  locate: (read, column) =>
    mul(sub(nibbleAt(read, 2, column), f32(8)), component(call("unpack2x16float", [read.half(0)]), 0)),
  stored: (read) => ({
    entries: nibbleEntries(read.words(2, 4, "before")),
    scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
    zero: f32(8),
  }),
  codes: {
    // a byte has column j low and column j + 16 high
    words: upTo(8).map((word) => {
      const first = 4 * (word >> 1) + 16 * (word & 1);
      return [first, first + 1, first + 2, first + 3] as const;
    }),
    factor: codeFactor(4),
    read(read) {
      const scale = read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0));
      const codes = elementCodes(read, 4, false, read.words(2, 4, "before"), { scale, zero: null });
      return { words: codes.words, scale: codes.scale };
    },
  },
});

/** The code of a column (u32), f32. */
export function nibbleAt(read: BlockReader, at: number, column: Expr): Expr {
  const byte = read.byte(add(bitAnd(column, 15), at));
  return convert("f32", bitAnd(shiftRight(byte, shiftLeft(shiftRight(column, 4), 2)), 15));
}

/** The codes of all columns, from the four words that hold them. */
export function nibbleEntries(words: readonly Expr[]): readonly { readonly column: number; readonly value: Expr }[] {
  return upTo(32).map((column) => {
    const byte = column & 15;
    return {
      column,
      value: convert("f32", bitAnd(shiftRight(words[byte >> 2]!, (byte & 3) * 8 + (column < 16 ? 0 : 4)), 15)),
    };
  });
}
