/**
 * Packed tensors whose rows lie side by side, a piece of their columns at a time: what one load of a subgroup takes is then
 * one block of memory. Files have rows one after another; a device's copy is put into this order at load
 * (`stdlib/order.esp`).
 */
import { formatOfSpec } from "./registry.js";
import type { Section, Shape } from "./format.js";
import type { RowOrder } from "../types/row-order.js";
import type { FormatSpec } from "../types/type.js";

/** Words at multiples of which any device binds a part of a buffer: 256 bytes. */
const bindable = 64;

/** A section in parts that move as one: words, or halves of words. */
export interface MovedSection {
  readonly section: Section;
  /** Words of a piece; 0 for half a word. */
  readonly words: number;
}

/**
 * How the sections of a tensor are put into an order; null where a piece has no whole number of its halves of words, or
 * shares a scale with others, or where a device could not bind a section by itself.
 */
export function movedSections(spec: FormatSpec, shape: Shape, order: RowOrder): readonly MovedSection[] | null {
  const format = formatOfSpec(spec);
  const grid = format.grid(spec);
  const { rows, columns } = shape;
  if (rows % order.rows !== 0 || columns % order.columns !== 0) return null;
  if (grid !== null && (grid.group === "channel" || order.columns % grid.group !== 0)) return null;
  const pieces = (rows * columns) / order.columns;
  const moved = format.sections(spec, shape).map((section): MovedSection | null => {
    if (section.offset % bindable !== 0) return null;
    const halves = (2 * section.words) / pieces;
    if (halves === 1) return { section, words: 0 };
    return halves % 2 === 0 && halves > 0 ? { section, words: halves / 2 } : null;
  });
  return moved.some((each) => each === null) ? null : (moved as readonly MovedSection[]);
}

/**
 * The row of a block that stands at place `at`: 0, 1, 4, 5, 2, 3, 6, 7 and so on. Invocations that unpack neighbours then
 * write to different banks of workgroup memory.
 */
export function rowBeside(at: number): number {
  return at - (at % 8) + (at % 2) + 2 * (Math.floor(at / 4) % 2) + 4 * (Math.floor(at / 2) % 2);
}

/** The words of a tensor in an order: what the device is to have, for tests. */
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
  for (const { section, words: each } of movedSections(spec, shape, order) ?? []) {
    const size = Math.max(1, 2 * each);
    const pieces = (2 * section.words) / size;
    for (let to = 0; to < pieces; to++) {
      const inBlock = to % (order.rows * across);
      const row = Math.floor(to / (order.rows * across)) * order.rows + rowBeside(inBlock % order.rows);
      const from = row * across + Math.floor(inBlock / order.rows);
      for (let at = 0; at < size; at++)
        halves[2 * section.offset + to * size + at] = given[2 * section.offset + from * size + at]!;
    }
  }
  return made;
}
