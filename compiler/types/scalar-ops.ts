/**
 * The operations on scalars, of the language, of the Graph and of the Kernel alike: their names and type rules. The
 * meaning of each is in `graph/arithmetic.ts`, the table for people in `spec/ops.md`; a test holds the two lists
 * together.
 */

/** How the dtype of an op follows from those of its operands. */
export type TypeRule =
  /** Operands of one float dtype; result the same. */
  | "float"
  /** Operands of one numeric dtype (float or integer); result the same. */
  | "numeric"
  /** Operands of one integer dtype; result the same. */
  | "integer"
  /** Operands of one dtype, numeric; result bool. */
  | "compare"
  /** Operands and result bool. */
  | "logic"
  /** f32 operand to u32 result, bit for bit. */
  | "bits"
  /** u32 operand to f32 result, bit for bit. */
  | "from-bits";

/** Operations of one operand. */
export const unaryOps = {
  negate: "numeric",
  not: "logic",
  abs: "numeric",
  sign: "numeric",
  sqrt: "float",
  rsqrt: "float",
  exp: "float",
  log: "float",
  sin: "float",
  cos: "float",
  tanh: "float",
  floor: "float",
  ceil: "float",
  /** To the nearest integer, halves to even. */
  round: "float",
  /** f32 to the nearest f16 value, halves to even, kept as f32. Works on every device. */
  round_f16: "float",
  bits: "bits",
  from_bits: "from-bits",
  /** The operand, whose gradient ends here. */
  stop: "numeric",
} as const satisfies Record<string, TypeRule>;

/** Operations of two. */
export const binaryOps = {
  add: "numeric",
  subtract: "numeric",
  multiply: "numeric",
  /** Float division; of integers: truncated, as WGSL's. Index arithmetic is never negative. By zero: 0 for integers. */
  divide: "numeric",
  /** Remainder with the sign of the dividend. By zero: 0 for integers. */
  remainder: "numeric",
  power: "float",
  min: "numeric",
  max: "numeric",
  equal: "compare",
  not_equal: "compare",
  less: "compare",
  less_equal: "compare",
  greater: "compare",
  greater_equal: "compare",
  and: "logic",
  or: "logic",
  bit_and: "integer",
  bit_or: "integer",
  bit_xor: "integer",
  shift_left: "integer",
  shift_right: "integer",
  /** The second operand; its gradient is the first one's. */
  straight_through: "float",
} as const satisfies Record<string, TypeRule>;

export type UnaryOp = keyof typeof unaryOps;
export type BinaryOp = keyof typeof binaryOps;

/** The ops whose operands may change places: the result is the same, bit for bit. */
export const commutativeOps: ReadonlySet<BinaryOp> = new Set([
  "add",
  "multiply",
  "min",
  "max",
  "equal",
  "not_equal",
  "and",
  "or",
  "bit_and",
  "bit_or",
  "bit_xor",
]);
