/** Packed tensors with their rows side by side, said once more than the library and the kernels do. */
import { movedSections } from "../../compiler/formats/interleave.js";
import type { Shape } from "../../compiler/formats/format.js";
import type { RowOrder } from "../../compiler/types/row-order.js";
import type { FormatSpec } from "../../compiler/types/type.js";

/** The row of a block that stands at place `at`: 0, 1, 4, 5, 2, 3, 6, 7 and so on. */
function rowBeside(at: number): number {
  return at - (at % 8) + (at % 2) + 2 * (Math.floor(at / 4) % 2) + 4 * (Math.floor(at / 2) % 2);
}

/** Nibbles of words that become other words: place i of the result is place `from[i]` of the words given. */
const spread = {
  // a word of even nibbles and one of odd ones, those of the second word given after those of the first
  entries: [0, 8, 2, 10, 4, 12, 6, 14, 1, 9, 3, 11, 5, 13, 7, 15],
  positions: [0, 4, 1, 5, 2, 6, 3, 7],
};

/** Words with the nibbles of each few in another order. */
function spreadWords(words: Uint32Array, from: readonly number[]): Uint32Array {
  const nibble = (at: number): number => (words[Math.floor(at / 8)]! >>> (4 * (at % 8))) & 15;
  return words.map((_, word) => {
    let made = 0;
    for (let at = 8 * word; at < 8 * word + 8; at++)
      made += nibble(at - (at % from.length) + from[at % from.length]!) * 16 ** (at % 8);
    return made;
  });
}

/** The words of a tensor in an order: what the device is to have. */
export function interleavedWords(
  spec: FormatSpec,
  shape: Shape,
  order: RowOrder,
  words: Uint32Array,
): Uint32Array<ArrayBuffer> {
  const made = Uint32Array.from(words);
  const halves = new Uint16Array(made.buffer);
  const given = new Uint16Array(Uint32Array.from(words).buffer);
  const across = shape.columns / order.columns;
  for (const { section, words: each, spread: how } of movedSections(spec, shape, order) ?? []) {
    const size = Math.max(1, 2 * each);
    const pieces = (2 * section.words) / size;
    for (let to = 0; to < pieces; to++) {
      const inBlock = to % (order.rows * across);
      const row = Math.floor(to / (order.rows * across)) * order.rows + rowBeside(inBlock % order.rows);
      const from = row * across + Math.floor(inBlock / order.rows);
      for (let at = 0; at < size; at++)
        halves[2 * section.offset + to * size + at] = given[2 * section.offset + from * size + at]!;
    }
    if (how === null) continue;
    const own = made.subarray(section.offset, section.offset + section.words);
    own.set(spreadWords(own, spread[how]));
  }
  return made;
}
