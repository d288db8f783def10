/**
 * Exact arithmetic on single values, for constant folding and for the evaluator. A value is a number: f32 and f16
 * values are the doubles that equal them, integers lie in their type's range, bool is 0 or 1.
 */
import { InternalError } from "../diagnostic.js";
import { roundF16, roundHalfEven } from "../float.js";
import type { KernelBinary, KernelUnary, ScalarType } from "./kernel.js";

/** Rounds a double to a float type; integers wrap; bool as it is. */
export function roundTo(type: ScalarType, value: number): number {
  switch (type) {
    case "f32":
      return Math.fround(value);
    case "f16":
      return roundF16(value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return value;
    default:
      return type satisfies never;
  }
}

/**
 * A value as another type, as WGSL's conversions: float to integer truncates and stops at the last f32 in the range
 * (what NaN gives is free, here 0); between integers the bits stay. Without `from` the value must be one of `type`, but
 * for rounding.
 */
export function convertScalar(type: ScalarType, value: number, from?: ScalarType): number {
  if (from === undefined) {
    const fits =
      type === "i32"
        ? (value | 0) === value
        : type === "u32"
          ? value >>> 0 === value
          : type === "bool"
            ? value === 0 || value === 1
            : true;
    if (!fits) throw new InternalError(`${value} is not a ${type}`);
    return type === "i32" || type === "u32" || type === "bool" ? value + 0 : roundTo(type, value);
  }
  switch (type) {
    case "bool":
      return value !== 0 ? 1 : 0;
    case "f32":
    case "f16":
      return roundTo(type, value);
    case "i32":
      return from === "f32" || from === "f16" ? saturate(value, -0x80000000, 0x7fffff80) : value | 0;
    case "u32":
      return from === "f32" || from === "f16" ? saturate(value, 0, 0xffffff00) : value >>> 0;
    default:
      return type satisfies never;
  }
}

function saturate(value: number, low: number, high: number): number {
  return Number.isNaN(value) ? 0 : Math.trunc(Math.min(Math.max(value, low), high)) + 0;
}

/** The value of a unary op where it is the same on every device, else null. */
export function foldUnary(op: KernelUnary, type: ScalarType, a: number): number | null {
  switch (op) {
    case "negate":
      return type === "i32" ? -a | 0 : -a;
    case "not":
      return a === 0 ? 1 : 0;
    case "bit_not":
      return roundTo(type, ~a);
    case "abs":
      return type === "i32" ? Math.abs(a) | 0 : Math.abs(a);
    case "floor":
      return Math.floor(a);
    case "ceil":
      return Math.ceil(a);
    case "round":
      return roundHalfEven(a);
    case "round_f16":
      return roundF16(a);
    case "sign":
      return Math.sign(a);
    case "sqrt":
    case "rsqrt":
    case "exp":
    case "log":
    case "sin":
    case "cos":
    case "tanh":
      return null;
    default:
      return op satisfies never;
  }
}

/** The value of a binary op where it is the same on every device and finite, else null. Comparisons give 0 or 1. */
export function foldBinary(op: KernelBinary, type: ScalarType, a: number, b: number): number | null {
  const value = exact(op, type, a, b);
  return value !== null && Number.isFinite(value) ? value : null;
}

function exact(op: KernelBinary, type: ScalarType, a: number, b: number): number | null {
  const integer = type === "i32" || type === "u32";
  switch (op) {
    case "add":
      return roundTo(type, a + b);
    case "subtract":
      return roundTo(type, a - b);
    case "multiply":
      return integer ? roundTo(type, Math.imul(a, b)) : roundTo(type, a * b);
    case "divide":
      return b === 0 ? null : roundTo(type, integer ? Math.trunc(a / b) : a / b);
    case "remainder":
      return b === 0 || !integer ? null : roundTo(type, a % b);
    case "min":
      return Math.min(a, b);
    case "max":
      return Math.max(a, b);
    case "equal":
      return a === b ? 1 : 0;
    case "not_equal":
      return a !== b ? 1 : 0;
    case "less":
      return a < b ? 1 : 0;
    case "less_equal":
      return a <= b ? 1 : 0;
    case "greater":
      return a > b ? 1 : 0;
    case "greater_equal":
      return a >= b ? 1 : 0;
    case "and":
      return a !== 0 && b !== 0 ? 1 : 0;
    case "or":
      return a !== 0 || b !== 0 ? 1 : 0;
    case "bit_and":
      return roundTo(type, a & b);
    case "bit_or":
      return roundTo(type, a | b);
    case "bit_xor":
      return roundTo(type, a ^ b);
    case "shift_left":
      return roundTo(type, a << (b & 31));
    case "shift_right":
      return type === "i32" ? a >> (b & 31) : a >>> (b & 31);
    case "power":
      return null;
    default:
      return op satisfies never;
  }
}
