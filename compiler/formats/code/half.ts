/**
 * Rounding to f16 and bf16 as kernel expressions, by integers only, so that a device that flushes subnormals or rounds
 * ties otherwise gives the same bits as `float.ts`.
 */
import {
  add,
  bitAnd,
  bitOr,
  bitcast,
  greater,
  greaterEqual,
  max,
  min,
  select,
  shiftLeft,
  shiftRight,
  sub,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { SmallFloat } from "../small-float.js";
import type { Build } from "./code.js";

/** `f16Bits` of an f32 expression: a u32 below 65536. */
export function f16BitsExpr(build: Build, value: Expr): Expr {
  const bits = build.bind("bits", bitcast("u32", value));
  const size = build.bind("size", bitAnd(bits, 0x7fffffff));
  const normal = shiftRight(add(sub(size, 0x38000000), add(bitAnd(shiftRight(size, 13), 1), 0xfff)), 13);
  const shift = build.bind("shift", max(min(sub(u32(126), shiftRight(size, 23)), 25), 14));
  const significand = build.bind("significand", bitOr(bitAnd(size, 0x7fffff), 0x800000));
  const half = sub(shiftLeft(u32(1), sub(shift, 1)), 1);
  const subnormal = shiftRight(add(significand, add(half, bitAnd(shiftRight(significand, shift), 1))), shift);
  const finite = select(greaterEqual(size, 0x38800000), normal, subnormal);
  const any = select(
    greater(size, 0x7f800000),
    u32(0x7e00),
    select(greaterEqual(size, 0x47800000), u32(0x7c00), finite),
  );
  return build.bind("half", bitOr(bitAnd(shiftRight(bits, 16), 0x8000), any));
}

/** `smallBits` of an f32 expression: a u32 below 256. */
export function smallBitsExpr(build: Build, kind: SmallFloat, value: Expr): Expr {
  const { digits, bias, most, infinite, nan } = kind;
  const lost = 23 - digits;
  const bits = build.bind("bits", bitcast("u32", value));
  const size = build.bind("size", bitAnd(bits, 0x7fffffff));
  const rounding = add(bitAnd(shiftRight(size, lost), 1), 2 ** (lost - 1) - 1);
  const normal = min(shiftRight(add(sub(size, (127 - bias) * 2 ** 23), rounding), lost), most);
  const shift = build.bind(
    "shift",
    max(min(sub(u32(lost + 128 - bias), min(shiftRight(size, 23), 127)), 25), lost + 1),
  );
  const significand = build.bind("significand", bitOr(bitAnd(size, 0x7fffff), 0x800000));
  const half = sub(shiftLeft(u32(1), sub(shift, 1)), 1);
  const subnormal = shiftRight(add(significand, add(half, bitAnd(shiftRight(significand, shift), 1))), shift);
  const finite = select(greaterEqual(size, (128 - bias) * 2 ** 23), normal, subnormal);
  const any = select(
    greater(size, 0x7f800000),
    u32(nan),
    select(greaterEqual(size, 0x7f800000), u32(infinite), finite),
  );
  return build.bind("small", bitOr(bitAnd(shiftRight(bits, 24), 0x80), any));
}

/** `roundSignificand` of an f32 expression that is a number. */
export function roundSignificandExpr(build: Build, value: Expr, digits = 11): Expr {
  const lost = 24 - digits;
  if (lost === 0) return value;
  const bits = build.bind("bits", bitcast("u32", value));
  const rounding = add(bitAnd(shiftRight(bits, lost), 1), 2 ** (lost - 1) - 1);
  return bitcast("f32", bitAnd(add(bits, rounding), 2 ** 32 - 2 ** lost));
}

/** `bf16Bits` of an f32 expression: a u32 below 65536. */
export function bf16BitsExpr(build: Build, value: Expr): Expr {
  const bits = build.bind("bits", bitcast("u32", value));
  const upper = build.bind("upper", shiftRight(bits, 16));
  const rounded = bitAnd(shiftRight(add(bits, add(bitAnd(upper, 1), 0x7fff)), 16), 0xffff);
  return build.bind("half", select(greater(bitAnd(bits, 0x7fffffff), 0x7f800000), bitOr(upper, 0x40), rounded));
}
