/**
 * Tensors in the block formats of GGUF, drawn by fast-check. Their quantisers find scales themselves, so a tensor is on
 * a
 * format's grid where each block holds what they find the scale by: codes at the ends of their range.
 */
import fc from "fast-check";
import type { Shape } from "../../compiler/formats/format.js";
import { roundF16 } from "../../compiler/float.js";

/** Columns of a block; the values of one on its grid. */
interface Blocks {
  readonly columns: number;
  readonly values: fc.Arbitrary<readonly number[]>;
}

const scale = fc.float({ min: Math.fround(2 ** -6), max: 8, noNaN: true }).map(roundF16);
const signedScale = fc.tuple(scale, fc.constantFrom(1, -1)).map(([size, sign]) => size * sign);

/** `count` codes, those given among them, anywhere. */
function codes(count: number, low: number, high: number, held: readonly number[]): fc.Arbitrary<readonly number[]> {
  const free = fc.array(fc.integer({ min: low, max: high }), {
    minLength: count - held.length,
    maxLength: count - held.length,
  });
  return free.chain((drawn) => fc.shuffledSubarray([...held, ...drawn], { minLength: count, maxLength: count }));
}

/**
 * Sixteen scales of which one is -128, and sixteen codes for each: -32 and 31 determine the scale, 5 and -17 that no
 * other has the same quotients.
 */
const superBlock = fc
  .tuple(
    fc.integer({ min: 1, max: 2000 }).map((steps) => roundF16(steps * 2 ** -16)),
    fc.constantFrom(1, -1),
    codes(16, -127, 127, [-128]),
    fc.array(codes(16, -32, 31, [-32, 31, 5, -17]), { minLength: 16, maxLength: 16 }),
  )
  .map(([d, sign, scales, rows]) => rows.flatMap((row, at) => row.map((code) => d * sign * scales[at]! * code)));

const blocks: { readonly [name: string]: Blocks | undefined } = {
  q8_0: {
    columns: 32,
    values: fc
      .tuple(
        scale,
        fc.constantFrom(127, -127).chain((end) => codes(32, -127, 127, [end])),
      )
      .map(([d, drawn]) => drawn.map((code) => d * code)),
  },
  q4_0: {
    columns: 32,
    values: fc.tuple(signedScale, codes(32, -8, 7, [-8])).map(([d, drawn]) => drawn.map((code) => d * code)),
  },
  q4_1: {
    columns: 32,
    values: fc
      .tuple(scale, fc.float({ min: -50, max: 50, noNaN: true }).map(roundF16), codes(32, 0, 15, [0, 15]))
      .map(([d, m, drawn]) => drawn.map((code) => d * code + m)),
  },
  q6_k: { columns: 256, values: superBlock },
};

/** The names of the block formats. */
export const blockFormats = Object.keys(blocks);

/** A tensor on the grid of a block format, some of its blocks all zero; null for any other format. */
export function blockValues(name: string, shape: Shape): fc.Arbitrary<Float32Array> | null {
  const block = Object.hasOwn(blocks, name) ? blocks[name] : undefined;
  if (block === undefined) return null;
  const count = (shape.rows * shape.columns) / block.columns;
  const zero = fc.constant(Array<number>(block.columns).fill(0));
  return fc
    .array(fc.oneof({ weight: 7, arbitrary: block.values }, { weight: 1, arbitrary: zero }), {
      minLength: count,
      maxLength: count,
    })
    .map((drawn) => Float32Array.from(drawn.flat()));
}
