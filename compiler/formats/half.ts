/**
 * 16-bit floats as bits: f16 (IEEE binary16) and bf16 (the upper half of an f32), on the host and as kernel
 * expressions. Rounding is to nearest, halves to even. The kernel versions use integers only, so that a device that
 * flushes subnormals or rounds ties otherwise gives the same bits.
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
} from "../kernel/build.js";
import type { Expr } from "../kernel/kernel.js";
import type { Build } from "./format.js";

const scratch = new DataView(new ArrayBuffer(4));

/** The bits of a value rounded to f32. */
export function f32Bits(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

/** The f32 with these bits. */
export function f32FromBits(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

/** The bits of the nearest f16; beyond 65520 infinity; NaN is 0x7e00 with its sign. */
export function f16Bits(value: number): number {
  const bits = f32Bits(value);
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x47800000) return sign | 0x7c00;
  if (size >= 0x38800000) return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
  // A subnormal counts 2^-24: the significand shifted by 14 (just below 2^-14) to 25 (all gone).
  const shift = Math.min(126 - (size >>> 23), 25);
  const significand = (size & 0x7fffff) | 0x800000;
  return sign | ((significand + (1 << (shift - 1)) - 1 + ((significand >>> shift) & 1)) >>> shift);
}

/**
 * What an f16's exponent and fraction, shifted into an f32, are too small by: the distance of the exponents' biases.
 */
const rebias = 2 ** 112;

/** The value of f16 bits, exact. */
export function f16FromBits(bits: number): number {
  const size = bits & 0x7fff;
  const value = size < 0x7c00 ? f32FromBits(size << 13) * rebias : size === 0x7c00 ? Infinity : NaN;
  return bits & 0x8000 ? -value : value;
}

/** The nearest f16 value, as a number. */
export function roundF16(value: number): number {
  return f16FromBits(f16Bits(value));
}

/**
 * The nearest value of 11 significant bits, as many as a normal f16 has, whatever its size; halves to even. NaN stays
 * NaN.
 */
export function roundSignificand(value: number): number {
  const bits = f32Bits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return NaN;
  return f32FromBits(((bits + 0xfff + ((bits >>> 13) & 1)) & ~0x1fff) >>> 0);
}

/** The bits of the nearest bf16; NaN stays NaN (quiet). */
export function bf16Bits(value: number): number {
  const bits = f32Bits(value);
  return (bits & 0x7fffffff) > 0x7f800000
    ? (bits >>> 16) | 0x40
    : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The value of bf16 bits, exact. */
export function bf16FromBits(bits: number): number {
  return f32FromBits((bits << 16) >>> 0);
}

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

/** `roundSignificand` of an f32 expression that is a number. */
export function roundSignificandExpr(build: Build, value: Expr): Expr {
  const bits = build.bind("bits", bitcast("u32", value));
  return bitcast("f32", bitAnd(add(bits, add(bitAnd(shiftRight(bits, 13), 1), 0xfff)), 0xffffe000));
}

/** `bf16Bits` of an f32 expression: a u32 below 65536. */
export function bf16BitsExpr(build: Build, value: Expr): Expr {
  const bits = build.bind("bits", bitcast("u32", value));
  const upper = build.bind("upper", shiftRight(bits, 16));
  const rounded = bitAnd(shiftRight(add(bits, add(bitAnd(upper, 1), 0x7fff)), 16), 0xffff);
  return build.bind("half", select(greater(bitAnd(bits, 0x7fffffff), 0x7f800000), bitOr(upper, 0x40), rounded));
}
