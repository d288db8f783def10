/** Packed tensors with their rows side by side, said once more than the library and the kernels do. */
import { movedSections } from "../../compiler/formats/interleave.js";
import type { Shape } from "../../compiler/formats/format.js";
import type { RowOrder } from "../../compiler/types/row-order.js";
import type { FormatSpec } from "../../compiler/types/type.js";

/** The row of a block that stands at place `at`: 0, 1, 4, 5, 2, 3, 6, 7 and so on. */
function rowBeside(at: number): number {
  return at - (at % 8) + (at % 2) + 2 * (Math.floor(at / 4) % 2) + 4 * (Math.floor(at / 2) % 2);
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
