/** The values of fp8. */
import { smallBits, smallFloats, smallFromBits, type SmallFloat } from "../small-float.js";
import type { Element } from "../format.js";

/** The element of a float of 8 bits: value / scale, rounded to nearest, halves to even, saturating. */
function fp8Element(kind: SmallFloat): Element {
  return {
    bits: 8,
    integer: false,
    holdsZero: true,
    encode: (value, scale) => smallBits(kind, scale === 1 ? value : scale === 0 ? 0 : Math.fround(value / scale)),
    decode: (bits) => smallFromBits(kind, bits),
    isNonzero: (bits) => (bits & 0x7f) !== 0,
  };
}

/** Those of both kinds, by the name of their format. */
export const fp8Elements = {
  fp8_e4m3: fp8Element(smallFloats.fp8_e4m3),
  fp8_e5m2: fp8Element(smallFloats.fp8_e5m2),
} as const;
