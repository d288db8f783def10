import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InternalError } from "../../compiler/diagnostic.js";
import {
  add,
  and,
  bitAnd,
  bitcast,
  bool,
  call,
  component,
  constant,
  convert,
  div,
  equal,
  f16,
  f32,
  i32,
  less,
  literalValue,
  loadBuffer,
  local,
  mul,
  negate,
  or,
  rem,
  select,
  shiftLeft,
  shiftRight,
  splat,
  sub,
  u32,
  vector,
} from "../../compiler/kernel/build.js";
import { f16Bits, f16FromBits, roundF16 as roundToF16, roundHalfEven } from "../../compiler/float.js";
import { printExpr } from "../../compiler/kernel/print.js";
import { runs } from "../support/runs.js";

const test = suite("kernel/build");

const x = local("x", "u32");
const y = local("y", "f32");

test("integer identities fold, float ones only where they hold for every value", () => {
  assert.is(add(x, 0), x);
  assert.is(mul(1, x), x);
  assert.equal(mul(x, 0), u32(0));
  assert.is(div(x, 1), x);
  assert.equal(rem(x, 1), u32(0));
  assert.is(shiftRight(x, 0), x);
  assert.equal(bitAnd(x, 0), u32(0));
  assert.is(mul(y, 1), y);
  assert.is(sub(y, 0), y);
  assert.is(add(y, f32(-0)), y);
  assert.is(add(y, 0).kind, "binary", "-0 + 0 is 0");
  assert.is(mul(y, 0).kind, "binary", "it may be NaN or -0");
  assert.is(and(bool(true), less(x, 3)).kind, "binary");
  assert.equal(and(less(x, 3), bool(false)), bool(false));
  assert.equal(or(bool(true), less(x, 3)), bool(true));
  assert.is(select(bool(true), x, 3), x);
  assert.is(negate(negate(y)), y);
  assert.is(component(vector([x, u32(1)]), 0), x);
  assert.is(bitcast("u32", x), x);
});

test("constants fold as the types compute", () => {
  assert.equal(add(u32(0xffffffff), 2), u32(1));
  assert.equal(sub(u32(0), u32(1)), u32(0xffffffff));
  assert.equal(mul(u32(0x10001), u32(0x10001)), u32(0x20001));
  assert.equal(mul(i32(-0x80000000), i32(-1)), i32(-0x80000000));
  assert.equal(div(i32(-7), i32(2)), i32(-3));
  assert.equal(rem(i32(-7), i32(2)), i32(-1));
  assert.equal(add(f32(0.1), f32(0.2)), f32(Math.fround(Math.fround(0.1) + Math.fround(0.2))));
  assert.equal(mul(f16(256), f16(0.001)), f16(roundToF16(256 * roundToF16(0.001))));
  assert.equal(shiftLeft(u32(3), 31), u32(0x80000000));
  assert.equal(shiftRight(i32(-8), 1), i32(-4));
  assert.equal(convert("i32", f32(-2.9)), i32(-2));
  assert.equal(convert("u32", f32(-2.9)), u32(0));
  assert.equal(convert("u32", i32(-1)), u32(0xffffffff));
  assert.equal(convert("f32", bool(true)), f32(1));
  assert.equal(bitcast("i32", u32(0xffffffff)), i32(-1));
  assert.equal(equal(f32(1), 1), bool(true));
  assert.is(div(u32(1), u32(0)).kind, "binary", "what division by zero gives is not decided here");
  assert.is(mul(f32(1e38), f32(1e38)).kind, "binary");
});

test("constants meet", () => {
  assert.is(printExpr(add(add(1, x), 2)), "x + 3");
  assert.is(printExpr(add(mul(4, x), 0)), "x * 4");
});

test("numbers take the type beside them", () => {
  assert.equal(less(3, y), less(f32(3), y));
  const v = splat(x, 4);
  assert.equal(add(v, 5), add(v, constant("vec4<u32>", 5)));
  assert.equal(shiftLeft(local("i", "i32"), 3), shiftLeft(local("i", "i32"), u32(3)));
});

test("results have their types", () => {
  const v = loadBuffer("b", "vec4<f32>", x);
  assert.is(less(v, v).type, "vec4<bool>");
  assert.is(call("dot", [v, v]).type, "f32");
  assert.is(call("unpack2x16float", [x]).type, "vec2<f32>");
  assert.is(call("dot4I8Packed", [x, x]).type, "i32");
  assert.is(call("subgroupAdd", [v]).type, "vec4<f32>");
  assert.is(component(v, 3).type, "f32");
  assert.is(convert("vec4<f16>", v).type, "vec4<f16>");
  assert.is(bitcast("vec2<f16>", x).type, "vec2<f16>");
  assert.is(select(less(v, v), v, 0).type, "vec4<f32>");
  assert.is(literalValue(x), null);
});

test("operands that do not fit are faults of the compiler", () => {
  const wrong: readonly (() => unknown)[] = [
    () => add(x, y),
    () => add(1, 2),
    () => and(x, x),
    () => shiftLeft(x, i32(1)),
    () => select(x, y, y),
    () => select(less(x, 1), x, y),
    () => bitcast("vec2<u32>", x),
    () => convert("vec2<f32>", y),
    () => component(x, 0),
    () => component(splat(x, 2), 2),
    () => vector([x, y]),
    () => loadBuffer("b", "f32", y),
    () => call("dot", [x, x]),
    () => negate(x),
    () => u32(-1),
    () => i32(2 ** 31),
    () => u32(0.5),
    () => sub(bool(true), bool(true)),
  ];
  wrong.forEach((make, at) => assert.throws(make, (error: unknown) => error instanceof InternalError, `case ${at}`));
});

test("f16 rounding is that of the bits, halves to even", () => {
  for (let bits = 0; bits < 0x7c00; bits++) {
    const value = f16FromBits(bits);
    assert.is(f16Bits(value), bits);
    const next = f16FromBits(bits + 1);
    if (next === Infinity) continue;
    const middle = (value + next) / 2;
    assert.is(roundToF16(middle), bits % 2 === 0 ? value : next);
    assert.is(roundToF16(middle - middle * 2 ** -40), value);
    assert.is(roundToF16(-middle - middle * 2 ** -40), -next);
  }
  assert.is(roundToF16(65519.99), 65504);
  assert.is(roundToF16(65520), Infinity);
  assert.ok(Object.is(roundToF16(-0), -0) && Object.is(roundToF16(-1e-10), -0) && Number.isNaN(roundToF16(NaN)));
});

test("halves round to even", () => {
  assert.equal(
    [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 2 ** 52 + 1].map(roundHalfEven).map((value) => value + 0),
    [0, 2, 2, 0, -2, 0, 2 ** 52 + 1],
  );
  fc.assert(
    fc.property(fc.double({ min: -(2 ** 40), max: 2 ** 40, noNaN: true }), (value) => {
      const rounded = roundHalfEven(value);
      assert.ok(
        Number.isInteger(rounded) &&
          Math.abs(rounded - value) <= 0.5 &&
          (Math.abs(rounded - value) < 0.5 || rounded % 2 === 0),
      );
    }),
    runs(100),
  );
});

test.run();
