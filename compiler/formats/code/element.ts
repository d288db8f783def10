/** How kernels read and write the single values of `element.ts`. */
import {
  add,
  bitAnd,
  bitOr,
  bitcast,
  call,
  component,
  convert,
  div,
  equal,
  f32,
  greater,
  less,
  mul,
  negate,
  notEqual,
  round,
  select,
  shiftLeft,
  shiftRight,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import { smallFloats, type SmallFloat } from "../small-float.js";
import type { ScaleType } from "../format.js";
import type { Build, ElementCode } from "./code.js";
import { bf16BitsExpr, f16BitsExpr, smallBitsExpr } from "./half.js";

const f32Code: ElementCode = {
  bits: 32,
  integer: false,
  read: (_build, word) => bitcast("f32", word),
  readAll: (_build, word) => [bitcast("f32", word)],
  write: (_build, value) => bitcast("u32", value),
  isNonzero: (bits) => notEqual(shiftLeft(bits, 1), 0),
};

const f16Code: ElementCode = {
  bits: 16,
  integer: false,
  read: (_build, word) => component(unpackHalves(word), 0),
  readAll(build, word, count) {
    const pair = build.bind("pair", unpackHalves(word));
    return upTo(count).map((at) => component(pair, at));
  },
  write: (build, value) => f16BitsExpr(build, value),
  isNonzero: (bits) => notEqual(bitAnd(bits, 0x7fff), 0),
};

const bf16Code: ElementCode = {
  bits: 16,
  integer: false,
  read: (_build, word) => bitcast("f32", shiftLeft(word, 16)),
  readAll: (_build, word, count) =>
    [bitcast("f32", shiftLeft(word, 16)), bitcast("f32", bitAnd(word, 0xffff0000))].slice(0, count),
  write: (build, value) => bf16BitsExpr(build, value),
  isNonzero: f16Code.isNonzero,
};

const i32Code: ElementCode = {
  bits: 32,
  integer: false,
  read: (_build, word) => convert("f32", bitcast("i32", word)),
  readAll: (_build, word) => [convert("f32", bitcast("i32", word))],
  write: (_build, value) => bitcast("u32", convert("i32", round(value))),
  isNonzero: (bits) => notEqual(bits, 0),
};

const u32Code: ElementCode = {
  bits: 32,
  integer: false,
  read: (_build, word) => convert("f32", word),
  readAll: (_build, word) => [convert("f32", word)],
  write: (_build, value) => convert("u32", round(value)),
  isNonzero: i32Code.isNonzero,
};

/** Where expressions are given names. */
type Names = Pick<Build, "bind">;

function fp8Code(kind: SmallFloat): ElementCode {
  const { digits, bias, most, infinite } = kind;
  const at = (build: Names, word: Expr, shift: number): Expr => {
    const byte = build.bind("byte", shiftRight(word, shift));
    const size = build.bind("size", bitAnd(byte, 0x7f));
    const normal = bitcast("f32", shiftLeft(add(size, (127 - bias) << digits), 23 - digits));
    const subnormal = mul(convert("f32", size), f32(2 ** (1 - bias - digits)));
    const finite = select(less(size, 1 << digits), subnormal, normal);
    // infinity and NaN by way of their bits: as numbers they cannot be written
    const odd = bitcast("f32", select(equal(size, infinite), u32(0x7f800000), bitOr(size, 0x7fc00000)));
    const value = build.bind("size", select(greater(size, most), odd, finite));
    return select(notEqual(bitAnd(byte, 0x80), 0), negate(value), value);
  };
  return {
    bits: 8,
    integer: false,
    read: (build, word) => at(build, word, 0),
    readAll: (build, word, count) => upTo(count).map((position) => at(build, word, 8 * position)),
    write(build, value, scale) {
      if (scale === null) return smallBitsExpr(build, kind, value);
      const none = equal(scale, 0);
      const steps = select(none, f32(0), div(value, select(none, f32(1), scale)));
      return smallBitsExpr(build, kind, build.bind("steps", steps));
    },
    isNonzero: (bits) => notEqual(bitAnd(bits, 0x7f), 0),
  };
}

/** The code of the elements of 8 bits. */
export const fp8ElementCodes = {
  fp8_e4m3: fp8Code(smallFloats.fp8_e4m3),
  fp8_e5m2: fp8Code(smallFloats.fp8_e5m2),
} as const;

const scaleCode: ElementCode = {
  bits: 8,
  integer: true,
  read: (_build, word) => convert("f32", shiftRight(bitcast("i32", shiftLeft(word, 24)), 24)),
  readAll: (build, word, count) =>
    upTo(count).map((at) => scaleCode.read(build, at === 0 ? word : shiftRight(word, 8 * at))),
  write: (_build, value) => bitAnd(bitcast("u32", convert("i32", round(value))), 0xff),
  isNonzero: (bits) => notEqual(bits, 0),
};

/** How scales of each type are read and written. */
export const scaleElementCodes: { readonly [T in ScaleType]: ElementCode } = {
  f16: f16Code,
  bf16: bf16Code,
  f32: f32Code,
  fp8_e4m3: fp8ElementCodes.fp8_e4m3,
  int8: scaleCode,
};

/** The code of the elements without a grid, by the name of their dense format. */
export const plainElementCodes = { f32: f32Code, f16: f16Code, bf16: bf16Code, i32: i32Code, u32: u32Code } as const;

function unpackHalves(word: Expr): Expr {
  return call("unpack2x16float", [word]);
}
