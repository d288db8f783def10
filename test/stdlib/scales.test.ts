/** Scales that methods round themselves: as the formats store them, bit for bit. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { roundedGrid } from "../../compiler/formats/registry.js";
import { parseFormat } from "../support/format-text.js";
import { runs } from "../support/runs.js";
import { result, tensor } from "./support.js";

const test = suite("stdlib: scales");
const [rows, groups] = [3, 4] as const;

/** Of any size that a weight may have, some zero. */
const scales = fc.array(
  fc.oneof(
    fc
      .tuple(fc.float({ min: 1, max: 2, noNaN: true }), fc.integer({ min: -60, max: 40 }))
      .map(([digits, exponent]) => digits * 2 ** exponent),
    fc.float({ min: Math.fround(0.01), max: Math.fround(0.02), noNaN: true }),
    fc.constant(0),
  ),
  { minLength: rows * groups, maxLength: rows * groups },
);

for (const [name, format] of [
  ["stored_scale", "int4(8)"],
  ["coded_scale", "int4(8, scale: int8)"],
] as const)
  test(`${name} has those of ${format}`, () => {
    fc.assert(
      fc.property(scales, (drawn) => {
        // stored_scale gives a group without weights another scale than 0
        const given = name === "stored_scale" ? drawn.map((scale) => scale || 1) : drawn;
        const { scale } = roundedGrid(
          parseFormat(format),
          { rows, columns: 8 * groups },
          { scale: Float32Array.from(given), zero: null },
        );
        const found =
          name === "stored_scale"
            ? given.map((each) => result(name, { s: each })[0])
            : result(name, { s: tensor([rows, groups], given) });
        assert.equal(found.map(Number), [...scale]);
      }),
      runs(20),
    );
  });

test.run();
