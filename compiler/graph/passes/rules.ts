/**
 * The rewrites of scalars, in the order in which they are tried. Each keeps the value that `evaluate` gives (but for
 * the
 * sign of zero), and counts on finite numbers, as the language does. Index arithmetic is in `index-rules.ts`.
 */
import { commutativeOps } from "../../types/scalar-ops.js";
import { extremeIdentity, binaryFunction, castFunction, rounding, unaryFunction } from "../arithmetic.js";
import { binary, cast, constant, integer, select, unary } from "../build.js";
import type { Scalar, ValueId } from "../graph.js";
import type { Bounds } from "../analysis/ranges.js";
import { constantOf, dtypeOf, substitute } from "../scalar.js";
import type { Concrete } from "../../types/type.js";
import type { Dtype } from "../../types/dtype.js";

type Node = Scalar<Concrete>;

/** What is known where a scalar stands. */
export interface Facts {
  /** The intervals of the indices in scope. */
  readonly bounds: Bounds;
  /** The shape of a tensor. */
  shape(tensor: ValueId): readonly number[];
}

/**
 * A rewrite of one node whose operands are rewritten already; null where it does not apply. Equal subtrees are the same
 * object.
 */
export interface ScalarRule {
  readonly name: string;
  readonly rewrite: (node: Node, facts: Facts) => Node | null;
}

/** A constant of the dtype, or null for what no literal can say: infinities and NaN. */
function literal(value: number, dtype: Dtype): Node | null {
  return Number.isFinite(value) ? constant(value, dtype) : null;
}

function isConstant(node: Node, value: number): boolean {
  return constantOf(node) === value;
}

/** The value of a constant, rounded to its dtype; null for any other node. */
function rounded(node: Node): number | null {
  const value = constantOf(node);
  return value === null ? null : rounding(dtypeOf(node))(value);
}

function isFloatNode(node: Node): boolean {
  const dtype = dtypeOf(node);
  return dtype === "f32" || dtype === "f16";
}

export const scalarRules: readonly ScalarRule[] = [
  // a size = its number
  { name: "size", rewrite: (node) => (node.kind === "size" ? integer(node.size) : null) },

  // op(1, 2) = 3
  {
    name: "fold-constants",
    rewrite: (node) => {
      if (node.kind === "unary" || node.kind === "cast") {
        const a = rounded(node.a);
        if (a === null) return null;
        return literal(
          (node.kind === "cast" ? castFunction(dtypeOf(node.a), node.dtype) : unaryFunction(node.op, node.dtype))(a),
          node.dtype,
        );
      }
      if (node.kind !== "binary") return null;
      const [a, b] = [rounded(node.a), rounded(node.b)];
      return a === null || b === null ? null : literal(binaryFunction(node.op, dtypeOf(node.a))(a, b), node.dtype);
    },
  },

  // 2 + x = x + 2: the rules below look for constants on the right only
  {
    name: "constant-right",
    rewrite: (node) =>
      node.kind === "binary" &&
      commutativeOps.has(node.op) &&
      constantOf(node.a) !== null &&
      constantOf(node.b) === null
        ? { ...node, a: node.b, b: node.a }
        : null,
  },

  // x + 0 = x - 0 = x * 1 = x / 1 = x ^ 1 = x
  {
    name: "neutral",
    rewrite: (node) => {
      if (node.kind !== "binary") return null;
      switch (node.op) {
        case "add":
        case "subtract":
        case "bit_or":
        case "bit_xor":
        case "shift_left":
        case "shift_right":
          return isConstant(node.b, 0) ? node.a : null;
        case "multiply":
        case "divide":
        case "power":
          return isConstant(node.b, 1) ? node.a : null;
        case "and":
          return isConstant(node.b, 1) ? node.a : null;
        case "or":
          return isConstant(node.b, 0) ? node.a : null;
        default:
          return null;
      }
    },
  },

  // x * 0 = 0, over finite numbers; of integers also 0 / x = 0 % x = x % 1 = x - x = 0; x and false = false; x or true
  // = true
  {
    name: "absorbing",
    rewrite: (node) => {
      if (node.kind !== "binary") return null;
      const zero = (): Node => constant(0, node.dtype);
      switch (node.op) {
        case "multiply":
          return isConstant(node.b, 0) ? zero() : null;
        case "divide":
          return !isFloatNode(node) && isConstant(node.a, 0) ? zero() : null;
        case "remainder":
          return !isFloatNode(node) && (isConstant(node.a, 0) || isConstant(node.b, 1)) ? zero() : null;
        case "subtract":
          return !isFloatNode(node) && node.a === node.b ? zero() : null;
        case "bit_and":
          return isConstant(node.b, 0) ? zero() : null;
        case "and":
          return isConstant(node.b, 0) ? node.b : null;
        case "or":
          return isConstant(node.b, 1) ? node.b : null;
        default:
          return null;
      }
    },
  },

  // x and x = x or x = min(x, x) = max(x, x) = x
  {
    name: "idempotent",
    rewrite: (node) =>
      node.kind === "binary" && node.a === node.b && ["and", "or", "min", "max", "bit_and", "bit_or"].includes(node.op)
        ? node.a
        : null,
  },

  // what is said to gradients alone: stop(x) = x; straight_through(x, y) = y
  {
    name: "told-to-gradients",
    rewrite: (node) => {
      if (node.kind === "unary" && node.op === "stop") return node.a;
      return node.kind === "binary" && node.op === "straight_through" ? node.b : null;
    },
  },

  // -(-x) = x; not not x = x; abs(abs(x)) = abs(-x) = abs(x); round(round(x)) = round(x)
  {
    name: "twice",
    rewrite: (node) => {
      if (node.kind !== "unary" || node.a.kind !== "unary") return null;
      const inner = node.a;
      switch (node.op) {
        case "negate":
        case "not":
          return inner.op === node.op ? inner.a : null;
        case "abs":
          return inner.op === "abs" ? inner : inner.op === "negate" ? unary("abs", inner.a) : null;
        case "round":
        case "floor":
        case "ceil":
          return ["round", "floor", "ceil"].includes(inner.op) ? inner : null;
        case "round_f16":
          return inner.op === "round_f16" ? inner : null;
        default:
          return null;
      }
    },
  },

  // 0 - x = -x; x + -y = x - y; x - -y = x + y
  {
    name: "sign",
    rewrite: (node) => {
      if (node.kind === "binary" && node.op === "subtract" && isConstant(node.a, 0)) return unary("negate", node.b);
      if (
        node.kind !== "binary" ||
        (node.op !== "add" && node.op !== "subtract") ||
        node.b.kind !== "unary" ||
        node.b.op !== "negate"
      )
        return null;
      return binary(node.op === "add" ? "subtract" : "add", node.a, node.b.a);
    },
  },

  // x / 2^n = x * 2^-n, exactly, while both are normal numbers
  {
    name: "divide-by-power-of-two",
    rewrite: (node) => {
      if (node.kind !== "binary" || node.op !== "divide" || !isFloatNode(node)) return null;
      const divisor = Math.abs(constantOf(node.b) ?? 0);
      return divisor >= 2 ** -10 && divisor <= 2 ** 10 && Number.isInteger(Math.log2(divisor))
        ? binary("multiply", node.a, constant(1 / (constantOf(node.b) ?? 1), node.dtype))
        : null;
    },
  },

  // x^2 = x * x, x^3 = x * x * x, x^4 = (x * x)^2: WGSL's pow has no negative bases. x^0.5 = sqrt(x), x^-1 = 1 / x
  {
    name: "constant-power",
    rewrite: (node) => {
      if (node.kind !== "binary" || node.op !== "power") return null;
      const exponent = constantOf(node.b);
      if (exponent === -1) return binary("divide", constant(1, node.dtype), node.a);
      if (exponent === 0.5) return unary("sqrt", node.a);
      if (exponent !== 2 && exponent !== 3 && exponent !== 4) return null;
      const square = binary("multiply", node.a, node.a);
      return exponent === 2 ? square : binary("multiply", square, exponent === 3 ? node.a : square);
    },
  },

  // select(true, a, b) = a; select(false, a, b) = b; select(c, a, a) = a
  {
    name: "select-decided",
    rewrite: (node) => {
      if (node.kind !== "select") return null;
      const condition = constantOf(node.condition);
      if (condition !== null) return condition !== 0 ? node.then : node.otherwise;
      if (node.then === node.otherwise) return node.then;
      const [then, otherwise] = [constantOf(node.then), constantOf(node.otherwise)];
      return then !== null && then === otherwise ? node.then : null;
    },
  },

  // select(not c, a, b) = select(c, b, a)
  {
    name: "select-not",
    rewrite: (node) =>
      node.kind === "select" && node.condition.kind === "unary" && node.condition.op === "not"
        ? select(node.condition.a, node.otherwise, node.then)
        : null,
  },

  // select(c, select(c, a, b), d) = select(c, a, d); select(c, a, select(c, b, d)) = select(c, a, d)
  {
    name: "select-again",
    rewrite: (node) => {
      if (node.kind !== "select") return null;
      if (node.then.kind === "select" && node.then.condition === node.condition)
        return select(node.condition, node.then.then, node.otherwise);
      if (node.otherwise.kind === "select" && node.otherwise.condition === node.condition)
        return select(node.condition, node.then, node.otherwise.otherwise);
      return null;
    },
  },

  // select(c, true, false) = c; select(c, a, false) = c and a; select(c, true, b) = c or b
  {
    name: "select-bool",
    rewrite: (node) => {
      if (node.kind !== "select" || node.dtype !== "bool") return null;
      if (isConstant(node.then, 1))
        return isConstant(node.otherwise, 0) ? node.condition : binary("or", node.condition, node.otherwise);
      return isConstant(node.otherwise, 0) ? binary("and", node.condition, node.then) : null;
    },
  },

  // f32(x) = x for an f32 x; f16(f32(h)) = h for an f16 h; bool(f32(b)) = b for a bool b; round_f16(f32(h)) = f32(h)
  {
    name: "double-cast",
    rewrite: (node) => {
      if (node.kind === "unary" && node.op === "round_f16")
        return node.dtype === "f16" || (node.a.kind === "cast" && dtypeOf(node.a.a) === "f16") ? node.a : null;
      if (node.kind !== "cast") return null;
      const from = dtypeOf(node.a);
      if (from === node.dtype) return node.a;
      if (node.a.kind !== "cast") return null;
      const first = dtypeOf(node.a.a);
      // every value of the first dtype is one of the dtype between
      const kept =
        first === "bool" ||
        (first === "f16" && from === "f32") ||
        (first === "i32" && from === "u32") ||
        (first === "u32" && from === "i32");
      if (!kept) return null;
      if (first === node.dtype) return node.a.a;
      return first === "i32" || first === "u32" ? null : cast(node.a.a, node.dtype);
    },
  },

  // sum 0 = mean 0 = softmax_mean 0 = 0; any false = false; all true = true; count false = 0
  {
    name: "reduce-nothing",
    rewrite: (node) => {
      if (node.kind !== "reduce") return null;
      const body = constantOf(node.body);
      if (body === null) return null;
      const neutral = node.op === "all" ? 1 : 0;
      return ["sum", "mean", "any", "all", "count", "softmax_mean"].includes(node.op) && body === neutral
        ? constant(neutral, node.dtype)
        : null;
    },
  },

  // over an empty range: sum, count, mean, argmax, softmax_mean 0; any false; all true; integer max and min the last there is
  {
    name: "reduce-empty",
    rewrite: (node) => {
      if (node.kind !== "reduce") return null;
      const empty = node.over.some((range) => {
        const [low, high] = [constantOf(range.low), constantOf(range.high)];
        return low !== null && high !== null && high <= Math.max(low, 0);
      });
      if (!empty) return null;
      return literal(
        node.op === "max" || node.op === "min" ? extremeIdentity(node.op, node.dtype) : node.op === "all" ? 1 : 0,
        node.dtype,
      );
    },
  },

  // sum k in 3..4: f(k) = f(3), and so for every reduction; argmax gives 3, count 1 if f(3)
  {
    name: "reduce-single",
    rewrite: (node) => {
      if (node.kind !== "reduce") return null;
      const single = node.over.find((range) => {
        const [low, high] = [constantOf(range.low), constantOf(range.high)];
        return low !== null && low >= 0 && high === low + 1;
      });
      if (single === undefined) return null;
      const value = integer(constantOf(single.low) ?? 0);
      if (node.op === "argmax") return value;
      const replace = new Map([[single.index, value]]);
      const body = substitute(node.body, replace);
      const score = node.score === null ? null : substitute(node.score, replace);
      const over = node.over
        .filter((range) => range !== single)
        .map((range) => ({ ...range, low: substitute(range.low, replace), high: substitute(range.high, replace) }));
      if (over.length > 0) return { ...node, over, score, body };
      return node.op === "count" ? cast(body, "i32") : body;
    },
  },
];
