/** Units as f16, as products by matrices read them: each element rounded once, in the order that is told. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { f16FromBits, roundF16 } from "../../compiler/float.js";
import type { HalfReader } from "../../compiler/formats/code/code.js";
import { codeOf } from "../../compiler/formats/code/registry.js";
import { formatOfSpec } from "../../compiler/formats/registry.js";
import { add, div, mul, rem } from "../../compiler/kernel/build.js";
import { elementKernel, runKernel, wordBuffers, wordReader } from "../support/expressions.js";
import { parseFormat } from "../support/format-text.js";
import { interleavedWords } from "../support/interleaved.js";
import { packed } from "../support/packed.js";

const test = suite("units as f16");

const shape = { rows: 6, columns: 128 };

for (const format of [
  "int4(32)",
  "int4(8, asymmetric)",
  "int4(channel, scale: f32)",
  "int4(32, scale: int8)",
  "nm(2, 4) of f16",
  "nm(2, 4) of int4(32)",
  "nm(2, 4) of int4(16, asymmetric)",
  "nm(2, 4) of int4(64, scale: f32)",
  "nm(2, 4) of int4(64, scale: int8)",
]) {
  test(format, () => {
    const { spec, words, dense } = packed(format, shape.rows, shape.columns, 3);
    const reader = codeOf(spec).halves(spec);
    const unit = formatOfSpec(spec).unit(spec, shape);
    assert.ok(reader !== null && unit !== null);
    const { distance, columns } = reader!;
    for (let count = columns; count <= unit!.columns; count *= 2) {
      const pieces = shape.columns / count;
      const kernel = elementKernel(
        shape.rows * pieces,
        { ...wordBuffers(spec, shape), out: { element: "u32", length: (shape.rows * shape.columns) / 2 } },
        (build, id, put) =>
          reader!
            .read(spec, shape, wordReader(build), div(id, pieces), rem(id, pieces), count)
            .forEach((word, at) => put(add(mul(id, count / 2), at), word)),
        ["f16"],
      );
      const found = new Uint32Array(runKernel(kernel, { words }));
      const values = Float32Array.from(dense, (_, at) => {
        // word i of every run has columns i and i + distance
        const inRun = at % (2 * distance);
        const word = found[(at - inRun) / 2 + (inRun % distance)]!;
        return f16FromBits(inRun < distance ? word & 0xffff : word >>> 16) + 0;
      });
      assert.equal(
        [...values],
        [...dense].map((value) => roundF16(value) + 0),
        `${count} columns at once`,
      );
    }
  });
}

test("2:4 of symmetric codes of four bits alone has words that may lie as they are unpacked", () => {
  for (const [text, spreads] of [
    ["nm(2, 4) of int4(32)", true],
    ["nm(2, 4) of int4(128)", true],
    ["nm(2, 4) of int4(channel)", true],
    ["nm(2, 4) of int4(64, scale: int8)", true],
    ["nm(2, 4) of int4(32, asymmetric)", false],
    ["nm(2, 4, positions: together) of int4(32)", false],
    ["nm(1, 4) of int4(32)", false],
    ["nm(2, 4) of int8(32)", false],
    ["nm(2, 4) of f16", false],
    ["int4(32)", false],
    ["q4_0", false],
  ] as const) {
    const spec = parseFormat(text);
    assert.is((formatOfSpec(spec).spread?.(spec) ?? null) !== null, spreads, text);
    assert.is((codeOf(spec).halves(spec)?.spread ?? null) !== null, spreads, text);
  }
});

for (const format of ["nm(2, 4) of int4(32)", "nm(2, 4) of int4(64, scale: f32)", "nm(2, 4) of int4(128)"])
  test(`${format}, words in the order of unpacking`, () => {
    const { spec, words } = packed(format, 16, shape.columns, 3);
    const whole = { rows: 16, columns: shape.columns };
    const order = { rows: 16, columns: shape.columns } as const;
    const reader = codeOf(spec).halves(spec)!;
    const read = ({ read: own }: Pick<HalfReader, "read">, given: Uint32Array, count: number): readonly number[] => {
      const pieces = shape.columns / count;
      const kernel = elementKernel(
        whole.rows * pieces,
        { ...wordBuffers(spec, whole), out: { element: "u32", length: (whole.rows * whole.columns) / 2 } },
        (build, id, put) =>
          own(spec, whole, wordReader(build), div(id, pieces), rem(id, pieces), count).forEach((word, at) =>
            put(add(mul(id, count / 2), at), word),
          ),
        ["f16"],
      );
      return [...new Uint32Array(runKernel(kernel, { words: given }))];
    };
    // the same rows, of which neither the order nor the bits depend on that of the words
    const plain = interleavedWords(spec, whole, order, words);
    const spread = interleavedWords(spec, whole, { ...order, spread: true }, words);
    assert.not.equal([...spread], [...plain]);
    const { columns } = formatOfSpec(spec).unit(spec, whole)!;
    for (let count = 32; count <= columns; count *= 2)
      assert.equal(read(reader.spread!, spread, count), read(reader, plain, count), `${count} columns`);
  });

test.run();
