/** Packed tensors some rows at a time: what is made of a large one takes the room of a few rows. */
import type { FormatSpec } from "../types/type.js";
import type { Shape } from "./format.js";
import { newWords } from "./layout.js";
import { formatOfSpec } from "./registry.js";

/** Rows of a tensor as a tensor of their own, in the same format. */
export interface Strip {
  /** The first of the rows. */
  readonly first: number;
  readonly shape: Shape;
  readonly words: Uint32Array<ArrayBuffer>;
}

/** So many rows fill whole words, however many bits an item has. */
const unit = 32;

/**
 * The strips of a tensor, in order, each of about `elements` elements: a multiple of 32 rows, the last of what is left.
 * A single one, the words themselves, where a section is not row after row: bitmasks, columns in an order of their own,
 * corrections.
 */
export function* stripsOf(
  spec: FormatSpec,
  shape: Shape,
  words: Uint32Array<ArrayBuffer>,
  elements: number = 2 ** 19,
): Generator<Strip> {
  const { rows, columns } = shape;
  const format = formatOfSpec(spec);
  const step = unit * Math.max(1, Math.floor(elements / (unit * Math.max(1, columns))));
  const whole = format.sections(spec, shape);
  const perUnit = format.sections(spec, { rows: unit, columns }).map((section) => section.words);
  if (rows <= step || whole.some((section, at) => section.words !== Math.ceil((perUnit[at]! * rows) / unit))) {
    yield { first: 0, shape, words };
    return;
  }
  for (let first = 0; first < rows; first += step) {
    const own = { rows: Math.min(step, rows - first), columns };
    const sections = format.sections(spec, own);
    const strip = newWords(sections);
    for (const [at, section] of sections.entries()) {
      const begin = whole[at]!.offset + (first / unit) * perUnit[at]!;
      strip.set(words.subarray(begin, begin + section.words), section.offset);
    }
    yield { first, shape: own, words: strip };
  }
}
