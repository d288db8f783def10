/** Reading and writing what `layout.ts` says of all formats: items and units of a section. */
import {
  add,
  bitAnd,
  bitOr,
  component,
  div,
  less,
  mul,
  rem,
  select,
  and,
  sub,
  shiftLeft,
  shiftRight,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { isPowerOfTwo, upTo } from "../../types/shape.js";
import type { Section } from "../format.js";
import type { Build, WordReader } from "./code.js";

/** a / n for u32, n a constant; a shift where n is a power of two. */
export function quotient(a: Expr, n: number): Expr {
  return isPowerOfTwo(n) ? shiftRight(a, Math.log2(n)) : div(a, n);
}

/** a % n for u32, n a constant. */
export function modulo(a: Expr, n: number): Expr {
  return isPowerOfTwo(n) ? bitAnd(a, n - 1) : rem(a, n);
}

/**
 * The word that holds item `index` of `bits` bits, shifted so that the item stands lowest; higher bits are not cleared.
 */
export function readItem(read: WordReader, section: Section, bits: number, index: Expr): Expr {
  if (bits === 32) return read.word(section, index);
  if (32 % bits !== 0) return readStraddling(read, section, bits, index);
  const word = read.word(section, quotient(index, 32 / bits));
  return shiftRight(word, mul(modulo(index, 32 / bits), bits));
}

/** `readItem` where an item may lie in two words; the second is only looked at if it exists. */
function readStraddling(read: WordReader, section: Section, bits: number, index: Expr): Expr {
  const bit = read.bind("bit", mul(index, bits));
  const word = read.bind("word", shiftRight(bit, 5));
  const low = read.bind("low", read.word(section, word));
  const high = read.bind(
    "high",
    read.word(section, read.bind("next", select(less(word, section.words - 1), add(word, 1), word))),
  );
  const offset = read.bind("offset", bitAnd(bit, 31));
  // Shifted in two steps: by 32 a shift would be none.
  return read.bind(section.name, bitOr(shiftRight(low, offset), shiftLeft(shiftLeft(high, 1), sub(u32(31), offset))));
}

/**
 * The words with the `bits` bits of unit `index` of a section (as `unitColumns` allows), each a local. Below 32 bits
 * the one word has them lowest, and other bits above.
 */
export function readUnit(read: WordReader, section: Section, bits: number, index: Expr): readonly Expr[] {
  if (bits < 32) return [read.bind(section.name, readItem(read, section, bits, index))];
  const words = bits / 32;
  if (words % 4 !== 0)
    return upTo(words).map((at) => read.bind(section.name, read.word(section, add(mul(index, words), at))));
  return upTo(words / 4).flatMap((at) => {
    const four = read.bind(section.name, read.words4(section, add(mul(index, words / 4), at)));
    return upTo(4).map((part) => component(four, part));
  });
}

/** As `readUnit`; two words are one load. */
export function readPair(read: WordReader, section: Section, bits: number, index: Expr): readonly Expr[] {
  if (bits !== 64) return readUnit(read, section, bits, index);
  const pair = read.bind(section.name, read.words2(section, index));
  return upTo(2).map((part) => component(pair, part));
}

/** Field `at` of `bits` bits (at most 32) of the words that `readUnit` gave; fields may straddle words. */
export function unitField(words: readonly Expr[], bits: number, at: number): Expr {
  const bit = (at * bits) % 32;
  const word = words[Math.floor((at * bits) / 32)]!;
  const low = shiftRight(word, bit);
  if (bit + bits < 32) return bitAnd(low, 2 ** bits - 1);
  if (bit + bits === 32) return low;
  const high = words[Math.floor((at * bits) / 32) + 1]!;
  return bitAnd(bitOr(low, shiftLeft(high, 32 - bit)), 2 ** bits - 1);
}

/** Word `word` of a section of `count` items of `bits` bits. Items beyond the end are zero. */
export function packItems(build: Build, bits: number, count: number, word: Expr, item: (index: Expr) => Expr): Expr {
  if (32 % bits !== 0) return packStraddling(build, bits, count, word, item);
  const perWord = 32 / bits;
  const whole = count % perWord === 0;
  const parts = upTo(perWord).map((at) => {
    const index = build.bind("item", add(mul(word, perWord), at));
    if (whole) return shiftLeft(item(index), at * bits);
    const within = less(index, count);
    return select(
      within,
      shiftLeft(item(build.bind("item", select(within, index, u32(count - 1)))), at * bits),
      u32(0),
    );
  });
  return build.bind(
    "packed",
    parts.reduce((all, part) => bitOr(all, part)),
  );
}

/** `packItems` where items may straddle words. */
function packStraddling(build: Build, bits: number, count: number, word: Expr, item: (index: Expr) => Expr): Expr {
  const firstBit = build.bind("bit", mul(word, 32));
  const first = build.bind("field", quotient(firstBit, bits));
  // Of the first item the lowest `cut` bits stand in the word before.
  const cut = build.bind("cut", sub(firstBit, mul(first, bits)));
  const parts = upTo(Math.ceil((bits - 1 + 32) / bits)).map((at) => {
    const index = build.bind("item", add(first, at));
    const within = less(index, count);
    const value = item(build.bind("item", select(within, index, u32(count - 1))));
    if (at === 0) return select(within, shiftRight(value, cut), u32(0));
    const shift = build.bind("shift", sub(u32(at * bits), cut));
    return select(and(within, less(shift, 32)), shiftLeft(value, shift), u32(0));
  });
  return build.bind(
    "packed",
    parts.reduce((all, part) => bitOr(all, part)),
  );
}
