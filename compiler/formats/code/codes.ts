/** Units as words of four signed bytes, for products of integers. */
import { bitAnd, bitXor, f32, mul, shiftLeft, sub, u32 } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Build, CodeLayout, Codes } from "./code.js";

/** Where expressions are given names. */
type Names = Pick<Build, "bind">;

/** A value is 2^4 times a code of four bits where it stands in the upper half of a signed byte. */
const nibbleFactor = 16;

/** The factor of codes of `bits` bits. */
export const codeFactor = (bits: 4 | 8): number => (bits === 4 ? 1 / nibbleFactor : 1);

/** Codes of `bits` bits in the order of the entries, from the words that have them, and what they are measured in. */
export function elementCodes(
  build: Names,
  bits: 4 | 8,
  symmetric: boolean,
  stored: readonly Expr[],
  grid: { readonly scale: Expr; readonly zero: Expr | null },
): Pick<Codes, "words" | "scale" | "zero"> {
  // codes without a sign are those of half the range less, with one
  const signed = symmetric
    ? stored
    : stored.map((word) => build.bind("signed", bitXor(word, bits === 4 ? 0x88888888 : 0x80808080)));
  const factor = bits === 4 ? nibbleFactor : 1;
  const half = 2 ** (bits - 1);
  return {
    words: bits === 4 ? signed.flatMap((word) => nibbleBytes(build, word)) : signed,
    scale: grid.scale,
    zero: grid.zero === null ? null : build.bind("zero", mul(sub(grid.zero, f32(half)), f32(factor))),
  };
}

/** The eight codes of four bits of a word as two words of signed bytes, 16 times as large: the even ones, the odd. */
export function nibbleBytes(build: Names, word: Expr): readonly [Expr, Expr] {
  const whole = build.bind("codes", word);
  return [
    build.bind("even", bitAnd(shiftLeft(whole, 4), u32(0xf0f0f0f0))),
    build.bind("odd", bitAnd(whole, u32(0xf0f0f0f0))),
  ];
}

/** The entries of the words that `elementCodes` gives. */
export function elementWords(bits: 4 | 8, entries: number): CodeLayout["words"] {
  const four = (at: (byte: number) => number): readonly [number, number, number, number] => [
    at(0),
    at(1),
    at(2),
    at(3),
  ];
  return upTo(entries / 4).map((word) =>
    bits === 8 ? four((byte) => 4 * word + byte) : four((byte) => 8 * (word >> 1) + 2 * byte + (word & 1)),
  );
}
