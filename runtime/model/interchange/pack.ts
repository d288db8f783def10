/** Items of few bits into and out of words: what `putItem` and `getItem` do, for a whole tensor at once. */
import type { Section } from "../../../compiler/formats/format.js";
import { putItem, sectionOf } from "../../../compiler/formats/layout.js";

/** Writes items without higher bits into a section whose words are still zero. */
export function packItems(
  words: Uint32Array<ArrayBuffer>,
  section: Section,
  bits: number,
  items: Uint8Array | Uint16Array | Uint32Array,
): void {
  if (items.length * bits > 32 * section.words) throw new RangeError("more items than the section has");
  const start = words.byteOffset + 4 * section.offset;
  if (items instanceof Uint8Array && bits === 4) packNibbles(words, section.offset, items);
  else if (bits === 8) new Uint8Array(words.buffer, start).set(items);
  else if (bits === 16) new Uint16Array(words.buffer, start).set(items);
  else if (bits === 32) words.set(items, section.offset);
  else for (const [at, item] of items.entries()) putItem(words, section, bits, at, item);
}

function packNibbles(words: Uint32Array, offset: number, items: Uint8Array): void {
  const whole = items.length - (items.length % 8);
  let word = offset;
  for (let at = 0; at < whole; at += 8, word += 1)
    words[word] =
      items[at]! |
      (items[at + 1]! << 4) |
      (items[at + 2]! << 8) |
      (items[at + 3]! << 12) |
      (items[at + 4]! << 16) |
      (items[at + 5]! << 20) |
      (items[at + 6]! << 24) |
      (items[at + 7]! << 28);
  for (let at = whole; at < items.length; at += 1) words[word] = words[word]! | (items[at]! << (4 * (at - whole)));
}

/**
 * Which two of four neighbours `nm(2, 4)` stores, by those that are not zero (bit i: element i): these, filled up from
 * the lowest; the second times four. Negative where there are more than two.
 */
const stored = Int8Array.from({ length: 16 }, (_, mask) => {
  const kept = [0, 1, 2, 3].filter((at) => (mask >> at) & 1);
  const free = [0, 1, 2, 3].filter((at) => !((mask >> at) & 1));
  const [first = 0, second = 0] = [...kept, ...free.slice(0, Math.max(0, 2 - kept.length))].sort();
  return kept.length > 2 ? -1 : first | (second << 2);
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
  let value = sectionOf(sections, "values").offset;
  let index = sectionOf(sections, "index").offset;
  // what is written next, and how much of it there is
  let [pairs, filled, positions, placed] = [0, 0, 0, 0];
  for (let first = 0; first < items.length; first += 4) {
    const mask =
      ((items[first]! & magnitude) !== 0 ? 1 : 0) |
      ((items[first + 1]! & magnitude) !== 0 ? 2 : 0) |
      ((items[first + 2]! & magnitude) !== 0 ? 4 : 0) |
      ((items[first + 3]! & magnitude) !== 0 ? 8 : 0);
    const pair = stored[mask]!;
    if (pair < 0) throw new RangeError(`more than two of the four items from ${first} on are not zero`);
    const [low, high] = [items[first + (pair & 3)]!, items[first + (pair >> 2)]!];
    if (bits === 32) {
      words[value] = low;
      words[value + 1] = high;
      value += 2;
    } else {
      pairs |= (low | (high << bits)) << filled;
      filled += 2 * bits;
      if (filled === 32) {
        words[value] = pairs;
        value += 1;
        pairs = filled = 0;
      }
    }
    positions |= pair << placed;
    placed += 4;
    if (placed === 32) {
      words[index] = positions;
      index += 1;
      positions = placed = 0;
    }
  }
  if (filled > 0) words[value] = pairs;
  if (placed > 0) words[index] = positions;
}

/**
 * Items of `bits` bits, lowest first and across words, of rows that each begin with a word: [rows, columns] of words
 * [rows, ceil(columns * bits / 32)].
 */
export function unpackRows(words: Uint32Array, rows: number, columns: number, bits: number): Uint8Array<ArrayBuffer> {
  const perRow = Math.ceil((columns * bits) / 32);
  const items = new Uint8Array(rows * columns);
  const mask = 2 ** bits - 1;
  if (32 % bits === 0) {
    for (let row = 0, at = 0, word = 0; row < rows; row += 1)
      for (const end = at + columns; at < end; word += 1) {
        const all = words[word]!;
        for (let shift = 0; shift < 32 && at < end; shift += bits, at += 1) items[at] = (all >>> shift) & mask;
      }
    return items;
  }
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
  if (32 % bits === 0) {
    const perWord = 32 / bits;
    for (let first = 0, word = 0; first < rows; first += perWord) {
      const end = Math.min(perWord, rows - first);
      for (let column = 0; column < columns; column += 1, word += 1) {
        const all = words[word]!;
        const at = column * rows + first;
        for (let item = 0; item < end; item += 1) items[at + item] = (all >>> (item * bits)) & mask;
      }
    }
    return items;
  }
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
