/** Strips of a tensor, one after the other, have its values. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec } from "../../compiler/formats/registry.js";
import { stripsOf } from "../../compiler/formats/strips.js";
import { packed, weightFormats } from "../support/packed.js";

const test = suite("formats/strips");

const [rows, columns] = [77, 256];
const further = [
  "int3(32, asymmetric)",
  "int5(channel)",
  "fp8_e4m3(32)",
  "q4_k",
  "nm(2, 4, positions: together) of int4(32)",
];

for (const format of [...weightFormats, ...further])
  test(format, () => {
    const { spec, words, dense } = packed(format, rows, columns, 3);
    const strips = [...stripsOf(spec, { rows, columns }, words.slice(), 32 * columns)];
    assert.equal(
      strips.map((strip) => [strip.first, strip.shape.rows]),
      spec.name === "bitmask"
        ? [[0, rows]]
        : [
            [0, 32],
            [32, 32],
            [64, 13],
          ],
    );
    assert.equal(
      strips.flatMap((strip) => [...formatOfSpec(spec).decode(spec, strip.shape, strip.words)]),
      [...dense],
    );
  });

test("columns in an order of their own: all rows at once", () => {
  const { spec, words, dense } = packed("regrouped of int4(8)", rows, columns, 3);
  const [strip, ...others] = stripsOf(spec, { rows, columns }, words.slice(), 32 * columns);
  assert.equal([strip!.shape.rows, others.length], [rows, 0]);
  assert.equal(formatOfSpec(spec).decode(spec, strip!.shape, strip!.words), dense);
});

test.run();
