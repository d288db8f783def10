/**
 * Codes of four bits times activations where nothing multiplies four bytes at once, as on a CPU driver: two products and
 * their sum by one multiplication of words. With a code in each half of a word, a + 2^16 b, and the activations the other
 * way round, y + 2^16 x, the upper half of the product is a x + b y; the lower, a y, is taken off before it is read.
 */
import type { Codes } from "../../formats/code/code.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";

/** Activations of the four groups of a part of 16 columns, by their places in the groups, each group a byte of a word. */
export interface GroupedPart {
  /** Those of the first places, and what makes them those of the second and the third. */
  readonly first: Expr;
  readonly toSecond: Expr;
  readonly toThird: Expr;
  /** Those of the last places, and what makes them those of the third and the second. */
  readonly last: Expr;
  readonly lastToThird: Expr;
  readonly lastToSecond: Expr;
}

/** What is added to activations, so that they have no sign. */
const bias = 128;

/** Multiplications whose sums a half of a word holds: two products each, of a code from -8 to 7 and at most 255. */
const mostMultiplied = 8;

/** The activations of a part: `column(j)` has those at place j of groups 2, 3, 0 and 1. */
export function groupedPart(build: KernelBuilder, column: (place: number) => Expr): GroupedPart {
  const [first, second, third, last] = upTo(4).map((place) =>
    build.bind("places", k.bitXor(column(place), 0x80808080)),
  ) as [Expr, Expr, Expr, Expr];
  const between = (a: Expr, b: Expr): Expr => build.bind("between", k.bitXor(a, b));
  return {
    first,
    toSecond: between(first, second),
    toThird: between(first, third),
    last,
    lastToThird: between(last, third),
    lastToSecond: between(last, second),
  };
}

/**
 * 16 times the sum of the codes of a unit of 2:4 times activations, i32. The first of two entries is at place 0, 1 or 2 of
 * its group and the second at 1, 2 or 3, so that one bit of its position at most tells it from 0, or from 3.
 */
export function sumOfPairs(build: KernelBuilder, { words, positions }: Codes, parts: readonly GroupedPart[]): Expr {
  let [total, all, codes]: [Expr | null, Expr | null, Expr | null] = [null, null, null];
  let multiplied = 0;
  const flush = (): void => {
    if (all === null) return;
    const sum = build.bind("pairs", k.bitcast("i32", all));
    const low = build.bind("low", k.shiftRight(k.shiftLeft(sum, 16), 16));
    const high = k.shiftRight(k.sub(sum, low), 16);
    total = build.bind("total", total === null ? high : k.add(total, high));
    all = null;
    multiplied = 0;
  };
  parts.forEach((part, at) => {
    const stored = positions![at >> 1]!;
    // groups 2 and 3 in the lower half, as the activations are
    const halves =
      at % 2 === 0
        ? k.bitOr(k.shiftLeft(k.bitAnd(stored, 0xff), 16), k.bitAnd(k.shiftRight(stored, 8), 0xff))
        : k.bitOr(k.bitAnd(stored, 0xff0000), k.shiftRight(stored, 24));
    const half = build.bind("halves", halves);
    const nibbles = k.bitAnd(k.bitOr(half, k.shiftLeft(half, 4)), 0x0f0f0f0f);
    // of the second entry the bits that are not set
    const position = build.bind("positions", k.bitXor(nibbles, 0x0c0c0c0c));
    const mask = (bit: number): Expr =>
      k.mul(k.bitAnd(bit === 0 ? position : k.shiftRight(position, bit), 0x01010101), 0xff);
    const pick = (own: Expr, one: Expr, other: Expr, bit: number): Expr =>
      build.bind("x", k.bitXor(k.bitXor(own, k.bitAnd(one, mask(bit))), k.bitAnd(other, mask(bit + 1))));
    const picked = [
      pick(part.first, part.toSecond, part.toThird, 0),
      pick(part.last, part.lastToThird, part.lastToSecond, 2),
    ];
    picked.forEach((x, entry) => {
      const unsigned = build.bind("unsigned", k.bitXor(words[2 * at + entry]!, 0x80808080));
      for (const from of [0, 8]) {
        const own = build.bind("code", k.sub(k.bitAnd(k.shiftRight(unsigned, from + 4), 0x000f000f), 0x00080008));
        const product = k.mul(own, k.bitAnd(from === 0 ? x : k.shiftRight(x, from), 0x00ff00ff));
        all = build.bind("sum", all === null ? product : k.add(all, product));
        codes = build.bind("codes", codes === null ? own : k.add(codes, own));
        multiplied++;
      }
    });
    if (multiplied + 4 > mostMultiplied) flush();
  });
  flush();
  const sum = build.bind("codes", k.bitcast("i32", codes!));
  const low = build.bind("low", k.shiftRight(k.shiftLeft(sum, 16), 16));
  const both = k.add(low, k.shiftRight(k.sub(sum, low), 16));
  return build.bind("total", k.shiftLeft(k.sub(total!, k.mul(both, bias)), 4));
}
