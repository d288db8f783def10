/** Reading and writing where the entries of a group of n:m stand. */
import {
  add,
  bitAnd,
  bitOr,
  call,
  equal,
  less,
  min,
  notEqual,
  or,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
  unary,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Build, WordReader } from "./code.js";
import { readItem, unitField } from "./layout.js";
import type { Section } from "../format.js";
import type { NmParts } from "../nm/meaning.js";
import { choiceBits, choices } from "../nm/positions.js";

/** Whether a position of a group is that of an entry, and of which. */
export function placeAt(
  read: WordReader,
  section: Section,
  { n, m, together, groupBits }: NmParts,
  group: Expr,
  position: Expr,
): { readonly which: Expr; readonly found: Expr } {
  if (together) {
    const mask = chosenMask(read, section, n, m, group);
    const bit = read.bind("bit", shiftLeft(u32(1), position));
    return {
      which: call("countOneBits", [bitAnd(mask, sub(bit, 1))]),
      found: notEqual(bitAnd(mask, bit), 0),
    };
  }
  const bits = groupBits / n;
  const item = readItem(read, section, groupBits, group);
  const field = 32 % groupBits === 0 ? read.bind("index", item) : item;
  const here = upTo(n)
    .map((j) => bitAnd(shiftRight(field, j * bits), 2 ** bits - 1))
    .map((candidate) => read.bind("here", equal(candidate, position)));
  return {
    which: here.reduceRight<Expr>((otherwise, found, j) => select(found, u32(j), otherwise), u32(0)),
    found: here.reduce((a, b) => or(a, b)),
  };
}

/** The positions of the entries of a unit, from the words of its fields. */
export function fieldsOf(words: readonly Expr[], bits: number): (entry: number) => Expr {
  return (entry) => unitField(words, bits, entry);
}

/** Those of `count` groups from group `first` on whose positions stand together. */
export function chosenOf(
  read: WordReader,
  section: Section,
  n: number,
  m: number,
  first: Expr,
  count: number,
): (entry: number) => Expr {
  const positions = upTo(count).flatMap((at) => {
    let mask = chosenMask(read, section, n, m, add(first, at));
    return upTo(n).map(() => {
      const below = read.bind("below", sub(mask, 1));
      const position = read.bind("position", call("countOneBits", [bitAnd(unary("bit_not", mask), below)]));
      mask = read.bind("mask", bitAnd(mask, below));
      return position;
    });
  });
  return (entry) => positions[entry]!;
}

/** The positions of a group as the n bits of a word, by the number of the choice (`positions.ts`). */
function chosenMask(read: WordReader, section: Section, n: number, m: number, group: Expr): Expr {
  const bits = choiceBits(n, m);
  const number = bitAnd(readItem(read, section, bits, group), 2 ** bits - 1);
  let left = read.bind("choice", min(number, choices(m, n) - 1));
  let rest: Expr = u32(n);
  let mask: Expr = u32(0);
  for (let at = 0; at < m; at += 1) {
    const taking = takingAt(read, rest, at, n, m);
    const takes = read.bind("takes", less(left, taking));
    mask = bitOr(mask, select(takes, u32(1 << at), u32(0)));
    if (at === m - 1) break;
    left = read.bind("left", sub(left, select(takes, u32(0), taking)));
    rest = read.bind("rest", sub(rest, select(takes, u32(1), u32(0))));
  }
  return read.bind("mask", mask);
}

/** How many choices take position `at` when `rest` are still to be chosen. */
function takingAt(build: Build, rest: Expr, at: number, n: number, m: number): Expr {
  // at least as many as the positions left must not be wanted, nor more than n chosen before
  const possible = upTo(n + 1).filter((count) => count >= n - at && count <= m - at);
  const ways = possible.map((count) => ({ count, ways: count === 0 ? 0 : choices(m - 1 - at, count - 1) }));
  return build.bind(
    "taking",
    ways
      .slice(1)
      .reduce<Expr>((found, each) => select(equal(rest, each.count), u32(each.ways), found), u32(ways[0]!.ways)),
  );
}

/** The number of the choice of those that are kept. */
export function choiceNumber(build: Build, kept: readonly Expr[], n: number): Expr {
  const m = kept.length;
  let rest: Expr = u32(n);
  let code: Expr = u32(0);
  kept.forEach((keeps, at) => {
    const taking = takingAt(build, rest, at, n, m);
    code = build.bind("choice", add(code, select(keeps, u32(0), taking)));
    rest = build.bind("rest", sub(rest, select(keeps, u32(1), u32(0))));
  });
  return code;
}
