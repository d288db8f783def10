/**
 * The derivatives of scalar ops, one table: what an adjoint (f32) of the result makes of it for each operand, `null`
 * where an operand gets none because the op is constant wherever it is smooth. Operands are given as f32.
 */
import type { BinaryOp, UnaryOp } from "../../types/scalar-ops.js";
import type { Level } from "../../types/type.js";
import { binary, constant, select, unary } from "../build.js";
import type { Scalar } from "../graph.js";

type S = Scalar<Level>;
type UnaryRule = ((adjoint: S, a: S) => S) | null;
type BinaryRule =
  | ((adjoint: S, a: S, b: S) => { readonly a: S | null; readonly b: S | null })
  /** What each operand gets under a condition: `a` where it holds, else `b`. */
  | null;

const number = (value: number): S => constant<Level>(value, "f32");
const subtract = (a: S, b: S): S => binary("subtract", a, b);
const negate = (a: S): S => unary("negate", a);
const divide = (a: S, b: S): S => binary("divide", a, b);
/** A product, without a factor of one. */
export function times<L extends Level>(a: Scalar<L>, b: Scalar<L>): Scalar<L> {
  if (a.kind === "constant" && a.value === 1) return b;
  if (b.kind === "constant" && b.value === 1) return a;
  return binary("multiply", a, b);
}

/** d op(a) / da, times the adjoint. */
export const unaryRules: { readonly [K in UnaryOp]: UnaryRule } = {
  negate: (g) => negate(g),
  abs: (g, a) => times(g, unary("sign", a)),
  sqrt: (g, a) => times(times(g, number(0.5)), unary("rsqrt", a)),
  rsqrt: (g, a) => times(times(g, number(-0.5)), divide(unary("rsqrt", a), a)),
  exp: (g, a) => times(g, unary("exp", a)),
  log: (g, a) => divide(g, a),
  sin: (g, a) => times(g, unary("cos", a)),
  cos: (g, a) => negate(times(g, unary("sin", a))),
  tanh: (g, a) => times(g, subtract(number(1), times(unary("tanh", a), unary("tanh", a)))),
  // as a conversion to f16: what is lost is rounding, not slope
  round_f16: (g) => g,
  stop: null,
  not: null,
  sign: null,
  floor: null,
  ceil: null,
  round: null,
  bits: null,
  from_bits: null,
};

/** The same of two operands. */
export const binaryRules: { readonly [K in BinaryOp]: BinaryRule } = {
  add: (g) => ({ a: g, b: g }),
  subtract: (g) => ({ a: g, b: negate(g) }),
  multiply: (g, a, b) => ({ a: times(g, b), b: times(g, a) }),
  divide: (g, a, b) => ({ a: divide(g, b), b: negate(divide(times(g, divide(a, b)), b)) }),
  // a - b * trunc(a / b), whose trunc is constant wherever it is smooth
  remainder: (g, a, b) => ({ a: g, b: negate(times(g, truncated(divide(a, b)))) }),
  power: (g, a, b) => ({ a: times(g, powerSlope(a, b)), b: times(g, exponentSlope(a, b)) }),
  // of equals the first, as the value
  min: (g, a, b) => pick(binary("less", b, a), g),
  max: (g, a, b) => pick(binary("less", a, b), g),
  straight_through: (g) => ({ a: g, b: null }),
  equal: null,
  not_equal: null,
  less: null,
  less_equal: null,
  greater: null,
  greater_equal: null,
  and: null,
  or: null,
  bit_and: null,
  bit_or: null,
  bit_xor: null,
  shift_left: null,
  shift_right: null,
};

function pick(second: S, g: S): { readonly a: S; readonly b: S } {
  return { a: select(second, number(0), g), b: select(second, g, number(0)) };
}

function truncated(a: S): S {
  return select(binary("less", a, number(0)), unary("ceil", a), unary("floor", a));
}

/** b a^(b - 1): as a product for the exponents that hold for any a [spec/ops.md, `power`]. */
function powerSlope(a: S, b: S): S {
  if (b.kind === "constant") {
    if (b.value === 0) return number(0);
    if (b.value === 1) return number(1);
    if (b.value === 2) return times(number(2), a);
    return times(number(b.value), binary("power", a, number(b.value - 1)));
  }
  return times(b, binary("power", a, subtract(b, number(1))));
}

/** a^b log a; 0 where a is 0, as the power of a positive exponent is there for all exponents near. */
function exponentSlope(a: S, b: S): S {
  return select(binary("equal", a, number(0)), number(0), times(binary("power", a, b), unary("log", a)));
}
