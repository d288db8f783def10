/** How kernels read q4_k. */
import {
  add,
  bitAnd,
  bitOr,
  call,
  component,
  convert,
  less,
  mul,
  select,
  shiftLeft,
  shiftRight,
  sub,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { blockCode, unsignedByte, type BlockReader } from "../block/code.js";
import type { FormatCode, Stored } from "../code/code.js";
import { q4_kFormat, q4_kLayout } from "./meaning.js";

export const q4_kCode: FormatCode = blockCode(q4_kFormat, q4_kLayout, {
  locate(read, column) {
    const group = read.bind("group", shiftRight(column, 5));
    const byte = read.byte(add(add(shiftLeft(shiftRight(group, 1), 5), bitAnd(column, 31)), 16));
    const code = bitAnd(shiftRight(byte, shiftLeft(bitAnd(group, 1), 2)), 15);
    const { scale, min } = sixBits(read, group);
    return sub(mul(convert("f32", code), scale), min);
  },
  stored(read, unit) {
    const words = read.words(add(shiftLeft(shiftRight(unit, 1), 5), 16), 8, "whole");
    const shift = read.bind("shift", shiftLeft(bitAnd(unit, 1), 2));
    const codes = words.map((word) => read.bind("codes", bitAnd(shiftRight(word, shift), 0x0f0f0f0f)));
    return groupOf(codes, sixBits(read, unit));
  },
  codes: null,
});

/** What the codes of a group of 32 are scaled by and what is taken off after it. */
interface ScaleAndMin {
  readonly scale: Expr;
  readonly min: Expr;
}

/** The values of a group of 32 from its codes, four a word. */
export function groupOf(codes: readonly Expr[], { scale, min }: ScaleAndMin): Stored {
  return {
    entries: upTo(32).map((column) => ({
      column,
      value: sub(mul(unsignedByte(codes[column >> 2]!, column & 3), scale), min),
    })),
    scale: null,
    zero: null,
  };
}

/** d * scale and dmin * min of a group of 32, each exact in f32. */
export function sixBits(read: BlockReader, group: Expr): ScaleAndMin {
  const pair = read.bind("pair", call("unpack2x16float", [read.half(0)]));
  const at = read.bind("at", bitAnd(group, 3));
  const [a, b, c] = [4, 8, 12].map((first) => read.bind("six", read.byte(add(at, first)))) as [Expr, Expr, Expr];
  const early = read.bind("early", less(group, 4));
  const scale = select(early, bitAnd(a, 63), bitOr(bitAnd(c, 15), bitAnd(shiftRight(a, 2), 0x30)));
  const min = select(early, bitAnd(b, 63), bitOr(bitAnd(shiftRight(c, 4), 15), bitAnd(shiftRight(b, 2), 0x30)));
  return {
    scale: read.bind("scale", mul(component(pair, 0), convert("f32", scale))),
    min: read.bind("min", mul(component(pair, 1), convert("f32", min))),
  };
}
