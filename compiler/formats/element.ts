/** How one stored value lies in its bits: the part of a format that is the same whichever positions are stored. */
import { InternalError } from "../diagnostic.js";
import {
  add,
  bitAnd,
  bitcast,
  call,
  component,
  convert,
  div,
  equal,
  f32,
  notEqual,
  round,
  select,
  shiftLeft,
  shiftRight,
  u32,
} from "../kernel/build.js";
import type { Expr } from "../kernel/kernel.js";
import type { FormatSpec } from "../types/type.js";
import type { Build, Grid } from "./format.js";
import { roundHalfEven } from "../kernel/fold.js";
import {
  bf16Bits,
  bf16BitsExpr,
  bf16FromBits,
  f16Bits,
  f16BitsExpr,
  f16FromBits,
  f32Bits,
  f32FromBits,
} from "./half.js";
import { range } from "./layout.js";

/** Stored values of `bits` bits. `scale` and `zero` are those of the value's group; 1 and 0 where there is no grid. */
export interface Element {
  /** A divisor of 32. */
  readonly bits: 4 | 8 | 16 | 32;
  /** The bits of the nearest representable value, unsigned. */
  encode(value: number, scale: number, zero: number): number;
  /** The value of bits before the zero point is taken off and the scale applied. */
  decode(bits: number): number;
  /** The value (f32, as `decode`) of the item that stands lowest in a word; higher bits may hold anything. */
  read(word: Expr): Expr;
  /** The values of the first `count` items of a word. */
  readAll(build: Build, word: Expr, count: number): readonly Expr[];
  /** The bits of an f32 expression, as `encode`: a u32 without higher bits. */
  write(build: Build, value: Expr, scale: Expr | null, zero: Expr | null): Expr;
  /** Whether bits stand for a value other than zero (-0.0 is zero). */
  holds(bits: number, zero: number): boolean;
  holdsExpr(bits: Expr, zero: Expr | null): Expr;
}

/** What the bits of an element of up to 16 stand for, once asked for: a model has as many weights as it has. */
const tables = new Map<Element, Float32Array>();

/** `element.decode` of each item. */
export function decodeItems(
  element: Element,
  items: Uint8Array | Uint16Array | Uint32Array,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(items.length);
  if (element.bits === 32) {
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
  encode: f32Bits,
  decode: f32FromBits,
  read: (word) => bitcast("f32", word),
  readAll: (_build, word) => [bitcast("f32", word)],
  write: (_build, value) => bitcast("u32", value),
  holds: (bits) => bits << 1 !== 0,
  holdsExpr: (bits) => notEqual(shiftLeft(bits, 1), 0),
};

const f16Element: Element = {
  bits: 16,
  encode: f16Bits,
  decode: f16FromBits,
  read: (word) => component(unpackHalves(word), 0),
  readAll(build, word, count) {
    const pair = build.bind("pair", unpackHalves(word));
    return range(count).map((at) => component(pair, at));
  },
  write: (build, value) => f16BitsExpr(build, value),
  holds: (bits) => (bits & 0x7fff) !== 0,
  holdsExpr: (bits) => notEqual(bitAnd(bits, 0x7fff), 0),
};

const bf16Element: Element = {
  bits: 16,
  encode: bf16Bits,
  decode: bf16FromBits,
  read: (word) => bitcast("f32", shiftLeft(word, 16)),
  readAll: (_build, word, count) =>
    [bitcast("f32", shiftLeft(word, 16)), bitcast("f32", bitAnd(word, 0xffff0000))].slice(0, count),
  write: (build, value) => bf16BitsExpr(build, value),
  holds: f16Element.holds,
  holdsExpr: f16Element.holdsExpr,
};

const i32Element: Element = {
  ...f32Element,
  encode: (value) => saturate(value, -0x80000000, 0x7fffffff) >>> 0,
  decode: (bits) => bits | 0,
  read: (word) => convert("f32", bitcast("i32", word)),
  readAll: (_build, word) => [convert("f32", bitcast("i32", word))],
  write: (_build, value) => bitcast("u32", convert("i32", round(value))),
  holds: (bits) => bits !== 0,
  holdsExpr: (bits) => notEqual(bits, 0),
};

const u32Element: Element = {
  ...i32Element,
  encode: (value) => saturate(value, 0, 0xffffffff),
  decode: (bits) => bits,
  read: (word) => convert("f32", word),
  readAll: (_build, word) => [convert("f32", word)],
  write: (_build, value) => convert("u32", round(value)),
};

/** Codes of 4 or 8 bits: two's complement from -2^(b-1) where symmetric, else unsigned from 0. */
function integerElement(bits: 4 | 8, symmetric: boolean): Element {
  const { low, high } = codeRange(bits, symmetric);
  const mask = 2 ** bits - 1;
  const at = (word: Expr, position: number): Expr => {
    if (!symmetric) return convert("f32", bitAnd(shiftRight(word, position * bits), mask));
    // Up to the top, so that the shift back extends the sign.
    return convert("f32", shiftRight(bitcast("i32", shiftLeft(word, 32 - (position + 1) * bits)), 32 - bits));
  };
  return {
    bits,
    encode(value, scale, zero) {
      const steps = scale === 0 ? 0 : Math.fround(value / scale);
      return Math.min(Math.max(roundHalfEven(Math.fround(steps + zero)), low), high) & mask;
    },
    decode: (code) => (symmetric && code > high ? code - mask - 1 : code),
    read: (word) => at(word, 0),
    readAll: (_build, word, count) => range(count).map((position) => at(word, position)),
    write(build, value, scale, zero) {
      if (scale === null) throw new InternalError("integer codes need a scale");
      const steps = select(equal(scale, 0), f32(0), div(value, select(equal(scale, 0), f32(1), scale)));
      const code = call("clamp", [round(zero === null ? steps : add(steps, zero)), f32(low), f32(high)]);
      return build.bind("code", bitAnd(bitcast("u32", convert("i32", code)), mask));
    },
    holds: (code, zero) => code !== zero,
    holdsExpr: (code, zero) => notEqual(code, zero === null ? u32(0) : convert("u32", zero)),
  };
}

/** The codes of an integer format. */
export function codeRange(bits: 4 | 8, symmetric: boolean): { readonly low: number; readonly high: number } {
  return symmetric ? { low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 } : { low: 0, high: 2 ** bits - 1 };
}

function unpackHalves(word: Expr): Expr {
  return call("unpack2x16float", [word]);
}

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
} as const;

/** The elements with a grid, by name: [symmetric, asymmetric]. */
const integerElements = {
  int4: { symmetric: integerElement(4, true), asymmetric: integerElement(4, false) },
  int8: { symmetric: integerElement(8, true), asymmetric: integerElement(8, false) },
} as const;

/** How a normalized dense or integer spec stores a value. */
export function elementOf(spec: FormatSpec): Element {
  if (spec.name === "int4" || spec.name === "int8")
    return integerElements[spec.name][spec.args["symmetric"] === false ? "asymmetric" : "symmetric"];
  if (spec.name in plainElements) return plainElements[spec.name as keyof typeof plainElements];
  throw new InternalError(`${spec.name} does not store single values`);
}

/** The grid of a normalized dense or integer spec; null for a dense one. */
export function gridOf(spec: FormatSpec): Grid | null {
  if (spec.name !== "int4" && spec.name !== "int8") return null;
  const bits = spec.name === "int4" ? 4 : 8;
  const symmetric = spec.args["symmetric"] !== false;
  const group = spec.args["group"];
  return {
    group: typeof group === "number" ? group : "channel",
    symmetric,
    bits,
    ...codeRange(bits, symmetric),
    scale: spec.args["scale"] === "f32" ? "f32" : "f16",
    shift: typeof spec.args["shift"] === "number" ? spec.args["shift"] : 0,
  };
}
