/** What the laws do not say of the block formats of GGUF: values off their grids, and the edges of f16. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { f16FromBits } from "../../compiler/float.js";
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

/**
 * What q6_k looks for: of the scales x / -(32 + s / 10), x the value of largest magnitude and s from -9 to 9, each
 * refit to the codes that it gives, that of least error, weighted by the squares of the values. The error falls with
 * (sum x^2 x code)^2 / sum x^2 code^2.
 */
function fits(values: readonly number[]): readonly { readonly scale: number; readonly gain: number }[] {
  const extreme = values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  return Array.from({ length: 19 }, (_, at) => {
    const codes = values.map((value) =>
      Math.max(-32, Math.min(31, Math.round((-(32 + (at - 9) / 10) / extreme) * value))),
    );
    const sum = (term: (value: number, code: number) => number): number =>
      values.reduce((total, value, i) => total + value * value * term(value, codes[i]!), 0);
    const [product, square] = [sum((value, code) => value * code), sum((_value, code) => code * code)];
    return { scale: product / square, gain: product ** 2 / square };
  });
}

test("q6_k takes the best of its nineteen scales", () => {
  const format = spec("q6_k");
  const chosen = new Set<number>();
  const sixteen = fc.array(
    fc.integer({ min: 1, max: 8000 }).map((value) => Math.fround((value % 2 === 0 ? value : -value) / 1000)),
    { minLength: 16, maxLength: 16 },
  );
  fc.assert(
    fc.property(sixteen, (drawn) => {
      const all = fits(drawn);
      const best = all.reduce((a, b) => (b.gain > a.gain ? b : a));
      // f32 may find another that is as good
      fc.pre(all.every(({ scale, gain }) => Math.abs(scale / best.scale - 1) < 1e-3 || gain < best.gain * (1 - 1e-5)));
      chosen.add(all.indexOf(best));
      const dense = new Float32Array(256);
      dense.set(drawn);
      const words = formatOfSpec(format).encode(format, { rows: 1, columns: 256 }, dense, null);
      const bytes = new DataView(words.buffer);
      const scale = f16FromBits(bytes.getUint16(208, true)) * bytes.getInt8(192);
      assert.ok(Math.abs(scale / best.scale - 1) < 1.5e-3, `${scale}, expected ${best.scale}`);
    }),
    runs(600),
  );
  assert.ok(chosen.has(0) && chosen.has(12), [...chosen].join());
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
