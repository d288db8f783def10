/** How kernels read a slice: as its numbers, further on. */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import type { FormatCode, WordReader } from "../code/code.js";
import type { Section } from "../format.js";
import { offsetOf } from "./meaning.js";

/** The code of slices of numbers that `code` reads. */
export function sliceCode(code: FormatCode): FormatCode {
  const further = (read: WordReader, spec: FormatSpec): WordReader => {
    const moved = (section: Section): Section => ({ ...section, offset: section.offset + offsetOf(spec) });
    const { half } = read;
    return {
      ...read,
      word: (section, index) => read.word(moved(section), index),
      words4: (section, index) => read.words4(moved(section), index),
      words2: (section, index) => read.words2(moved(section), index),
      half: half === null ? null : (section, index) => half(moved(section), index),
    };
  };
  const numbers = (spec: FormatSpec): FormatSpec => {
    if (spec.of === null) throw new InternalError("a slice of nothing");
    return spec.of;
  };
  return {
    locate: (spec, shape, read, row, column) => code.locate(numbers(spec), shape, further(read, spec), row, column),
    stored: (spec, shape, read, row, unit) => code.stored(numbers(spec), shape, further(read, spec), row, unit),
    packed: () => null,
    element: null,
    codes: null,
    halves: () => null,
  };
}
