/** How kernels read iq4_nl. */
import {
  add,
  bitAnd,
  bitcast,
  call,
  component,
  convert,
  equal,
  mul,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { blockCode, type BlockReader } from "../block/code.js";
import type { FormatCode } from "../code/code.js";
import { iq4_nlFormat, iq4_nlLayout, levels } from "./meaning.js";

/** Four levels a word, each a signed byte. */
const words = upTo(4).map((at) =>
  levels.slice(4 * at, 4 * at + 4).reduce((all, level, i) => all + (level & 255) * 2 ** (8 * i), 0),
);

export const iq4_nlCode: FormatCode = blockCode(iq4_nlFormat, iq4_nlLayout, {
  locate(read, column) {
    const byte = read.byte(add(bitAnd(column, 15), 2));
    const code = bitAnd(shiftRight(byte, shiftLeft(shiftRight(column, 4), 2)), 15);
    return mul(levelOf(read, code), component(call("unpack2x16float", [read.half(0)]), 0));
  },
  stored(read) {
    const held = read.words(2, 4, "before");
    return {
      entries: upTo(32).map((column) => {
        const byte = column & 15;
        const code = bitAnd(shiftRight(held[byte >> 2]!, (byte & 3) * 8 + (column < 16 ? 0 : 4)), 15);
        return { column, value: levelOf(read, code) };
      }),
      scale: read.bind("scale", component(call("unpack2x16float", [read.half(0)]), 0)),
      zero: null,
    };
  },
  codes: null,
});

/** What a code (u32) stands for, f32. */
function levelOf(read: BlockReader, code: Expr): Expr {
  const known = read.bind("code", code);
  const which = shiftRight(known, 2);
  const four = [0, 1, 2].reduceRight<Expr>(
    (rest, at) => select(equal(which, at), u32(words[at]!), rest),
    u32(words[3]!),
  );
  const up = sub(u32(24), shiftLeft(bitAnd(known, 3), 3));
  return read.bind("level", convert("f32", shiftRight(bitcast("i32", shiftLeft(four, up)), 24)));
}
