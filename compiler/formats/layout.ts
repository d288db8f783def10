/**
 * What all formats share: sections one after the other, items of a few bits packed low first without regard to rows,
 * and the choice of units.
 *
 * An item of b bits stands at bit `index * b` of its section, counted from the lowest bit of the first word. For the b
 * that divide 32 an item never straddles words, and 16- and 32-bit items are in the order of a little-endian file.
 */
import { InternalError } from "../diagnostic.js";
import type { Section, Shape } from "./format.js";

/** Sections in this order, each from a multiple of 4 words on. */
export function placeSections(
  lengths: readonly { readonly name: string; readonly words: number }[],
): readonly Section[] {
  let offset = 0;
  return lengths.map(({ name, words }) => {
    const section: Section = { name, offset, words };
    offset += roundUp(words, 4);
    return section;
  });
}

/** The section of that name. */
export function sectionOf(sections: readonly Section[], name: string): Section {
  const section = sections.find((candidate) => candidate.name === name);
  if (section === undefined) throw new InternalError(`there is no section ${name}`);
  return section;
}

/** The words of all sections, the padding of the last included: a multiple of 4. */
export function totalWords(sections: readonly Section[]): number {
  return sections.reduce((end, section) => Math.max(end, section.offset + roundUp(section.words, 4)), 0);
}

/** Zeroed words for the sections. */
export function newWords(sections: readonly Section[]): Uint32Array<ArrayBuffer> {
  return new Uint32Array(totalWords(sections));
}

/** Elements of a tensor. */
export function elementsIn(shape: Shape): number {
  return shape.rows * shape.columns;
}

/** The words that `count` items of `bits` bits take. */
export function wordsFor(count: number, bits: number): number {
  return Math.ceil((count * bits) / 32);
}

/** The smallest multiple of `step` that is not below `value`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Ors item `index` of `bits` bits (1 to 32) into a section whose bits are still zero. `value` has no higher bits. */
export function putItem(words: Uint32Array, section: Section, bits: number, index: number, value: number): void {
  const { word, at } = placeOf(section, bits, index);
  words[word] = words[word]! | (value << at);
  if (at + bits > 32) words[word + 1] = words[word + 1]! | (value >>> (32 - at));
}

/** Item `index` of `bits` bits (1 to 32) of a section, as an unsigned number. */
export function getItem(words: Uint32Array, section: Section, bits: number, index: number): number {
  const { word, at } = placeOf(section, bits, index);
  const low = words[word]! >>> at;
  const all = at + bits > 32 ? low | (words[word + 1]! << (32 - at)) : low;
  return (all & (0xffffffff >>> (32 - bits))) >>> 0;
}

/** Items 0 to `count` - 1 of `bits` bits (1 to 32) of a section, as unsigned numbers: `getItem` for a whole tensor. */
export function getItems(
  words: Uint32Array,
  section: Section,
  bits: number,
  count: number,
): Uint8Array | Uint16Array | Uint32Array {
  const items = bits <= 8 ? new Uint8Array(count) : bits <= 16 ? new Uint16Array(count) : new Uint32Array(count);
  if (32 % bits !== 0) {
    for (let index = 0; index < count; index += 1) items[index] = getItem(words, section, bits, index);
    return items;
  }
  const mask = 0xffffffff >>> (32 - bits);
  for (let index = 0, word = section.offset; index < count; word += 1) {
    const all = words[word]!;
    for (let at = 0; at < 32 && index < count; at += bits, index += 1) items[index] = (all >>> at) & mask;
  }
  return items;
}

function placeOf(section: Section, bits: number, index: number): { readonly word: number; readonly at: number } {
  if (32 % bits !== 0) {
    const at = (index * bits) % 32;
    return { word: section.offset + (index * bits - at) / 32, at };
  }
  // Integer arithmetic throughout: these run once for each of a model's weights.
  const perWord = 32 / bits;
  return { word: section.offset + (index >>> (31 - Math.clz32(perWord))), at: (index & (perWord - 1)) * bits };
}

/** Columns a unit may have, the smallest first. */
const unitSizes = [2, 4, 8, 16, 32, 64] as const;

/**
 * The columns of a unit, or null: the most for which the values take at most 128 bits (one vec4), else the fewest for
 * which they take more. `valueBits` and `otherBits` are the bits per column of the sections that are read unit by unit:
 * those of a unit must fill whole words or divide one, so that it starts where a load does. Every number in `within`
 * must be a multiple of the unit.
 */
export function unitColumns(valueBits: number, otherBits: readonly number[], within: readonly number[]): number | null {
  const possible = unitSizes.filter(
    (columns) =>
      within.every((span) => span % columns === 0) &&
      [valueBits, ...otherBits].every((bits) => loadable(bits * columns)),
  );
  return possible.findLast((columns) => valueBits * columns <= 128) ?? possible[0] ?? null;
}

function loadable(bits: number): boolean {
  return Number.isInteger(bits) && bits > 0 && (bits % 32 === 0 || 32 % bits === 0);
}
