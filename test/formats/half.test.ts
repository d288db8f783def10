import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bf16Bits,
  bf16FromBits,
  f16Bits,
  f16FromBits,
  f32Bits,
  f32FromBits,
  roundF16,
  roundHalfEven,
} from "../../compiler/float.js";
import { smallBits, smallFloats, smallFromBits } from "../../compiler/formats/small-float.js";
import type { Build } from "../../compiler/formats/code/code.js";
import { bf16BitsExpr, f16BitsExpr, smallBitsExpr } from "../../compiler/formats/code/half.js";
import { loadBuffer } from "../../compiler/kernel/build.js";
import type { Expr } from "../../compiler/kernel/kernel.js";
import { elementKernel, runKernel } from "../support/expressions.js";
import { runs } from "../support/runs.js";

const half = suite("16-bit floats");

/** Every f16 and bf16 border: each value, the points halfway between two, and those one step of an f32 beside them. */
function borders(fromBits: (bits: number) => number): Float32Array {
  const values: number[] = [];
  for (let bits = 0; bits < 0x7f80; bits += 13) {
    const [low, high] = [fromBits(bits), fromBits(bits + 1)];
    if (!Number.isFinite(high)) continue;
    const middle = f32Bits((low + high) / 2);
    for (const at of [f32Bits(low), f32Bits(high), middle, middle - 1, middle + 1])
      values.push(f32FromBits(at), -f32FromBits(at));
  }
  return Float32Array.from(values);
}

const specials = Float32Array.of(
  0,
  -0,
  Infinity,
  -Infinity,
  NaN,
  65504,
  65519.99,
  65520,
  65535,
  65536,
  1e38,
  2 ** -24,
  2 ** -25,
  2 ** -25 * 1.0001,
  2 ** -26,
  1e-45,
  2 ** -14,
  2 ** -14 - 2 ** -25,
  3.4e38,
);
const inputs = Float32Array.from([...specials, ...borders(f16FromBits), ...borders(bf16FromBits)]);

half("every f16 and bf16 comes back", () => {
  for (let bits = 0; bits < 0x10000; bits += 1) {
    const [f16, bf16] = [f16FromBits(bits), bf16FromBits(bits)];
    if (!Number.isNaN(f16)) assert.is(f16Bits(f16), bits);
    if (!Number.isNaN(bf16)) assert.is(bf16Bits(bf16), bits);
  }
});

/** The nearest f16 by arithmetic alone. */
function nearestF16(value: number): number {
  const size = Math.abs(value);
  if (!(size < 65520)) return Number.isNaN(value) ? value : value > 0 ? Infinity : -Infinity;
  // the exponent of the leading bit; below 2^-14 the step is that of the subnormals
  const exponent = size < 2 ** -14 ? -14 : 17 - Math.clz32(size * 16384);
  const step = 2 ** (exponent - 10);
  const rounded = roundHalfEven(size / step) * step;
  return value < 0 || Object.is(value, -0) ? -rounded : rounded;
}

half("f16 is the nearest, of numbers between those of f32 too", () => {
  const beside = [...inputs].flatMap((value) => [
    value,
    value * (1 - 2 ** -40),
    value * (1 + 2 ** -40),
    value * 2 ** -30,
  ]);
  for (const value of beside) assert.ok(Object.is(roundF16(value), nearestF16(value)), String(value));
  fc.assert(
    fc.property(fc.oneof(fc.float(), fc.double()), (value) => Object.is(roundF16(value), nearestF16(value))),
    runs(100),
  );
});

half("bf16 is the nearest, halves to even", () => {
  assert.is(bf16Bits(f32FromBits(0x3f808000)), 0x3f80);
  assert.is(bf16Bits(f32FromBits(0x3f818000)), 0x3f82);
  assert.is(bf16Bits(f32FromBits(0x3f808001)), 0x3f81);
  assert.is(bf16Bits(3.4028234663852886e38), 0x7f80);
  assert.ok(Number.isNaN(bf16FromBits(bf16Bits(f32FromBits(0x7f800001)))));
});

/** The bits that a kernel computes for each input. */
function computed(bits: (build: Build, value: Expr) => Expr): Uint32Array {
  const buffers = {
    in: { element: "f32", length: inputs.length },
    out: { element: "u32", length: inputs.length },
  } as const;
  const kernel = elementKernel(inputs.length, buffers, (build, id, put) =>
    put(id, bits(build, loadBuffer("in", "f32", id))),
  );
  return new Uint32Array(runKernel(kernel, { in: inputs }));
}

half("every fp8 comes back, and each value between two goes to the nearer, of equals to the even", () => {
  for (const kind of Object.values(smallFloats)) {
    const finite = Array.from({ length: kind.most + 1 }, (_, bits) => smallFromBits(kind, bits));
    finite.forEach((value, bits) => {
      assert.is(smallBits(kind, value), bits);
      assert.is(smallBits(kind, -value), bits | 0x80);
      const next = finite[bits + 1];
      if (next === undefined) return;
      const middle = (value + next) / 2;
      assert.is(smallBits(kind, middle), bits + (bits % 2));
      assert.is(smallBits(kind, middle * (1 - 2 ** -20)), bits);
      assert.is(smallBits(kind, middle * (1 + 2 ** -20)), bits + 1);
    });
    assert.is(smallFromBits(kind, smallBits(kind, 1e9)), finite.at(-1));
    assert.ok(Number.isNaN(smallFromBits(kind, smallBits(kind, NaN))));
  }
  assert.equal([448, 57344], [smallFromBits(smallFloats.fp8_e4m3, 0x7e), smallFromBits(smallFloats.fp8_e5m2, 0x7b)]);
  assert.equal(
    [Infinity, 448],
    [
      smallFromBits(smallFloats.fp8_e5m2, smallBits(smallFloats.fp8_e5m2, Infinity)),
      smallFromBits(smallFloats.fp8_e4m3, smallBits(smallFloats.fp8_e4m3, Infinity)),
    ],
  );
});

half("the expressions give the same bits", () => {
  assert.equal([...computed(f16BitsExpr)], [...inputs].map(f16Bits));
  assert.equal([...computed(bf16BitsExpr)], [...inputs].map(bf16Bits));
  for (const kind of Object.values(smallFloats))
    assert.equal(
      [...computed((build, value) => smallBitsExpr(build, kind, value))],
      [...inputs].map((value) => smallBits(kind, value)),
    );
});

half.run();
