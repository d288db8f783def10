/** Items of few bits into and out of words: what `putItem` and `getItem` do, for a whole tensor at once. */
import type { Section } from "../../../compiler/formats/format.js";
import { sectionOf } from "../../../compiler/formats/layout.js";

/** Writes items of 4, 8, 16 or 32 bits, without higher bits, into a section whose words are still zero. */
export function packItems(
  words: Uint32Array,
  section: Section,
  bits: number,
  items: Uint8Array | Uint16Array | Uint32Array,
): void {
  const perWord = 32 / bits;
  for (let index = 0, word = section.offset; index < items.length; word += 1) {
    let all = 0;
    for (let at = 0; at < 32 && index < items.length; at += bits, index += 1) all |= items[index]! << at;
    words[word] = all;
  }
  if (items.length > section.words * perWord) throw new RangeError("more items than the section has");
}

/**
 * Which two of four neighbours `nm(2, 4)` stores, by those that are not zero (bit i: element i): these, filled up from
 * the lowest. Null where there are more than two.
 */
const stored: readonly (readonly [number, number] | null)[] = Array.from({ length: 16 }, (_, mask) => {
  const kept = [0, 1, 2, 3].filter((at) => (mask >> at) & 1);
  const free = [0, 1, 2, 3].filter((at) => !((mask >> at) & 1));
  const [first, second, third] = [...kept, ...free.slice(0, Math.max(0, 2 - kept.length))].sort();
  return first === undefined || second === undefined || third !== undefined ? null : [first, second];
});

/**
 * Writes `values` and `index` of `nm(2, 4)` from dense items of `bits` bits, of which one is zero where no bit of
 * `magnitude` is set. Of a group of four that has more than two others this is a RangeError.
 */
export function packQuads(
  words: Uint32Array,
  sections: readonly Section[],
  items: Uint8Array | Uint16Array | Uint32Array,
  { bits, magnitude }: { readonly bits: number; readonly magnitude: number },
): void {
  const [values, index] = [sectionOf(sections, "values").offset, sectionOf(sections, "index").offset];
  for (let first = 0, bit = 0, place = 0; first < items.length; first += 4, bit += 2 * bits, place += 4) {
    const mask =
      ((items[first]! & magnitude) !== 0 ? 1 : 0) |
      ((items[first + 1]! & magnitude) !== 0 ? 2 : 0) |
      ((items[first + 2]! & magnitude) !== 0 ? 4 : 0) |
      ((items[first + 3]! & magnitude) !== 0 ? 8 : 0);
    const pair = stored[mask]!;
    if (pair === null) throw new RangeError(`more than two of the four items from ${first} on are not zero`);
    const [low, high] = pair;
    const word = values + Math.floor(bit / 32);
    if (bits === 32) {
      words[word] = items[first + low]!;
      words[word + 1] = items[first + high]!;
    } else words[word] = words[word]! | ((items[first + low]! | (items[first + high]! << bits)) << (bit % 32));
    const at = index + Math.floor(place / 32);
    words[at] = words[at]! | ((low | (high << 2)) << (place % 32));
  }
}

/**
 * Items of `bits` bits, lowest first and across words, of rows that each begin with a word: [rows, columns] of words
 * [rows, ceil(columns * bits / 32)].
 */
export function unpackRows(words: Uint32Array, rows: number, columns: number, bits: number): Uint8Array<ArrayBuffer> {
  const perRow = Math.ceil((columns * bits) / 32);
  const items = new Uint8Array(rows * columns);
  const mask = 2 ** bits - 1;
  for (let row = 0, at = 0; row < rows; row += 1)
    for (let column = 0, bit = 32 * row * perRow; column < columns; column += 1, at += 1, bit += bits) {
      const word = Math.floor(bit / 32);
      const shift = bit % 32;
      const low = words[word]! >>> shift;
      items[at] = (shift + bits > 32 ? low | (words[word + 1]! << (32 - shift)) : low) & mask;
    }
  return items;
}

/**
 * The same down the columns: [columns, rows] (turned, so that what was packed together is neighbours) of words
 * [ceil(rows * bits / 32), columns].
 */
export function unpackColumns(
  words: Uint32Array,
  rows: number,
  columns: number,
  bits: number,
): Uint8Array<ArrayBuffer> {
  const items = new Uint8Array(rows * columns);
  const mask = 2 ** bits - 1;
  for (let row = 0, bit = 0; row < rows; row += 1, bit += bits) {
    const word = Math.floor(bit / 32) * columns;
    const shift = bit % 32;
    const straddles = shift + bits > 32;
    for (let column = 0, at = row; column < columns; column += 1, at += rows) {
      const low = words[word + column]! >>> shift;
      items[at] = (straddles ? low | (words[word + columns + column]! << (32 - shift)) : low) & mask;
    }
  }
  return items;
}

/** [columns, rows] of [rows, columns]. */
export function turned<T extends Uint8Array | Float32Array>(items: T, rows: number, columns: number): T {
  const result = items.slice() as T;
  for (let row = 0, from = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1, from += 1) result[column * rows + row] = items[from]!;
  return result;
}
