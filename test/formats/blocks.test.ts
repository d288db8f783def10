/** What the laws do not say of the block formats of GGUF: values off their grids, and the edges of f16. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec } from "../../compiler/formats/registry.js";
import { blockFormats } from "../support/block-samples.js";
import { runs } from "../support/runs.js";
import { spec } from "../support/samples.js";
import { lawKernels, readsAlike } from "./laws.js";

const test = suite("block formats");

const shape = { rows: 3, columns: 256 };
/**
 * What an element may be off by: a share of the largest magnitude of its block (half a step, or a whole one at the end
 * of
 * q4_0's range, and `rounded` for each f16 that the largest value is rounded with), and half the smallest step of f16
 * times
 * the largest multiple of d.
 */
const rounded = 2 ** -11;
const bounds: { readonly [name: string]: { readonly share: number; readonly multiple: number } } = {
  q8_0: { share: 0.5 / 127 + rounded, multiple: 127 },
  q4_0: { share: 1 / 8 + rounded, multiple: 8 },
  // d spans twice the largest magnitude; the minimum is rounded too
  q4_1: { share: 1 / 15 + 3 * rounded, multiple: 16 },
  q6_k: { share: 1 / 31, multiple: 128 * 32 },
};

test("values off the grid are close, and are read alike", () => {
  for (const name of blockFormats) {
    const format = spec(name);
    const { share, multiple } = bounds[name]!;
    const block = name === "q6_k" ? 256 : 32;
    const kernels = lawKernels(format, shape);
    const values = fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 768, maxLength: 768 });
    fc.assert(
      fc.property(values, fc.constantFrom(1, 2 ** -12, 1000), (drawn, size) => {
        const dense = Float32Array.from(drawn, (value) => value * size);
        const words = formatOfSpec(format).encode(format, shape, dense, null);
        readsAlike(kernels, format, shape, words);
        const decoded = formatOfSpec(format).decode(format, shape, words);
        const off = dense.findIndex((value, at) => {
          const first = at - (at % block);
          const largest = dense
            .subarray(first, first + block)
            .reduce((most, other) => Math.max(most, Math.abs(other)), 0);
          return Math.abs(value - decoded[at]!) > largest * share + multiple * 2 ** -25;
        });
        assert.is(off, -1, `${name}: ${dense[off]} became ${decoded[off]}`);
      }),
      runs(3),
    );
  }
});

test("all zeros stay zeros", () => {
  for (const name of blockFormats) {
    const format = formatOfSpec(spec(name));
    for (const zero of [0, -0]) {
      const decoded = format.decode(
        spec(name),
        shape,
        format.encode(spec(name), shape, new Float32Array(768).fill(zero), null),
      );
      assert.ok(
        decoded.every((value) => value === 0),
        name,
      );
    }
  }
});

test("values beyond f16 are an error that names its place", () => {
  for (const name of blockFormats) {
    const format = formatOfSpec(spec(name));
    const dense = new Float32Array(768);
    dense[600] = 3e38;
    assert.throws(
      () => format.encode(spec(name), shape, dense, null),
      name === "q6_k"
        ? /^In row 2, columns 0 to 255, the scale is .*, which f16 cannot hold\.$/
        : /^In row 2, columns 64 to 95, the (scale|minimum) is .*, which f16 cannot hold\.$/,
    );
    dense[600] = NaN;
    assert.throws(
      () => format.encode(spec(name), shape, dense, null),
      /^In row 2, columns \d+ to \d+, a value is not finite\.$/,
    );
  }
});

test("shapes and arguments", () => {
  for (const name of blockFormats) {
    const format = formatOfSpec(spec(name));
    const block = name === "q6_k" ? 256 : 32;
    assert.is(format.check(spec(name), { rows: 1, columns: 3 * block }), null);
    assert.is(
      format.check(spec(name), { rows: 32, columns: block + 8 }),
      `K = ${block + 8} is not a multiple of the block of ${block}`,
    );
    assert.is(
      format.normalize({ name, args: {}, of: spec("f16") }),
      `${name} stores single values; it takes no \`of\`.`,
    );
    assert.is(format.normalize({ name, args: { group: 32 }, of: null }), `${name} has no argument \`group\`.`);
    assert.equal([format.grid(spec(name)), format.pattern(spec(name))], [null, null]);
  }
});

test.run();
