/** The codes of 2:4 units and the activations that they meet: looked up, or the codes spread over the columns. */
import type { CodeLayout, Codes } from "../../formats/code/code.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";

/** Where the code of an entry stands: byte `byte` of word `word`. */
interface EntryPlace {
  readonly word: number;
  readonly byte: number;
}

/** The place of each entry of a unit. */
export function entryPlaces({ words }: CodeLayout): readonly EntryPlace[] {
  const places: EntryPlace[] = [];
  words.forEach((entries, word) => entries.forEach((entry, byte) => (places[entry] = { word, byte })));
  return places;
}

/** `word >> amount`, to the left where the amount is negative. */
const shifted = (word: Expr, amount: number): Expr =>
  amount >= 0 ? k.shiftRight(word, amount) : k.shiftLeft(word, -amount);

/** The codes of a unit as words of the columns in order, zero where there is no entry. */
export function spreadCodes(
  build: KernelBuilder,
  codes: Codes,
  places: readonly EntryPlace[],
  groups: number,
): readonly Expr[] {
  return upTo(groups).map((group) => {
    const positions = codes.positions![group >> 3]!;
    const bytes = [0, 1].map((entry) => {
      const { word, byte } = places[2 * group + entry]!;
      const low = k.shiftRight(codes.words[word]!, 8 * byte);
      const code = byte === 3 ? low : k.bitAnd(low, 0xff);
      // eight times the position
      return k.shiftLeft(code, k.bitAnd(shifted(positions, 4 * (group & 7) + 2 * entry - 3), 24));
    });
    return build.bind("spread", k.bitOr(bytes[0]!, bytes[1]!));
  });
}

/**
 * Two positions of a group as they are stored, the first plus four times the second, are one of 4, 8, 9, 12, 13, 14.
 * The words of two groups fit in between each other: no sum of one of these and 0 or 7 is another's.
 */
const pairsOf: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 2],
  [1, 2],
  [0, 3],
  [1, 3],
  [2, 3],
];
const firstWords = [0, 7, 18, 25] as const;
/** Words of a part of 16 columns, four groups, for a lane. */
const partWords = 36;
/** What stands before the first used and after the last. */
const slack = 8;

/** Words of workgroup memory for a token's table of so many parts a lane. */
export function tableWords(parts: number, lanes: number): number {
  return (parts * partWords + slack) * lanes;
}

/** Tables of what the pairs of activations of each group look like where the codes of the weights want them. */
export interface PairTable {
  /** Writes the table of a group, of four in a part: `words` are those of the part, `group` (u32) says which. */
  fill(words: readonly Expr[], group: Expr, place: Expr, owner: Expr, start: number): void;
  /**
   * The sum of codes * activations over a unit whose first part is `firstPart`, i32; and that of the activations, f32,
   * where there is a zero point.
   */
  sum(
    codes: Codes,
    firstPart: number,
    parts: number,
    lane: Expr,
    start: number,
  ): { readonly total: Expr; readonly activations: Expr | null };
}

/** The table in an array of workgroup memory. */
export function pairTable(
  build: KernelBuilder,
  array: string,
  { lanes, layout, byDots }: { readonly lanes: number; readonly layout: CodeLayout; readonly byDots: boolean },
): PairTable {
  const places = entryPlaces(layout);
  // the two codes of a group stand in one word, or at the same byte of neighbours: then one lookup serves both words
  const together = places[0]!.word === places[1]!.word;
  const bytesOf = (group: number): readonly [number, number] =>
    together ? [places[2 * group]!.byte, places[2 * group + 1]!.byte] : [group, (group + 2) % 4];

  function fill(words: readonly Expr[], which: Expr, place: Expr, owner: Expr, start: number): void {
    const first = build.bind("first", k.add(k.add(k.mul(place, partWords * lanes), owner), start));
    words.forEach((word, group) =>
      build.when(k.equal(which, group), () => {
        const to = bytesOf(group);
        const moved = to.map((target) =>
          upTo(4).map((from) => {
            const byte = k.bitAnd(word, (0xff << (8 * from)) >>> 0);
            return build.bind("byte", shifted(byte, 8 * (from - target)));
          }),
        );
        for (const [p, q] of pairsOf)
          build.add(
            k.storeShared(
              array,
              k.add(first, (firstWords[group]! + p + 4 * q) * lanes),
              k.bitOr(moved[0]![p]!, moved[1]![q]!),
            ),
          );
      }),
    );
  }

  function sum(
    codes: Codes,
    firstPart: number,
    parts: number,
    lane: Expr,
    start: number,
  ): ReturnType<PairTable["sum"]> {
    let total: Expr | null = null;
    let activations: Expr | null = null;
    const shift = Math.log2(lanes);
    const addDot = (weights: Expr, x: Expr): void => {
      const one = k.call("dot4I8Packed", [weights, x]);
      total = total === null ? one : k.add(total, one);
      if (codes.zero === null) return;
      const plain = k.call("dot4I8Packed", [x, k.u32(0x01010101)]);
      activations = activations === null ? plain : k.add(activations, plain);
    };
    // a dot with one byte that is not zero takes a byte out and multiplies it: units that are idle else
    const nibbles = !byDots
      ? []
      : codes.positions!.map((word) =>
          [word, k.shiftRight(word, 4)].map((some) => build.bind("nibbles", k.bitAnd(some, 0x0f0f0f0f))),
        );
    const rowOf = (group: number): Expr => {
      const inWord = group & 7;
      if (!byDots) {
        const row = shifted(codes.positions![group >> 3]!, 4 * inWord - shift);
        return k.bitOr(k.bitAnd(row, 15 << shift), lane);
      }
      const times = k.u32((lanes << (8 * (inWord >> 1))) >>> 0);
      const row = k.call("dot4I8Packed", [nibbles[group >> 3]![inWord & 1]!, times]);
      return k.add(k.bitcast("u32", row), lane);
    };
    for (const part of upTo(parts)) {
      const found = upTo(4).map((inPart) => {
        const at = rowOf(4 * part + inPart);
        return k.loadShared(
          array,
          "u32",
          k.add(at, start + ((firstPart + part) * partWords + firstWords[inPart]!) * lanes),
        );
      });
      const low = build.bind("pairs", k.bitOr(found[0]!, found[1]!));
      const high = build.bind("pairs", k.bitOr(found[2]!, found[3]!));
      const { word } = places[8 * part]!;
      if (together) {
        addDot(codes.words[word]!, low);
        addDot(codes.words[word + 1]!, high);
        continue;
      }
      addDot(codes.words[word]!, k.bitOr(k.bitAnd(low, 0xffff), k.bitAnd(high, 0xffff0000)));
      // the second codes of the groups, those of the last two first
      const seconds = codes.words[word + 1]!;
      const turned = k.bitOr(k.shiftLeft(seconds, 16), k.shiftRight(seconds, 16));
      addDot(turned, k.bitOr(k.bitAnd(high, 0xffff), k.bitAnd(low, 0xffff0000)));
    }
    const all: Expr | null = activations;
    return { total: total!, activations: all === null ? null : build.bind("x_sum", k.convert("f32", all)) };
  }

  return { fill, sum };
}
