/**
 * int8 and int4: codes on a grid per row and group of columns, or per row (`channel`). Symmetric: value = code * scale,
 * codes in two's complement. Asymmetric: value = (code - zero) * scale, codes and zero points unsigned. The scale is
 * stored as f16, or as f32 by `scale: f32`; with `shift: 16` as f16 times 2^16. A code is round(value / scale + zero)
 * to nearest, halves to even, saturating; where the scale is zero, the code of zero.
 */
import { roundHalfEven } from "../../float.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import { mostShift } from "../fit.js";
import type { Element, Format, FormatParameter, Grid, Shape } from "../format.js";
import { plainFormat } from "../plain/meaning.js";

const parameters: readonly FormatParameter[] = [
  { kind: "number", name: "group", words: ["channel"] },
  { kind: "flag", name: "symmetric", yes: "symmetric", no: "asymmetric", fallback: true },
  { kind: "word", name: "scale", words: ["f16", "f32"], fallback: "f16" },
  { kind: "label", name: "shift" },
];

function normalize(spec: FormatSpec): FormatSpec | string {
  if (spec.of !== null) return `${spec.name} stores single values; it takes no \`of\`.`;
  const group = spec.args["group"];
  if (typeof group === "number" && (group <= 0 || group % 8 !== 0))
    return `The group of ${spec.name} must be a positive multiple of 8 or \`channel\`, and is ${group}.`;
  const { shift, ...args } = spec.args;
  if (shift === undefined || shift === 0) return normalizeArguments({ ...spec, args }, parameters);
  if (args["scale"] === "f32") return `${spec.name} shifts scales of f16 alone; those of f32 need no shift.`;
  if (typeof shift === "number" && shift > mostShift)
    return `The argument \`shift\` of ${spec.name} must be at most ${mostShift}, and is ${shift}.`;
  return normalizeArguments(spec, parameters);
}

function check(spec: FormatSpec, shape: Shape): string | null {
  const group = spec.args["group"];
  if (typeof group !== "number" || shape.columns % group === 0) return null;
  return `K = ${shape.columns} is not a multiple of the group of ${group}`;
}

/** Codes of 4 or 8 bits: two's complement from -2^(b-1) where symmetric, else unsigned from 0. */
function integerElement(bits: 4 | 8, symmetric: boolean): Element {
  const { low, high } = codeRange(bits, symmetric);
  const mask = 2 ** bits - 1;
  return {
    bits,
    encode(value, scale, zero) {
      const steps = scale === 0 ? 0 : Math.fround(value / scale);
      return Math.min(Math.max(roundHalfEven(Math.fround(steps + zero)), low), high) & mask;
    },
    decode: (code) => (symmetric && code > high ? code - mask - 1 : code),
    isNonzero: (code, zero) => code !== zero,
  };
}

/** The codes of an integer format. */
export function codeRange(bits: 4 | 8, symmetric: boolean): { readonly low: number; readonly high: number } {
  return symmetric ? { low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 } : { low: 0, high: 2 ** bits - 1 };
}

/** Whether a normalized spec has codes of both signs, and no zero point. */
export function isSymmetric(spec: FormatSpec): boolean {
  return spec.args["symmetric"] !== false;
}

function integerFormat(name: string, bits: 4 | 8): Format {
  const [symmetric, asymmetric] = [integerElement(bits, true), integerElement(bits, false)];
  return plainFormat({
    name,
    parameters,
    normalize,
    check,
    element: (spec) => (isSymmetric(spec) ? symmetric : asymmetric),
    grid({ args }): Grid {
      return {
        group: typeof args["group"] === "number" ? args["group"] : "channel",
        symmetric: args["symmetric"] !== false,
        bits,
        ...codeRange(bits, args["symmetric"] !== false),
        scale: args["scale"] === "f32" ? "f32" : "f16",
        shift: typeof args["shift"] === "number" ? args["shift"] : 0,
      };
    },
  });
}

export const int4Format: Format = integerFormat("int4", 4);
export const int8Format: Format = integerFormat("int8", 8);
