/** How single values lie in bits: those of the dense formats, which others hold, too. */
import { bf16Bits, bf16FromBits, f16Bits, f16FromBits, f32Bits, f32FromBits, roundHalfEven } from "../float.js";
import { InternalError } from "../diagnostic.js";
import type { FormatSpec } from "../types/type.js";
import { fp8Elements } from "./fp8/element.js";
import type { DenseType, Element, Format, ScaleType } from "./format.js";

/** What the bits of an element of up to 16 stand for, once asked for: a model has as many weights as it has. */
const tables = new Map<Element, Float32Array>();

/** `element.decode` of each item. */
export function decodeItems(
  element: Element,
  items: Uint8Array | Uint16Array | Uint32Array,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(items.length);
  if (element.bits > 16) {
    for (let index = 0; index < items.length; index += 1) values[index] = element.decode(items[index]!);
    return values;
  }
  let table = tables.get(element);
  if (table === undefined)
    tables.set(element, (table = Float32Array.from({ length: 2 ** element.bits }, (_, bits) => element.decode(bits))));
  for (let index = 0; index < items.length; index += 1) values[index] = table[items[index]!]!;
  return values;
}

const f32Element: Element = {
  bits: 32,
  integer: false,
  holdsZero: true,
  encode: f32Bits,
  decode: f32FromBits,
  isNonzero: (bits) => bits << 1 !== 0,
};

const f16Element: Element = {
  bits: 16,
  integer: false,
  holdsZero: true,
  encode: f16Bits,
  decode: f16FromBits,
  isNonzero: (bits) => (bits & 0x7fff) !== 0,
};

const bf16Element: Element = {
  bits: 16,
  integer: false,
  holdsZero: true,
  encode: bf16Bits,
  decode: bf16FromBits,
  isNonzero: f16Element.isNonzero,
};

const i32Element: Element = {
  bits: 32,
  integer: false,
  holdsZero: true,
  encode: (value) => saturate(value, -0x80000000, 0x7fffffff) >>> 0,
  decode: (bits) => bits | 0,
  isNonzero: (bits) => bits !== 0,
};

const u32Element: Element = {
  bits: 32,
  integer: false,
  holdsZero: true,
  encode: (value) => saturate(value, 0, 0xffffffff),
  decode: (bits) => bits,
  isNonzero: (bits) => bits !== 0,
};

function saturate(value: number, low: number, high: number): number {
  return Number.isNaN(value) ? 0 : Math.min(Math.max(roundHalfEven(value), low), high);
}

/** The elements without a grid, by the name of their dense format. */
export const plainElements = {
  f32: f32Element,
  f16: f16Element,
  bf16: bf16Element,
  i32: i32Element,
  u32: u32Element,
} as const satisfies { readonly [T in DenseType]: Element };

/** Codes of scales, of which the step is taken out before. */
const scaleCodeElement: Element = {
  bits: 8,
  integer: true,
  holdsZero: true,
  encode: (value) => roundHalfEven(value) & 0xff,
  decode: (bits) => (bits << 24) >> 24,
  isNonzero: (bits) => bits !== 0,
};

/** How scales of each type are stored, and to how many significant bits they are rounded first, at any size. */
export const scaleElements: { readonly [T in ScaleType]: { readonly element: Element; readonly digits: number } } = {
  f16: { element: f16Element, digits: 11 },
  bf16: { element: bf16Element, digits: 8 },
  f32: { element: f32Element, digits: 24 },
  fp8_e4m3: { element: fp8Elements.fp8_e4m3, digits: 4 },
  int8: { element: scaleCodeElement, digits: 24 },
};

/** The one of some formats that a spec names, and the element that it stores. */
export function valuesOf(
  formats: readonly Format[],
  spec: FormatSpec,
): { readonly format: Format; readonly element: Element } {
  const format = formats.find(({ name }) => name === spec.name);
  if (format === undefined || format.element === null)
    throw new InternalError(`${spec.name} does not store single values`);
  return { format, element: format.element(spec) };
}
