/** How kernels read the formats of blocks. */
import { InternalError } from "../../diagnostic.js";
import {
  add,
  bitAnd,
  bitOr,
  bitcast,
  convert,
  equal,
  mul,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
  type Operand,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type { FormatCode, Stored, WordReader } from "../code/code.js";
import type { CodeLayout, CodeReader, Codes } from "../code/code.js";
import { modulo, quotient } from "../code/layout.js";
import type { Format, Section, Shape } from "../format.js";
import { sectionOf } from "../layout.js";
import type { BlockLayout } from "./meaning.js";

/** How kernels read what is inside of a block. */
export interface BlockCode {
  /** The value at `column` (u32) of the block, f32. */
  locate(read: BlockReader, column: Expr): Expr;
  /** What unit `unit` (u32) of the block holds. */
  stored(read: BlockReader, unit: Expr): Stored;
  /** What a block holds as integer codes, where it is one unit and its values are that. */
  readonly codes: {
    readonly words: CodeLayout["words"];
    readonly factor: number;
    read(read: BlockReader): Pick<Codes, "words" | "scale">;
  } | null;
}

/** Reads the bytes of one block. */
export interface BlockReader {
  bind(hint: string, value: Expr): Expr;
  /** The word with the byte at `at` lowest; higher bits hold anything. */
  byte(at: Operand): Expr;
  /** The word with the two bytes at `at`, an even number, lowest; higher bits hold anything. */
  half(at: Operand): Expr;
  /**
   * `count` words from byte `at` on, an even number. There must be two more bytes of the block on the side of `spare`,
   * as loads start at whole words; "whole" where they start there anyway.
   */
  words(at: Operand, count: number, spare: "before" | "after" | "whole"): readonly Expr[];
}

/** The code of a format that `blockFormat` made of `layout`. */
export function blockCode(format: Format, layout: BlockLayout, code: BlockCode): FormatCode {
  const { name, columns: span, bytes } = layout;

  function reader(spec: FormatSpec, shape: Shape, read: WordReader, block: Expr): BlockReader {
    return blockReader(read, sectionOf(format.sections(spec, shape), "blocks"), block, bytes);
  }

  return {
    locate(spec, shape, read, row, column) {
      const block = read.bind("block", add(mul(row, shape.columns / span), quotient(column, span)));
      return code.locate(reader(spec, shape, read, block), read.bind("column", modulo(column, span)));
    },
    stored(spec, shape, read, row, unit) {
      if (shape.columns % span !== 0) throw new InternalError(`${name} has no units at ${shape.columns} columns`);
      const perBlock = span / layout.unitColumns;
      const block = read.bind("block", add(mul(row, shape.columns / span), quotient(unit, perBlock)));
      return code.stored(
        reader(spec, shape, read, block),
        perBlock === 1 ? u32(0) : read.bind("part", modulo(unit, perBlock)),
      );
    },
    packed: () => null,
    element: null,
    halves: () => null,
    codes: code.codes === null ? null : blockCodes(format, layout, code.codes, reader),
  };
}

function blockCodes(
  format: Format,
  { name, columns: span }: BlockLayout,
  { words, factor, read: codes }: NonNullable<BlockCode["codes"]>,
  reader: (spec: FormatSpec, shape: Shape, read: WordReader, block: Expr) => BlockReader,
): CodeReader {
  return {
    layout: (spec, shape) => (format.unit(spec, shape) === null ? null : { words, dense: true, zero: false, factor }),
    read(spec, shape, read, row, unit) {
      if (format.unit(spec, shape) === null)
        throw new InternalError(`${name} has no codes at ${shape.columns} columns`);
      const block = read.bind("block", add(mul(row, shape.columns / span), unit));
      return { ...codes(reader(spec, shape, read, block)), positions: null, zero: null };
    },
  };
}

function blockReader(read: WordReader, section: Section, block: Expr, bytes: number): BlockReader {
  const start = read.bind("start", mul(block, bytes));
  return {
    bind: (hint, value) => read.bind(hint, value),
    byte(at) {
      const index = read.bind("byte", add(start, at));
      return shiftRight(read.word(section, shiftRight(index, 2)), shiftLeft(bitAnd(index, 3), 3));
    },
    half(at) {
      if (bytes % 4 === 0 && typeof at === "number")
        return shiftRight(read.word(section, shiftRight(add(start, at), 2)), (at % 4) * 8);
      const index = read.bind("byte", add(start, at));
      return shiftRight(read.word(section, shiftRight(index, 2)), shiftLeft(bitAnd(index, 2), 3));
    },
    words(at, count, spare) {
      if (spare === "whole" || (bytes % 4 === 0 && typeof at === "number" && at % 4 === 0)) {
        const whole = read.bind("first", shiftRight(add(start, at), 2));
        return upTo(count).map((k) => read.bind("codes", read.word(section, add(whole, k))));
      }
      const begin = read.bind("begin", add(start, at));
      const aligned = read.bind("aligned", equal(bitAnd(begin, 2), 0));
      const first = read.bind("first", shiftRight(spare === "after" ? begin : sub(begin, 2), 2));
      const loaded = upTo(count + 1).map((k) => read.bind("load", read.word(section, add(first, k))));
      return upTo(count).map((k) => {
        const [low, high] = [loaded[k]!, loaded[k + 1]!];
        return read.bind(
          "codes",
          select(aligned, spare === "after" ? low : high, bitOr(shiftRight(low, 16), shiftLeft(high, 16))),
        );
      });
    },
  };
}

/** Byte `at` of a word as an unsigned number, f32. */
export function unsignedByte(word: Expr, at: number): Expr {
  return convert("f32", bitAnd(shiftRight(word, at * 8), 0xff));
}

/** Byte `at` of a word as a signed number, f32. */
export function signedByte(word: Expr, at: number): Expr {
  return convert("f32", shiftRight(bitcast("i32", shiftLeft(word, 24 - at * 8)), 24));
}
