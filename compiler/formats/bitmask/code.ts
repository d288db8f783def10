/** How kernels read `bitmask of V`. */
import { InternalError } from "../../diagnostic.js";
import {
  add,
  bitAnd,
  call,
  component,
  equal,
  f32,
  greater,
  min,
  mul,
  notEqual,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type { ElementCode, FormatCode, Stored, WordReader } from "../code/code.js";
import { readItem } from "../code/layout.js";
import { readGrid } from "../code/scales.js";
import type { Format, Section, Shape } from "../format.js";
import { sectionOf } from "../layout.js";
import { nonzerosOf, unitSize, valueSpec } from "./meaning.js";

/** The code of that format; `elementOf` gives that of the values. */
export function bitmaskCode(format: Format, elementOf: (values: FormatSpec) => ElementCode): FormatCode {
  /** Value `entry`; where the element is not kept, `entry` may be the one after the last, and the value is any. */
  function entryValue(spec: FormatSpec, layout: readonly Section[], read: WordReader, entry: Expr): Expr {
    const element = elementOf(valueSpec(spec));
    const last = Math.max(nonzerosOf(spec), 1) - 1;
    return element.read(
      read,
      readItem(read, sectionOf(layout, "values"), element.bits, read.bind("entry", min(entry, last))),
    );
  }

  function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
    const layout = format.sections(spec, shape);
    const index = read.bind("index", add(mul(row, shape.columns), column));
    const { bits, before } = countBefore(layout, read, shiftRight(index, 5));
    const bit = read.bind("bit", shiftLeft(u32(1), bitAnd(index, 31)));
    const value = entryValue(spec, layout, read, add(before, countOnes(bitAnd(bits, sub(bit, 1)))));
    const kept = notEqual(bitAnd(bits, bit), 0);
    const grid = format.grid(spec);
    if (grid === null) return select(kept, value, f32(0));
    const { scale, zero } = readGrid(grid, shape, layout, read, row, column);
    return select(kept, mul(zero === null ? value : sub(value, zero), scale), f32(0));
  }

  function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
    if (format.unit(spec, shape) === null) throw new InternalError(`bitmask has no units at ${shape.columns} columns`);
    const layout = format.sections(spec, shape);
    const { bits, before } = countBefore(layout, read, add(mul(row, shape.columns / unitSize), at));
    const grid = format.grid(spec);
    const held =
      grid === null ? { scale: null, zero: null } : readGrid(grid, shape, layout, read, row, mul(at, unitSize));
    let entry = before;
    const entries = upTo(unitSize).map((column) => {
      const bit = read.bind("bit", bitAnd(shiftRight(bits, column), 1));
      const value = select(notEqual(bit, 0), entryValue(spec, layout, read, entry), held.zero ?? f32(0));
      entry = read.bind("next", add(entry, bit));
      return { column, value };
    });
    return { entries, ...held };
  }

  return { locate, stored, packed: () => null, element: null, codes: null, halves: () => null };
}

/**
 * The bits before word `word` of the section "bits": those of the blocks before, and of the words of its own block.
 * Also gives that word.
 */
function countBefore(
  layout: readonly Section[],
  read: WordReader,
  word: Expr,
): { readonly bits: Expr; readonly before: Expr } {
  const block = read.bind("block", shiftRight(word, 2));
  const four = read.bind("bits", read.words4(sectionOf(layout, "bits"), block));
  const lane = read.bind("lane", bitAnd(word, 3));
  const parts = upTo(4).map((at) => component(four, at));
  const own = parts.reduceRight((otherwise, part, at) => select(equal(lane, at), part, otherwise));
  const before = upTo(3).map((at) => select(greater(lane, at), countOnes(parts[at]!), u32(0)));
  return {
    bits: read.bind("own", own),
    before: read.bind(
      "before",
      before.reduce((a, b) => add(a, b), read.word(sectionOf(layout, "counts"), block)),
    ),
  };
}

function countOnes(word: Expr): Expr {
  return call("countOneBits", [word]);
}
