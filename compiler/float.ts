/**
 * Floats as bits: f32, f16 (IEEE binary16) and bf16 (the upper half of an f32). Rounding is to nearest, halves to even.
 * Plain numbers; the same as kernel expressions is in `formats/code/half.ts`.
 */

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

/** The bits of the nearest f16; from 65520 on infinity; NaN is 0x7e00 with its sign. */
export function f16Bits(value: number): number {
  const bits = oddBits(value);
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x47800000) return sign | 0x7c00;
  if (size >= 0x38800000) return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
  // A subnormal counts 2^-24: the significand shifted by 14 (just below 2^-14) to 25 (all gone).
  const shift = Math.min(126 - (size >>> 23), 25);
  const significand = (size & 0x7fffff) | 0x800000;
  return sign | shiftedToEven(significand, shift);
}

/** A whole number over 2^shift (1 to 25), to the nearest, halves to even. */
export function shiftedToEven(whole: number, shift: number): number {
  return (whole + (1 << (shift - 1)) - 1 + ((whole >>> shift) & 1)) >>> shift;
}

/**
 * The bits of a value in f32, the last one set where it lies between two of them: rounding those again is rounding
 * once.
 */
function oddBits(value: number): number {
  const bits = f32Bits(value);
  const rounded = Math.abs(f32FromBits(bits));
  const size = Math.abs(value);
  // compared so that NaN and what is infinite in f32 stay
  return rounded < size ? bits | 1 : rounded > size && rounded !== Infinity ? (bits - 1) | 1 : bits;
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
 * The nearest value of `digits` significant bits (at most 24), whatever its size; halves to even. NaN stays NaN. 11 are
 * as many as a normal f16 has.
 */
export function roundSignificand(value: number, digits = 11): number {
  const bits = f32Bits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return NaN;
  const lost = 24 - digits;
  if (lost === 0) return f32FromBits(bits);
  const half = 2 ** (lost - 1) - 1;
  return f32FromBits(((bits + half + ((bits >>> lost) & 1)) & ~(2 ** lost - 1)) >>> 0);
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

/** To the nearest integer, halves to even; keeps the sign of zero. */
export function roundHalfEven(value: number): number {
  if (!(Math.abs(value) < 2 ** 51)) return value;
  // Doubles between 2^52 and 2^53 are integers: the addition rounds, halves to even.
  const result = value + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
  return result === 0 && (value < 0 || Object.is(value, -0)) ? -0 : result;
}
