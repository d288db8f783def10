import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fitScales, fitsScales, scaleRange } from "../../compiler/formats/fit.js";
import type { GridValues } from "../../compiler/formats/format.js";
import { roundF16, roundSignificand } from "../../compiler/float.js";
import { roundSignificandExpr } from "../../compiler/formats/code/half.js";
import {
  bitsPerWeight,
  completeFormat,
  formatOfSpec,
  normalizeFormat,
  printFormat,
  repacked,
  roundedGrid,
  scaleShape,
} from "../../compiler/formats/registry.js";
import { u32 } from "../../compiler/kernel/build.js";
import { elementAt, elementKernel, runKernel } from "../support/expressions.js";
import { parseFormat } from "../support/format-text.js";
import { runs } from "../support/runs.js";
import { holdsAllLaws, lawKernels, packsAgain } from "./laws.js";

const test = suite("scales of any size");

const texts = [
  "int4(8)",
  "int8(channel)",
  "int4(8, asymmetric)",
  "nm(2, 4) of int4(16)",
  "nm(2, 4) of int8(8, asymmetric)",
];
const shape = { rows: 2, columns: 16 };

/** What a spec becomes for scales of these sizes. */
function fitted(text: string, ...scales: readonly number[]): string {
  const spec = parseFormat(text);
  const grid = { scale: Float32Array.from(scales), zero: null };
  return printFormat(completeFormat(spec, shape, new Float32Array(0), roundedGrid(spec, shape, grid)));
}

test("a format stays as it is where its scales are normal numbers of f16, else is shifted, else has scales of f32", () => {
  assert.is(fitted("int4(8)", 2 ** -14, 65504, 0, -1), "int4(8, symmetric)");
  assert.is(fitted("int4(8)", 2 ** -14 - 2 ** -25), "int4(8, symmetric, shift: 8)");
  assert.is(fitted("int4(8)", 2 ** -22, 255), "int4(8, symmetric, shift: 8)");
  assert.is(fitted("int4(8)", 2 ** -23, 0.99), "int4(8, symmetric, shift: 16)");
  assert.is(fitted("int4(8)", 2 ** -30, 2 ** -8), "int4(8, symmetric, shift: 16)");
  assert.is(fitted("int8(channel, asymmetric)", 2 ** -100), "int8(channel, asymmetric, shift: 88)");
  assert.is(fitted("int4(8)", 2 ** -126), "int4(8, symmetric, shift: 112)");
  // too far apart for one power of two, or too large
  assert.is(fitted("int4(8)", 2 ** -20, 1000), "int4(8, symmetric, scale: f32)");
  assert.is(fitted("int4(8)", 65521), "int4(8, symmetric, scale: f32)");
  assert.is(fitted("nm(2, 4) of int4(8)", 2 ** -16), "nm(2, 4) of int4(8, symmetric, shift: 8)");
  // what the author asks for stays where it fits
  assert.is(fitted("int4(8, shift: 16)", 2 ** -20), "int4(8, symmetric, shift: 16)");
  assert.is(fitted("int4(8, shift: 16)", 2), "int4(8, symmetric)");
  assert.is(fitted("int4(8, scale: f32)", 2 ** -90, 1e9), "int4(8, symmetric, scale: f32)");
  assert.is(fitted("int4(8)", NaN), "int4(8, symmetric)");
  for (let exponent = -120; exponent <= 0; exponent++) {
    const range = { least: 2 ** exponent, most: 2 ** (exponent + 22) };
    const spec = parseFormat("int4(8)");
    assert.is(fitScales(spec, formatOfSpec(spec).grid(spec), range).args["scale"], exponent + 22 > 15 ? "f32" : "f16");
  }
});

test("shifts cost no bits, and are written and refused as other arguments", () => {
  const large = { rows: 4096, columns: 4096 };
  for (const [plain, shifted] of [
    ["int4(128)", "int4(128, shift: 16)"],
    ["nm(2, 4) of int4(128)", "nm(2, 4) of int4(128, shift: 40)"],
  ] as const)
    assert.is(bitsPerWeight(parseFormat(shifted), large), bitsPerWeight(parseFormat(plain), large));
  const int4 = (args: Record<string, number | string>) =>
    normalizeFormat({ name: "int4", args: { group: 8, ...args }, of: null });
  assert.equal(int4({ shift: 0 }), int4({}));
  assert.is(int4({ shift: 113 }), "The argument `shift` of int4 must be at most 112, and is 113.");
  assert.is(int4({ shift: -8 }), "The argument `shift` of int4 must be a whole number, and is -8.");
  assert.is(
    int4({ shift: 8, scale: "f32" }),
    "int4 shifts scales of f16 and fp8_e4m3 alone; those of f32 need no shift.",
  );
});

test("a scale that a format cannot hold is an error that names its place and not another scale", () => {
  const spec = parseFormat("int4(8)");
  const pack = (scale: number): Uint32Array =>
    formatOfSpec(spec).encode(spec, { rows: 1, columns: 16 }, new Float32Array(16), {
      scale: Float32Array.of(1, scale),
      zero: null,
    });
  assert.throws(() => pack(1e-9), /The scale of row 0, group 1 is 9\.9\d*e-10, which f16 cannot hold\./);
  assert.throws(() => pack(1e5), /group 1 is 100000, which f16 cannot hold/);
  // a subnormal that is one exactly is held
  pack(2 ** -24);
});

test("scales are rounded to 11 bits at any size, as f16 rounds where it is normal, on host and device alike", () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
      const rounded = roundSignificand(value);
      const size = Math.abs(value);
      if (size >= 2 ** -14 && size < 65520) assert.is(rounded, roundF16(value));
      if (size >= 2 ** -120 && size < 2 ** 120) {
        assert.is(roundSignificand(value * 2 ** 4), rounded * 2 ** 4);
        assert.ok(Math.abs(rounded - value) <= size * 2 ** -11);
      }
      assert.is(roundSignificand(rounded), rounded);
    }),
    runs(300),
  );
  const values = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 1e-30, -1e-9, 65519, 65520, 3e38, 0);
  const kernel = elementKernel(
    values.length,
    { given: { element: "f32", length: values.length }, out: { element: "f32", length: values.length } },
    (build, id, put) => put(id, roundSignificandExpr(build, elementAt("given", 1, id, u32(0)))),
  );
  assert.equal(
    [...new Float32Array(runKernel(kernel, { given: values }))],
    [...values].map((value) => roundSignificand(value)),
  );
});

/** Values and a grid of a format, of sizes around a power of two that the case draws. */
function drawn(text: string): fc.Arbitrary<{ readonly dense: Float32Array; readonly grid: GridValues }> {
  const spec = parseFormat(text);
  const grid = formatOfSpec(spec).grid(spec)!;
  const groups = scaleShape(spec, shape)!;
  const count = groups.rows * groups.columns;
  const kept = spec.name === "nm" ? 2 : 1;
  return fc
    .tuple(
      fc.integer({ min: -110, max: 60 }),
      fc.constantFrom(1, 20, 40),
      fc.array(fc.tuple(fc.integer({ min: 1024, max: 2047 }), fc.double({ min: 0, max: 1, noNaN: true })), {
        minLength: count,
        maxLength: count,
      }),
      fc.array(fc.integer({ min: grid.low, max: grid.high }), { minLength: 32, maxLength: 32 }),
    )
    .map(([center, spread, digits, codes]) => {
      const scale = Float32Array.from(digits, ([digit, far]) => digit * 2 ** (center + Math.round(far * spread) - 10));
      const zero = grid.symmetric ? null : Float32Array.from(scale, (_, at) => at % (grid.high + 1));
      const dense = Float32Array.from(codes, (code, at) => {
        const group = Math.floor(at / (32 / count));
        return at % kept === 0 ? (code - (zero?.[group] ?? 0)) * scale[group]! : 0;
      });
      return { dense, grid: { scale, zero } };
    });
}

for (const text of texts)
  test(`${text}: completed for its scales, it holds all laws at any size, and equals what is packed first and held otherwise then`, () => {
    const spec = parseFormat(text);
    const format = formatOfSpec(spec);
    fc.assert(
      fc.property(drawn(text), ({ dense, grid }) => {
        const complete = completeFormat(spec, shape, dense, grid);
        assert.ok(fitsScales(format.grid(complete)!, scaleRange(grid.scale)));
        const kernels = lawKernels(complete, shape);
        const sample = { spec: complete, shape, dense, grid };
        holdsAllLaws(sample, kernels);
        const words = format.encode(complete, shape, dense, grid);
        packsAgain(format, complete, shape, words);
        // on a device the scales are known after the codes are made, and then their section alone is made anew
        const first = lawKernels(spec, shape).packed!;
        const scale = grid.scale;
        const packed = new Uint32Array(runKernel(first, { dense, scale, zero: grid.zero ?? scale }));
        assert.equal([...repacked(spec, complete, shape, packed, scale)], [...words]);
        // times a power of two: the same codes
        const places = format.sections(complete, shape).filter(({ name }) => name !== "scales");
        const times = 2 ** 16;
        const scaled = { scale: scale.map((value) => value * times), zero: grid.zero };
        const other = completeFormat(spec, shape, dense, scaled);
        const again = format.encode(
          other,
          shape,
          dense.map((value) => value * times),
          scaled,
        );
        const moved = format.sections(other, shape);
        for (const { name, offset, words: length } of places) {
          const there = moved.find((section) => section.name === name)!.offset;
          assert.equal([...again.subarray(there, there + length)], [...words.subarray(offset, offset + length)], name);
        }
      }),
      runs(25),
    );
  });

test.run();
