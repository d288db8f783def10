import { elementCount } from "../../compiler/types/shape.js";

/** Bits of an element of each type that safetensors knows, by the name the files use. */
export const elementBits = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
} as const;

/** An element type, named as in safetensors. */
export type ElementType = keyof typeof elementBits;

/** The types that weights are computed from. */
export type FloatType = "F32" | "F16" | "BF16";

/** Whether a text names an element type. */
export function isElementType(name: string): name is ElementType {
  return Object.hasOwn(elementBits, name);
}

/** Whether elements of this type can be turned to f32 by `toFloats`. */
export function isFloatType(type: string): type is FloatType {
  return type === "F32" || type === "F16" || type === "BF16";
}

/** Bytes of a tensor, or null where they are not a whole number or not exact. */
export function byteCount(type: ElementType, shape: readonly number[]): number | null {
  const bits = elementCount(shape) * elementBits[type];
  return Number.isSafeInteger(bits) && bits % 8 === 0 ? bits / 8 : null;
}

/**
 * Little-endian elements to f32, exactly (each f16 and bf16 is an f32). The bytes may start anywhere; their number
 * must be a multiple of the element's. Writes into `target` where given, and returns it cut to the elements read.
 */
export function toFloats(
  type: FloatType,
  bytes: Uint8Array,
  target?: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const width = elementBits[type] / 8;
  const count = bytes.length / width;
  const floats = (target ?? new Float32Array(count)).subarray(0, count);
  const words = new Uint32Array(floats.buffer, floats.byteOffset, count);
  if (type === "F32") {
    new Uint8Array(floats.buffer, floats.byteOffset, count * 4).set(bytes);
    return floats;
  }
  const halves = new Uint16Array(
    bytes.byteOffset % 2 === 0 ? bytes.buffer : bytes.slice().buffer,
    bytes.byteOffset % 2 === 0 ? bytes.byteOffset : 0,
    count,
  );
  if (type === "BF16") {
    for (let i = 0; i < count; i++) words[i] = halves[i]! << 16;
    return floats;
  }
  // The 15 low bits moved to where f32 has them are 2^112 too small, subnormals included; infinity and NaN keep their
  // exponent.
  for (let i = 0; i < count; i++) words[i] = (halves[i]! & 0x7fff) << 13;
  for (let i = 0; i < count; i++) floats[i] = floats[i]! * 2 ** 112;
  for (let i = 0; i < count; i++) {
    const half = halves[i]!;
    if ((half & 0x7c00) === 0x7c00) words[i] = 0x7f800000 | ((half & 0x3ff) << 13);
    words[i] = words[i]! | ((half & 0x8000) << 16);
  }
  return floats;
}

/** How many of the elements are zero, -0 included. */
export function countZeros(type: ElementType, bytes: Uint8Array): number | null {
  const bits = elementBits[type];
  if (bits < 8 || type === "C64" || type === "F8_E8M0") return null;
  const width = bits / 8;
  // Only floats have a sign that zero may carry; in the FNUZ types 0x80 is NaN.
  const signed = (type.startsWith("F") && !type.endsWith("FNUZ")) || type === "BF16";
  let zeros = 0;
  for (let at = 0; at < bytes.length; at += width) {
    let any = signed ? bytes[at + width - 1]! & 0x7f : bytes[at + width - 1]!;
    for (let byte = 0; byte < width - 1; byte++) any |= bytes[at + byte]!;
    if (any === 0) zeros++;
  }
  return zeros;
}
