/** Units as f16, two a word, for products by matrices: with less work than by way of f32. */
import {
  add,
  bitAnd,
  bitOr,
  bitXor,
  bitcast,
  call,
  component,
  convert,
  mul,
  shiftLeft,
  shiftRight,
  splat,
  sub,
  vector,
} from "../../kernel/build.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Grid } from "../format.js";
import type { Build } from "./code.js";

/** Scale and zero point of a piece, f32, and how scales are held. */
export interface PieceGrid {
  readonly grid: Grid;
  readonly scale: Expr;
  readonly zero: Expr | null;
}

/**
 * The eight codes of a word of int4, scaled: word s holds those of items s and s + 4. The bits of a code c beside those of
 * 1024 are the f16 1024 + c, and four bits higher 1024 + 16 c.
 */
export function nibbleHalves(build: Build, word: Expr, { grid, scale, zero }: PieceGrid): readonly Expr[] {
  const codes = build.bind("codes", word);
  const high = build.bind("codes", shiftRight(codes, 8));
  // two's complement to codes from 0 up, where codes have a sign: then the zero point is 8
  const magic = (nibble: 0 | 1): number => 0x64006400 + (grid.symmetric ? (0x00080008 << (4 * nibble)) >>> 0 : 0);
  const base = (added: number): Expr =>
    zero === null
      ? k.constant("vec2<f16>", added + 8)
      : build.bind("base", splat(convert("f16", add(zero, k.f32(added))), 2));
  const bases = [base(1024), base(64)] as const;
  return upTo(4).map((at) => {
    const nibble = at % 2 === 0 ? 0 : 1;
    const bits = bitXor(bitAnd(at < 2 ? codes : high, (0x000f000f << (4 * nibble)) >>> 0), magic(nibble));
    const pair = bitcast("vec2<f16>", bits);
    const values = build.bind(
      "pair",
      sub(nibble === 0 ? pair : mul(pair, k.constant("vec2<f16>", 1 / 16)), bases[nibble]),
    );
    return scaledHalves(build, values, grid, scale);
  });
}

/**
 * Two f16 codes times the scale, as bits. A scale of f16 multiplies them as they are: the product of a code and a scale is
 * exact in f32, and so is rounded once either way.
 */
function scaledHalves(build: Build, values: Expr, grid: Grid, scale: Expr): Expr {
  if (grid.scale === "f16" && grid.shift === 0)
    return build.bind("halves", bitcast("u32", mul(values, splat(build.bind("scale", convert("f16", scale)), 2))));
  const wide = build.bind("wide", convert("vec2<f32>", values));
  return build.bind("halves", call("pack2x16float", [mul(wide, splat(scale, 2))]));
}

/**
 * Two groups of 2:4 side by side as dense columns: `first` and `second` hold the first and the second entries of both, one
 * group in the low half and one in the high. The positions of the group in the low half stand at bit `at` of `positions`,
 * those of the other 16 bits higher. Word c holds column c of both.
 */
export function spreadPairs(
  build: Build,
  first: Expr,
  second: Expr,
  positions: Expr,
  at: number,
): readonly [Expr, Expr, Expr, Expr] {
  /** All bits of a half where that bit of its group's positions is set. */
  const where = (bit: number): Expr =>
    build.bind("where", mul(bitAnd(shiftRight(positions, at + bit), 0x00010001), 0xffff));
  // the first position is 0, 1 or 2, the second 1, 2 or 3
  const [first1, first2, low, high] = upTo(4).map(where) as [Expr, Expr, Expr, Expr];
  const not = (mask: Expr): Expr => k.unary("bit_not", mask);
  return [
    bitAnd(first, not(bitOr(first1, first2))),
    bitOr(bitAnd(first, first1), bitAnd(second, bitAnd(low, not(high)))),
    bitOr(bitAnd(first, first2), bitAnd(second, bitAnd(high, not(low)))),
    bitAnd(second, bitAnd(low, high)),
  ].map((word) => build.bind("columns", word)) as [Expr, Expr, Expr, Expr];
}

/** Eight groups of 2:4, the codes of four bits: a nibble a group, in the order 0, 4, 1, 5, 2, 6, 3, 7. */
export interface NibbleGroups {
  readonly first: Expr;
  readonly second: Expr;
  readonly positions: Expr;
}

/**
 * Those of the words of a format: `low` has the entries of the first four groups, `high` those of the others, a byte a
 * group with the first entry lowest; each nibble of `positions` has those of a group.
 */
export function nibbleGroups(build: Build, low: Expr, high: Expr, positions: Expr): NibbleGroups {
  const first = build.bind("first", bitOr(bitAnd(low, 0x0f0f0f0f), bitAnd(shiftLeft(high, 4), 0xf0f0f0f0)));
  const second = build.bind("second", bitOr(bitAnd(shiftRight(low, 4), 0x0f0f0f0f), bitAnd(high, 0xf0f0f0f0)));
  // the order of the groups: what lies in the middle changes places, of bytes and then of nibbles
  const swapped = (word: Expr, by: 4 | 8, outer: number, down: number): Expr =>
    build.bind(
      "positions",
      bitOr(
        bitOr(bitAnd(word, outer), bitAnd(shiftRight(word, by), down)),
        bitAnd(shiftLeft(word, by), (down << by) >>> 0),
      ),
    );
  return {
    first,
    second,
    positions: swapped(swapped(positions, 8, 0xff0000ff, 0x0000ff00), 4, 0xf00ff00f, 0x00f000f0),
  };
}

/** Those groups as dense columns: word c holds column c of each, and 0 where a group has no entry. */
export function spreadNibbles(
  build: Build,
  { first, second, positions }: NibbleGroups,
): readonly [Expr, Expr, Expr, Expr] {
  /** All bits of a nibble where that bit of its group's positions is set. */
  const where = (bit: number): Expr => build.bind("where", mul(bitAnd(shiftRight(positions, bit), 0x11111111), 15));
  // the first position is 0, 1 or 2, the second 1, 2 or 3
  const [first1, first2, one, two] = upTo(4).map(where) as [Expr, Expr, Expr, Expr];
  const not = (mask: Expr): Expr => k.unary("bit_not", mask);
  return [
    bitAnd(first, not(bitOr(first1, first2))),
    bitOr(bitAnd(first, first1), bitAnd(second, bitAnd(one, not(two)))),
    bitOr(bitAnd(first, first2), bitAnd(second, bitAnd(two, not(one)))),
    bitAnd(second, bitAnd(one, two)),
  ].map((word) => build.bind("columns", word)) as [Expr, Expr, Expr, Expr];
}

/** Vectors of eight columns side by side in another order: word i of every 2 * distance columns has i and i + distance. */
export function reorderHalves(build: Build, vectors: readonly Expr[], distance: number): readonly Expr[] {
  if (distance === 1) return vectors;
  const words = vectors.flatMap((four) => upTo(4).map((at) => component(four, at)));
  const made: Expr[] = [];
  for (let start = 0; start < words.length; start += distance)
    for (let at = 0; at < distance / 2; at++) {
      const [a, b] = [words[start + at]!, words[start + distance / 2 + at]!];
      made.push(
        build.bind("halves", bitOr(bitAnd(a, 0xffff), shiftLeft(b, 16))),
        build.bind("halves", bitOr(shiftRight(a, 16), bitAnd(b, 0xffff0000))),
      );
    }
  return upTo(made.length / 4).map((at) => vector(made.slice(4 * at, 4 * at + 4)));
}

/** Words of columns i and i + distance as words of neighbours: what `reorderHalves` does, undone. */
export function naturalHalves(build: Build, words: readonly Expr[], distance: number): readonly Expr[] {
  const pairs = words.map((word) => build.bind("pair", bitcast("vec2<f16>", word)));
  return words.map((_, at) => {
    const inBlock = at % distance;
    const from = at - inBlock + ((2 * inBlock) % distance);
    const half = 2 * inBlock < distance ? 0 : 1;
    const [a, b] = [pairs[from]!, pairs[from + 1]!];
    return build.bind("halves", bitcast("u32", vector([component(a, half), component(b, half)])));
  });
}
