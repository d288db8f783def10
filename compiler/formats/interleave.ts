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
  const moved: MovedSection[] = [];
  for (const section of format.sections(spec, shape)) {
    const halves = (2 * section.words) / pieces;
    if (section.offset % bindable !== 0 || (halves !== 1 && (halves === 0 || halves % 2 !== 0))) return null;
    moved.push({ section, words: Math.floor(halves / 2) });
  }
  return moved;
}
