/**
 * int8 to int2: codes on a grid per row and group of columns, or per row (`channel`). Symmetric: value = code * scale,
 * codes in two's complement. Asymmetric: value = (code - zero) * scale, codes and zero points unsigned, or with
 * `zero: f16` zero points that need not be whole. How scales are stored is said by `scale` and `shift` (`../grid.ts`). A
 * code is round(value / scale + zero) to nearest, halves to even, saturating; where the scale is zero, the code of zero.
 */
import { roundHalfEven } from "../../float.js";
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import type { Element, Format, FormatParameter } from "../format.js";
import { checkGroup, groupProblem, gridOf, scaleParameters, scaleProblem, withoutZeroShift } from "../grid.js";
import { plainFormat } from "../plain/meaning.js";

const parameters: readonly FormatParameter[] = [
  { kind: "number", name: "group", words: ["channel"] },
  { kind: "flag", name: "symmetric", yes: "symmetric", no: "asymmetric", fallback: true },
  ...scaleParameters,
  { kind: "word", name: "zero", words: ["f16"], fallback: null },
];

function normalize(spec: FormatSpec): FormatSpec | string {
  if (spec.of !== null) return `${spec.name} stores single values; it takes no \`of\`.`;
  const problem = groupProblem(spec) ?? scaleProblem(spec);
  if (problem !== null) return problem;
  if (spec.args["zero"] !== undefined && spec.args["symmetric"] !== false)
    return `${spec.name} has a zero point only where it is asymmetric.`;
  return normalizeArguments(withoutZeroShift(spec), parameters);
}

/** Codes of `bits` bits: two's complement from -2^(b-1) where symmetric, else unsigned from 0. */
function integerElement(bits: number, kind: "symmetric" | "asymmetric" | "float zero"): Element {
  const symmetric = kind === "symmetric";
  const { low, high } = codeRange(bits, symmetric);
  const mask = 2 ** bits - 1;
  return {
    bits,
    integer: true,
    holdsZero: kind !== "float zero",
    encode(value, scale, zero) {
      const steps = scale === 0 ? 0 : Math.fround(value / scale);
      return Math.min(Math.max(roundHalfEven(Math.fround(steps + zero)), low), high) & mask;
    },
    decode: (code) => (symmetric && code > high ? code - mask - 1 : code),
    isNonzero: (code, zero) => code !== zero,
  };
}

/** The codes of an integer format. */
export function codeRange(bits: number, symmetric: boolean): { readonly low: number; readonly high: number } {
  return symmetric ? { low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 } : { low: 0, high: 2 ** bits - 1 };
}

/** Whether a normalized spec has codes of both signs, and no zero point. */
export function isSymmetric(spec: FormatSpec): boolean {
  return spec.args["symmetric"] !== false;
}

function integerFormat(bits: number): Format {
  const [symmetric, asymmetric, floatZero] = [
    integerElement(bits, "symmetric"),
    integerElement(bits, "asymmetric"),
    integerElement(bits, "float zero"),
  ];
  return plainFormat({
    name: `int${bits}`,
    example: `int${bits}(128) with scale int${bits}_scale(w, 128)`,
    parameters,
    normalize,
    check: checkGroup,
    element: (spec) => (isSymmetric(spec) ? symmetric : spec.args["zero"] === undefined ? asymmetric : floatZero),
    grid: (spec) => ({
      ...gridOf(spec),
      symmetric: isSymmetric(spec),
      bits,
      ...codeRange(bits, isSymmetric(spec)),
      zero: spec.args["zero"] === "f16" ? "f16" : "code",
    }),
  });
}

export const int2Format: Format = integerFormat(2);
export const int3Format: Format = integerFormat(3);
export const int4Format: Format = integerFormat(4);
export const int5Format: Format = integerFormat(5);
export const int6Format: Format = integerFormat(6);
export const int8Format: Format = integerFormat(8);
