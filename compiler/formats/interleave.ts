/**
 * Packed tensors whose rows lie side by side, a piece of their columns at a time: what one load of a subgroup takes is then
 * one block of memory. Files have rows one after another; a device's copy is put into this order at load
 * (`stdlib/order.esp`), and the words of a piece into that in which they are unpacked, where a format gains by it.
 */
import { formatOfSpec } from "./registry.js";
import type { Section, Shape, SpreadWords } from "./format.js";
import type { RowOrder } from "../types/row-order.js";
import type { FormatSpec } from "../types/type.js";

/** Words at multiples of which any device binds a part of a buffer: 256 bytes. */
const bindable = 64;

/** A section in parts that move as one: words, or halves of words. */
export interface MovedSection {
  readonly section: Section;
  /** Words of a piece; 0 for half a word. */
  readonly words: number;
  /** What its words become on the way; null where they stay as they are. */
  readonly spread: SpreadWords | null;
}

/**
 * How the sections of a tensor are put into an order; null where a piece has no whole number of its halves of words, or
 * shares a scale with others, or where a device could not bind a section by itself; or where
 * the format has no words to spread, and the order wants them so.
 */
export function movedSections(spec: FormatSpec, shape: Shape, order: RowOrder): readonly MovedSection[] | null {
  const format = formatOfSpec(spec);
  const grid = format.grid(spec);
  const { rows, columns } = shape;
  const spread = order.spread === true ? (format.spread?.(spec) ?? null) : null;
  if (order.spread === true && (spread === null || order.columns % spread.columns !== 0)) return null;
  if (rows % order.rows !== 0 || columns % order.columns !== 0) return null;
  if (grid !== null && (grid.group === "channel" || order.columns % grid.group !== 0)) return null;
  const pieces = (rows * columns) / order.columns;
  const moved: MovedSection[] = [];
  for (const section of format.sections(spec, shape)) {
    const halves = (2 * section.words) / pieces;
    if (section.offset % bindable !== 0 || (halves !== 1 && (halves === 0 || halves % 2 !== 0))) return null;
    moved.push({ section, words: Math.floor(halves / 2), spread: spread?.sections[section.name] ?? null });
  }
  return moved;
}
