/**
 * The formats that a GGUF file has: blocks of neighbouring columns, each with its own scale among its codes, as bytes
 * one after the other. The words are the bytes of the file unchanged, so blocks of 18, 34 or 210 bytes begin in the
 * middle
 * of words. `q8_0.ts`, `q4_0.ts`, `q4_1.ts` and `q6_k.ts` say what is inside of a block.
 *
 * Packing is done on the host, by the quantiser of llama.cpp: it looks at the whole block, and finds its own scale.
 */
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
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { f16Bits } from "../../float.js";
import type { Format, Section, Shape, Stored, Unit, WordReader } from "../format.js";
import { elementCount, modulo, newWords, placeSections, quotient, range, sectionOf } from "../layout.js";

/** What is inside of a block. */
export interface BlockLayout {
  readonly name: string;
  /** Columns of a block. */
  readonly columns: number;
  /** Bytes of a block; even. */
  readonly bytes: number;
  /** Columns of a unit (see `Unit`), which share one scale. */
  readonly unitColumns: number;
  /**
   * Writes the values of a block into its bytes (zeroed before). Throws a RangeError saying which number of the block
   * f16 cannot hold.
   */
  encode(values: Float32Array, bytes: DataView): void;
  /** The values of a block. */
  decode(bytes: DataView, values: Float32Array): void;
  /** The value at `column` (u32) of the block, f32. */
  locate(read: BlockReader, column: Expr): Expr;
  /** What unit `unit` (u32) of the block holds. */
  stored(read: BlockReader, unit: Expr): Stored;
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
   * as loads start at whole words.
   */
  words(at: Operand, count: number, spare: "before" | "after"): readonly Expr[];
}

/** Makes such a format. */
export function blockFormat(layout: BlockLayout): Format {
  const { name, columns: span, bytes } = layout;

  function sections(_spec: FormatSpec, shape: Shape): readonly Section[] {
    return placeSections([{ name: "blocks", words: Math.ceil(((elementCount(shape) / span) * bytes) / 4) }]);
  }
  function blocks(
    words: Uint32Array,
    dense: Float32Array,
  ): readonly { readonly view: DataView; readonly values: Float32Array }[] {
    return range(dense.length / span).map((at) => ({
      view: new DataView(words.buffer, words.byteOffset + at * bytes, bytes),
      values: dense.subarray(at * span, (at + 1) * span),
    }));
  }
  function reader(spec: FormatSpec, shape: Shape, read: WordReader, block: Expr): BlockReader {
    return blockReader(read, sectionOf(sections(spec, shape), "blocks"), block, bytes);
  }

  return {
    name,
    parameters: [],
    packsOnHost: true,
    elementwise: false,
    normalize: (spec) =>
      spec.of === null ? normalizeArguments(spec, []) : `${name} stores single values; it takes no \`of\`.`,
    complete: (spec) => spec,
    check: (_spec, shape) =>
      shape.columns % span === 0 ? null : `K = ${shape.columns} is not a multiple of the block of ${span}`,
    pattern: () => null,
    grid: () => null,
    sections,
    encode(spec, shape, dense) {
      const words = newWords(sections(spec, shape));
      for (const [at, { view, values }] of blocks(words, dense).entries()) {
        try {
          if (!values.every(Number.isFinite)) throw new RangeError("a value is not finite");
          layout.encode(values, view);
        } catch (problem) {
          if (!(problem instanceof RangeError)) throw problem;
          const first = at * span;
          throw new Error(
            `In row ${Math.floor(first / shape.columns)}, columns ${first % shape.columns} to ${(first % shape.columns) + span - 1}, ${problem.message}.`,
          );
        }
      }
      return words;
    },
    decode(_spec, shape, words) {
      const dense = new Float32Array(elementCount(shape));
      for (const { view, values } of blocks(words, dense)) layout.decode(view, values);
      return dense;
    },
    locate(spec, shape, read, row, column) {
      const block = read.bind("block", add(mul(row, shape.columns / span), quotient(column, span)));
      return layout.locate(reader(spec, shape, read, block), read.bind("column", modulo(column, span)));
    },
    unit: (_spec, shape): Unit | null =>
      shape.columns % span === 0
        ? { columns: layout.unitColumns, entries: layout.unitColumns, scaleColumns: layout.unitColumns }
        : null,
    stored(spec, shape, read, row, unit) {
      if (shape.columns % span !== 0) throw new InternalError(`${name} has no units at ${shape.columns} columns`);
      const perBlock = span / layout.unitColumns;
      const block = read.bind("block", add(mul(row, shape.columns / span), quotient(unit, perBlock)));
      return layout.stored(
        reader(spec, shape, read, block),
        perBlock === 1 ? u32(0) : read.bind("part", modulo(unit, perBlock)),
      );
    },
    packed: () => null,
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
      if (bytes % 4 === 0 && typeof at === "number" && at % 4 === 0) {
        const whole = read.bind("first", shiftRight(add(start, at), 2));
        return range(count).map((k) => read.bind("codes", read.word(section, add(whole, k))));
      }
      const begin = read.bind("begin", add(start, at));
      const aligned = read.bind("aligned", equal(bitAnd(begin, 2), 0));
      const first = read.bind("first", shiftRight(spare === "after" ? begin : sub(begin, 2), 2));
      const loaded = range(count + 1).map((k) => read.bind("load", read.word(section, add(first, k))));
      return range(count).map((k) => {
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

/** The bits of a block's scale or minimum. Throws a RangeError where f16 cannot hold it. */
export function storedHalf(what: string, value: number): number {
  const bits = f16Bits(value);
  if ((bits & 0x7c00) === 0x7c00) throw new RangeError(`the ${what} is ${value}, which f16 cannot hold`);
  return bits;
}

/** 1 / d in f32; 0 for 0. */
export function reciprocal(d: number): number {
  return d === 0 ? 0 : Math.fround(1 / d);
}
