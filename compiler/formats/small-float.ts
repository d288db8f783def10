/** Floats of 8 bits. Plain numbers; the same as kernel expressions is in `code/half.ts`. */
import { f32Bits, shiftedToEven } from "../float.js";

/** A float of 8 bits: sign, exponent, fraction of `digits` bits. What is beyond `most` saturates. */
export interface SmallFloat {
  readonly digits: number;
  /** Of the exponent. */
  readonly bias: number;
  /** The bits of the largest value. */
  readonly most: number;
  /** The bits of infinity, or those of the largest value where there is none. */
  readonly infinite: number;
  readonly nan: number;
}

/** fp8 of the OCP specification (rev 1.0, section 5.1): e4m3 has no infinity, e5m2 is the upper half of an f16. */
export const smallFloats = {
  fp8_e4m3: { digits: 3, bias: 7, most: 0x7e, infinite: 0x7e, nan: 0x7f },
  fp8_e5m2: { digits: 2, bias: 15, most: 0x7b, infinite: 0x7c, nan: 0x7e },
} as const satisfies { readonly [name: string]: SmallFloat };

/** The bits of the nearest value to an f32; a NaN keeps its sign. */
export function smallBits({ digits, bias, most, infinite, nan }: SmallFloat, value: number): number {
  const bits = f32Bits(value);
  const sign = (bits >>> 24) & 0x80;
  const size = bits & 0x7fffffff;
  if (size >= 0x7f800000) return sign | (size === 0x7f800000 ? infinite : nan);
  const lost = 23 - digits;
  if (size >= (128 - bias) << 23) {
    const normal = (size - ((127 - bias) << 23) + 2 ** (lost - 1) - 1 + ((size >>> lost) & 1)) >>> lost;
    return sign | Math.min(normal, most);
  }
  const shift = Math.min(lost + 128 - bias - (size >>> 23), 25);
  const significand = (size & 0x7fffff) | 0x800000;
  return sign | shiftedToEven(significand, shift);
}

/** The value of these bits, exact. */
export function smallFromBits({ digits, bias, most, infinite }: SmallFloat, bits: number): number {
  const size = bits & 0x7f;
  const [exponent, fraction] = [size >> digits, size & (2 ** digits - 1)];
  const value =
    size > most
      ? size === infinite
        ? Infinity
        : NaN
      : exponent === 0
        ? fraction * 2 ** (1 - bias - digits)
        : (2 ** digits + fraction) * 2 ** (exponent - bias - digits);
  return bits & 0x80 ? -value : value;
}
