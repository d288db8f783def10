/** Scales of activations against what they are meant to be, taken from the values themselves. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runs } from "../support/runs.js";
import { call, result, tensor } from "./support.js";

const test = suite("stdlib: activations");

/** Values of several sizes: a bell of width `width`, and `outliers` that are `times` as large. */
const inputs = fc
  .record({
    seed: fc.integer({ min: 1, max: 2 ** 30 }),
    width: fc.constantFrom(1e-3, 0.1, 1, 30),
    outliers: fc.constantFrom(0, 3, 20),
    times: fc.constantFrom(5, 20),
  })
  .map(({ seed, width, outliers, times }) => {
    let state = seed >>> 0;
    const uniform = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 2 ** 32;
    };
    return Float32Array.from({ length: 64 * 32 }, (_, at) => {
      const bell = Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
      return width * bell * (at < outliers ? times : 1);
    });
  });

const histogramOf = (values: Float32Array): readonly number[] => [
  ...result("magnitude_histogram", { x: tensor([64, 32], [...values]) }),
];

test("a histogram counts every value in its eighth of a power of two", () => {
  fc.assert(
    fc.property(inputs, (values) => {
      const expected = new Array<number>(256).fill(0);
      for (const value of values) {
        const exponent = Math.floor(Math.log2(Math.abs(value)));
        const eighth = Math.floor((Math.abs(value) / 2 ** exponent - 1) * 8);
        expected[Math.max(0, Math.min(255, 8 * (exponent + 16) + eighth))]! += 1;
      }
      assert.equal(histogramOf(values), expected);
    }),
    runs(3),
  );
});

test("what is as large as nothing that a bin holds counts at its ends", () => {
  const found = histogramOf(Float32Array.from({ length: 64 * 32 }, (_, at) => [0, -1e-9, 1e9, -3e38][at % 4]!));
  assert.is(found[0], 1024);
  assert.is(found[255], 1024);
});

test("a share of the magnitudes is within the scale, and no more than that asks", () => {
  fc.assert(
    fc.property(inputs, fc.constantFrom(0.5, 0.9, 0.999, 1), (values, share) => {
      const [found] = result("quantile_scale", { histogram: tensor([256], [...histogramOf(values)]), share });
      const sizes = [...values].map(Math.abs).sort((a, b) => a - b);
      const least = sizes[Math.ceil(share * sizes.length) - 1]!;
      const end = found! * 127;
      assert.ok(end >= least * (1 - 1e-6) && end <= least * 1.126, `${end}, of ${least}`);
    }),
    runs(5),
  );
});

test("the scale of least error has about the least error of all", () => {
  fc.assert(
    fc.property(inputs, (values) => {
      const errorOf = (scale: number): number =>
        values.reduce((sum, x) => sum + (x - scale * Math.max(-128, Math.min(127, Math.round(x / scale)))) ** 2, 0);
      const [found] = result("least_error_scale", { histogram: tensor([256], [...histogramOf(values)]) });
      const most = values.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
      const errors = Array.from({ length: 400 }, (_, at) => errorOf((most / 127) * (1 - at / 400)));
      const best = Math.min(...errors);
      assert.ok(errorOf(found!) <= 1.35 * best, `${errorOf(found!)}, the best is ${best}`);
    }),
    runs(5),
  );
});

test("the scale of the largest magnitude reaches it, and is none for nothing", () => {
  const [maxima] = call("feature_maxima", { x: tensor([2, 2], [1, -254, 3, 0.5]) });
  assert.is(result("input_scale", { maxima: maxima! })[0], 2);
  const [least] = result("input_scale", { maxima: tensor([2], [0, 0]) });
  assert.ok(least! > 0);
});

test.run();
