/**
 * The formats that a GGUF file has: blocks of neighbouring columns, each with its own scale among its codes, as bytes
 * one after the other. The words are the bytes of the file unchanged, so blocks of 18, 34 or 210 bytes begin in the
 * middle of words. `q8_0/`, `q4_0/` and the others say what is inside of a block.
 *
 * Packing is done on the host, by the quantiser of llama.cpp: it looks at the whole block, and finds its own scale. Some
 * are read only.
 */
import { f16Bits } from "../../float.js";
import { upTo } from "../../types/shape.js";
import { normalizeArguments } from "../arguments.js";
import type { FormatSpec } from "../../types/type.js";
import type { Format, Section, Shape, Unit } from "../format.js";
import { elementsIn, newWords, placeSections } from "../layout.js";

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
   * f16 cannot hold. Null where blocks are read from files alone.
   */
  readonly encode: ((values: Float32Array, bytes: DataView) => void) | null;
  /** The values of a block. */
  decode(bytes: DataView, values: Float32Array): void;
}

/** Makes such a format. */
export function blockFormat(layout: BlockLayout): Format {
  const { name, columns: span, bytes } = layout;

  function sections(_spec: FormatSpec, shape: Shape): readonly Section[] {
    return placeSections([{ name: "blocks", words: Math.ceil(((elementsIn(shape) / span) * bytes) / 4) }]);
  }
  function blocks(
    words: Uint32Array,
    dense: Float32Array,
  ): readonly { readonly view: DataView; readonly values: Float32Array }[] {
    return upTo(dense.length / span).map((at) => ({
      view: new DataView(words.buffer, words.byteOffset + at * bytes, bytes),
      values: dense.subarray(at * span, (at + 1) * span),
    }));
  }
  return {
    name,
    example: name,
    parameters: [],
    packsOnHost: true,
    elementwise: false,
    block: { group: layout.unitColumns, many: span / layout.unitColumns },
    ...(layout.encode === null ? { readOnly: true } : {}),
    normalize: (spec) =>
      spec.of === null ? normalizeArguments(spec, []) : `${name} stores single values; it takes no \`of\`.`,
    complete: (spec) => spec,
    check: (_spec, shape) =>
      shape.columns % span === 0 ? null : `K = ${shape.columns} is not a multiple of the block of ${span}`,
    pattern: () => null,
    grid: () => null,
    sections,
    encode(spec, shape, dense) {
      const { encode } = layout;
      if (encode === null) throw new Error(`${name} is read from files, and not packed.`);
      const words = newWords(sections(spec, shape));
      for (const [at, { view, values }] of blocks(words, dense).entries()) {
        try {
          if (!values.every(Number.isFinite)) throw new RangeError("a value is not finite");
          encode(values, view);
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
      const dense = new Float32Array(elementsIn(shape));
      for (const { view, values } of blocks(words, dense)) layout.decode(view, values);
      return dense;
    },
    unit: (_spec, shape): Unit | null =>
      shape.columns % span === 0
        ? { columns: layout.unitColumns, entries: layout.unitColumns, scaleColumns: layout.unitColumns }
        : null,
    element: null,
    dense: null,
  };
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
