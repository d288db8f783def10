/**
 * What the scalar ops do to numbers: the plain meaning, shared by `evaluate.ts` and constant folding. Values are
 * JavaScript numbers: f32 and f16 hold representable values, i32 and u32 integers of their range, bool 0 or 1.
 * Rounding, wrap-around and division by zero are as `spec/numerics.md` says.
 */
import { roundF16, roundHalfEven } from "../float.js";
import type { Dtype } from "../types/dtype.js";
import type { BinaryOp, UnaryOp } from "../types/scalar-ops.js";

/**
 * Brings an exact result into a dtype: floats round to nearest even, integers wrap around, bool is whether it is not 0.
 */
export function rounding(dtype: Dtype): (value: number) => number {
  switch (dtype) {
    case "f32":
      return Math.fround;
    case "f16":
      return roundF16;
    case "i32":
      return (value) => value | 0;
    case "u32":
      return (value) => value >>> 0;
    case "bool":
      return (value) => (value !== 0 ? 1 : 0);
    default:
      return dtype satisfies never;
  }
}

const exactUnary: { readonly [K in UnaryOp]: (a: number) => number } = {
  negate: (a) => -a,
  not: (a) => 1 - a,
  abs: Math.abs,
  sign: (a) => Math.sign(a),
  sqrt: Math.sqrt,
  rsqrt: (a) => 1 / Math.sqrt(a),
  exp: Math.exp,
  log: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfEven,
  round_f16: roundF16,
  bits: (a) => new Uint32Array(new Float32Array([a]).buffer)[0] ?? 0,
  stop: (a) => a,
  from_bits: (a) => new Float32Array(new Uint32Array([a]).buffer)[0] ?? 0,
};

/** The function of a unary op whose result has the dtype given. */
export function unaryFunction(op: UnaryOp, result: Dtype): (a: number) => number {
  const exact = exactUnary[op];
  const round = rounding(result);
  return (a) => round(exact(a));
}

type BinaryFunction = (a: number, b: number) => number;

/** Float and exact meaning; integers where they differ are in `integerBinary`. */
const exactBinary: { readonly [K in BinaryOp]: BinaryFunction } = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
  remainder: (a, b) => a % b,
  power: (a, b) => a ** b,
  // as WGSL words them, which also settles NaN: the first unless the second is smaller (larger)
  min: (a, b) => (b < a ? b : a),
  max: (a, b) => (a < b ? b : a),
  equal: (a, b) => (a === b ? 1 : 0),
  not_equal: (a, b) => (a !== b ? 1 : 0),
  less: (a, b) => (a < b ? 1 : 0),
  less_equal: (a, b) => (a <= b ? 1 : 0),
  greater: (a, b) => (a > b ? 1 : 0),
  greater_equal: (a, b) => (a >= b ? 1 : 0),
  and: (a, b) => (a !== 0 && b !== 0 ? 1 : 0),
  or: (a, b) => (a !== 0 || b !== 0 ? 1 : 0),
  bit_and: (a, b) => a & b,
  bit_or: (a, b) => a | b,
  bit_xor: (a, b) => a ^ b,
  shift_left: (a, b) => a << (b & 31),
  shift_right: (a, b) => a >> (b & 31),
  straight_through: (_, b) => b,
};

const integerBinary: { readonly [K in BinaryOp]?: BinaryFunction } = {
  // in a function of its own: Math.imul itself, called by many, now and then gave 2^31 unwrapped (Node 20, 7 of 400 runs)
  multiply: (a, b) => Math.imul(a, b),
  divide: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
  remainder: (a, b) => (b === 0 ? 0 : a % b),
};

/** The function of a binary op on operands of one dtype; comparisons give 0 or 1. */
export function binaryFunction(op: BinaryOp, operands: Dtype): BinaryFunction {
  if (operands === "u32" && op === "shift_right") return (a, b) => a >>> (b & 31);
  const round = rounding(operands);
  const exact = (operands === "i32" || operands === "u32" ? integerBinary[op] : undefined) ?? exactBinary[op];
  return (a, b) => round(exact(a, b));
}

/**
 * Conversion of a value: to a float rounds; float to integer truncates and saturates, NaN to 0; between integers keeps
 * the bits; to bool is `!= 0`.
 */
export function castFunction(from: Dtype, to: Dtype): (a: number) => number {
  const fromFloat = from === "f32" || from === "f16";
  if (fromFloat && (to === "i32" || to === "u32")) {
    const [low, high] = integerRange(to);
    return (a) => (Number.isNaN(a) ? 0 : Math.min(Math.max(Math.trunc(a), low), high) + 0);
  }
  return rounding(to);
}

/** The smallest and largest value of an integer dtype. */
export function integerRange(dtype: "i32" | "u32"): readonly [number, number] {
  return dtype === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
}

/** The value of `max` and `min` over an empty range: what every value beats. */
export function extremeIdentity(op: "max" | "min", dtype: Dtype): number {
  if (dtype === "i32" || dtype === "u32") return integerRange(dtype)[op === "max" ? 0 : 1];
  return op === "max" ? -Infinity : Infinity;
}
