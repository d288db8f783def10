/**
 * Constructors of kernel expressions and statements. They infer types, throw InternalError on operands that do not fit,
 * and fold lightly: constants, and identities that hold for every value (so x + 0 and x * 0 for integers only).
 *
 * A plain number as an operand becomes a literal of the other operand's type.
 */
import { InternalError } from "../diagnostic.js";
import { convertScalar, foldBinary, foldUnary } from "./fold.js";
import { binaryType, callType, takesUnary } from "./typing.js";
import { byteSize, elementType, vectorType, width } from "./kernel.js";
import type {
  Builtin,
  Expr,
  KernelArray,
  KernelBinary,
  KernelBuffer,
  KernelFunction,
  KernelType,
  KernelUnary,
  ScalarType,
  Statement,
  VectorType,
} from "./kernel.js";

/** An expression, or a number that takes the type of the operand beside it. */
export type Operand = Expr | number;

/** A scalar literal; floats are rounded to the type, integers must be in its range, bool is 0 or 1. */
export function literal(type: ScalarType, value: number): Expr {
  return { kind: "literal", type, value: convertScalar(type, value) };
}

/** An f32 literal. */
export const f32 = (value: number): Expr => literal("f32", value);
/** An f16 literal. */
export const f16 = (value: number): Expr => literal("f16", value);
/** An i32 literal. */
export const i32 = (value: number): Expr => literal("i32", value);
/** A u32 literal. */
export const u32 = (value: number): Expr => literal("u32", value);
/** A bool literal. */
export const bool = (value: boolean): Expr => literal("bool", value ? 1 : 0);

/** A literal of any type: for a vector, the same value in each element. */
export function constant(type: KernelType, value: number): Expr {
  const one = literal(elementType(type), value);
  return width(type) === 1 ? one : splat(one, width(type) as 2 | 3 | 4);
}

/** The value where the expression is a literal, else null. */
export function literalValue(a: Expr): number | null {
  return a.kind === "literal" ? a.value : null;
}

/** A `let`, `var` or loop variable. */
export const local = (name: string, type: KernelType): Expr => ({ kind: "local", name, type });
/** A builtin, u32. */
export const builtin = (name: Builtin): Expr => ({ kind: "builtin", name, type: "u32" });
/** A parameter of the run. */
export const parameter = (name: string, type: "f32" | "i32" | "u32"): Expr => ({ kind: "parameter", name, type });

/** Element `index` (u32) of a buffer whose elements are of `type`. */
export const loadBuffer = (buffer: string, type: KernelType, index: Operand): Expr => ({
  kind: "load",
  buffer,
  index: indexOf(index),
  type,
});
/** Element `index` (u32) of a buffer. */
export const load = (buffer: Pick<KernelBuffer, "name" | "element">, index: Operand): Expr =>
  loadBuffer(buffer.name, buffer.element, index);
/** Element `index` (u32) of workgroup memory whose elements are of `type`. */
export const loadShared = (array: string, type: KernelType, index: Operand): Expr => ({
  kind: "shared",
  array,
  index: indexOf(index),
  type,
});
/** Element `index` (u32) of workgroup memory. */
export const shared = (array: KernelArray, index: Operand): Expr => loadShared(array.name, array.element, index);

/** Any unary op. */
export function unary(op: KernelUnary, a: Expr): Expr {
  if (!takesUnary(op, elementType(a.type))) throw new InternalError(`${op} does not take ${a.type}`);
  if (a.kind === "literal") {
    const value = foldUnary(op, a.type, a.value);
    if (value !== null) return literal(a.type, value);
  }
  if (a.kind === "unary" && a.op === op && (op === "negate" || op === "not" || op === "bit_not")) return a.a;
  return { kind: "unary", op, a, type: a.type };
}

export const negate = (a: Expr): Expr => unary("negate", a);
export const not = (a: Expr): Expr => unary("not", a);
export const abs = (a: Expr): Expr => unary("abs", a);
export const sqrt = (a: Expr): Expr => unary("sqrt", a);
export const exp = (a: Expr): Expr => unary("exp", a);
export const floor = (a: Expr): Expr => unary("floor", a);
export const round = (a: Expr): Expr => unary("round", a);
export const roundF16 = (a: Expr): Expr => unary("round_f16", a);

/** Any binary op. */
export function binary(op: KernelBinary, left: Operand, right: Operand): Expr {
  const shift = op === "shift_left" || op === "shift_right";
  const a = typeof left === "number" ? constant(typeOf(right), left) : left;
  const b = typeof right === "number" ? constant(shift ? vectorType("u32", width(a.type)) : a.type, right) : right;
  const result = binaryType(op, a.type, b.type);
  if (typeof result === "string") throw new InternalError(result);
  return simplify(op, a, b, result.type) ?? { kind: "binary", op, a, b, type: result.type };
}

function simplify(op: KernelBinary, a: Expr, b: Expr, type: KernelType): Expr | null {
  if (a.kind === "literal" && b.kind === "literal") {
    const value = foldBinary(op, a.type, a.value, b.value);
    return value === null ? null : literal(type as ScalarType, value);
  }
  const x = uniformValue(a);
  const y = uniformValue(b);
  const element = elementType(a.type);
  const integer = element === "i32" || element === "u32";
  switch (op) {
    case "add":
      if (y !== null && (integer ? y === 0 : Object.is(y, -0))) return a;
      if (x !== null && (integer ? x === 0 : Object.is(x, -0))) return b;
      // (a + 1) + 2 is a + 3: wrapping integers are associative.
      if (integer && b.kind === "literal" && a.kind === "binary" && a.op === "add" && a.b.kind === "literal")
        return binary("add", a.a, binary("add", a.b, b));
      // Constants stand at the right, so that they meet.
      return integer && a.kind === "literal" ? binary("add", b, a) : null;
    case "subtract":
      return y !== null && Object.is(y, 0) ? a : null;
    case "multiply":
      if (y === 1) return a;
      if (x === 1) return b;
      if (integer && (x === 0 || y === 0)) return constant(type, 0);
      return integer && a.kind === "literal" ? binary("multiply", b, a) : null;
    case "divide":
      return y === 1 ? a : null;
    case "remainder":
      return integer && y === 1 ? constant(type, 0) : null;
    case "and":
      if (x !== null) return x === 0 ? a : b;
      if (y !== null) return y === 0 ? b : a;
      return null;
    case "or":
      if (x !== null) return x === 0 ? b : a;
      if (y !== null) return y === 0 ? a : b;
      return null;
    case "bit_and":
      if (x === 0) return a;
      if (y === 0) return b;
      if (element === "u32" && y === 0xffffffff) return a;
      return element === "u32" && x === 0xffffffff ? b : null;
    case "bit_or":
    case "bit_xor":
      if (y === 0) return a;
      return x === 0 ? b : null;
    case "shift_left":
    case "shift_right":
      return y === 0 ? a : null;
    default:
      return null;
  }
}

/** The value of a literal or of a vector that is one literal in each element. */
function uniformValue(a: Expr): number | null {
  if (a.kind === "literal") return a.value;
  if (a.kind !== "vector") return null;
  const values = a.parts.map(literalValue);
  return values.every((value) => value !== null && Object.is(value, values[0])) ? (values[0] ?? null) : null;
}

export const add = (a: Operand, b: Operand): Expr => binary("add", a, b);
export const sub = (a: Operand, b: Operand): Expr => binary("subtract", a, b);
export const mul = (a: Operand, b: Operand): Expr => binary("multiply", a, b);
export const div = (a: Operand, b: Operand): Expr => binary("divide", a, b);
export const rem = (a: Operand, b: Operand): Expr => binary("remainder", a, b);
export const power = (a: Operand, b: Operand): Expr => binary("power", a, b);
export const min = (a: Operand, b: Operand): Expr => binary("min", a, b);
export const max = (a: Operand, b: Operand): Expr => binary("max", a, b);
export const equal = (a: Operand, b: Operand): Expr => binary("equal", a, b);
export const notEqual = (a: Operand, b: Operand): Expr => binary("not_equal", a, b);
export const less = (a: Operand, b: Operand): Expr => binary("less", a, b);
export const lessEqual = (a: Operand, b: Operand): Expr => binary("less_equal", a, b);
export const greater = (a: Operand, b: Operand): Expr => binary("greater", a, b);
export const greaterEqual = (a: Operand, b: Operand): Expr => binary("greater_equal", a, b);
export const and = (a: Expr, b: Expr): Expr => binary("and", a, b);
export const or = (a: Expr, b: Expr): Expr => binary("or", a, b);
export const bitAnd = (a: Operand, b: Operand): Expr => binary("bit_and", a, b);
export const bitOr = (a: Operand, b: Operand): Expr => binary("bit_or", a, b);
export const bitXor = (a: Operand, b: Operand): Expr => binary("bit_xor", a, b);
/** The amount is u32 (per element for vectors); taken modulo 32. */
export const shiftLeft = (a: Operand, b: Operand): Expr => binary("shift_left", a, b);
/** Arithmetic for i32, logical for u32. The amount is u32; taken modulo 32. */
export const shiftRight = (a: Operand, b: Operand): Expr => binary("shift_right", a, b);

/**
 * `then` where the condition holds, else `otherwise`; both are evaluated. The condition is bool, or for vectors one
 * bool per element.
 */
export function select(condition: Expr, left: Operand, right: Operand): Expr {
  const then = typeof left === "number" ? constant(typeOf(right), left) : left;
  const otherwise = typeof right === "number" ? constant(then.type, right) : right;
  if (then.type !== otherwise.type) throw new InternalError(`select of ${then.type} and ${otherwise.type}`);
  if (condition.type !== "bool" && condition.type !== vectorType("bool", width(then.type)))
    throw new InternalError(`select on a condition of ${condition.type}`);
  if (condition.kind === "literal") return condition.value !== 0 ? then : otherwise;
  return { kind: "select", condition, then, otherwise, type: then.type };
}

/** Conversion of the value, as WGSL's `f32(x)`; the widths must agree. A conversion to the type it has is dropped. */
export function convert(type: KernelType, a: Expr): Expr {
  if (a.type === type) return a;
  if (width(a.type) !== width(type)) throw new InternalError(`conversion of ${a.type} to ${type}`);
  if (a.kind === "literal") return literal(type as ScalarType, convertScalar(type as ScalarType, a.value, a.type));
  return { kind: "convert", a, type };
}

/** The same bits as another type of the same size. */
export function bitcast(type: KernelType, a: Expr): Expr {
  if (a.type === type) return a;
  if (byteSize(a.type) !== byteSize(type) || elementType(a.type) === "bool" || elementType(type) === "bool")
    throw new InternalError(`bitcast of ${a.type} to ${type}`);
  if (a.kind === "literal" && a.type === "i32" && type === "u32") return u32(a.value >>> 0);
  if (a.kind === "literal" && a.type === "u32" && type === "i32") return i32(a.value | 0);
  return { kind: "bitcast", a, type };
}

/** A function call, its result's type inferred. */
export function call(name: KernelFunction, args: readonly Expr[]): Expr {
  const result = callType(
    name,
    args.map((arg) => arg.type),
  );
  if (typeof result === "string") throw new InternalError(result);
  return { kind: "call", name, args, type: result.type };
}

/** a * b + c; rounded once or twice, as the device likes. */
export const fma = (a: Expr, b: Expr, c: Expr): Expr => call("fma", [a, b, c]);

/** A vector of 2 to 4 scalars of one type. */
export function vector(parts: readonly Expr[]): Expr {
  const [first] = parts;
  if (
    first === undefined ||
    parts.length < 2 ||
    parts.length > 4 ||
    width(first.type) !== 1 ||
    parts.some((part) => part.type !== first.type)
  ) {
    throw new InternalError(`a vector of (${parts.map((part) => part.type).join(", ")})`);
  }
  return { kind: "vector", parts, type: vectorType(first.type as ScalarType, parts.length as 2 | 3 | 4) as VectorType };
}

/** The same scalar `count` times. */
export const splat = (a: Expr, count: 2 | 3 | 4): Expr => vector(Array.from({ length: count }, () => a));

/** Element `at` of a vector. */
export function component(a: Expr, at: number): Expr {
  if (!Number.isInteger(at) || at < 0 || at >= width(a.type) || width(a.type) === 1)
    throw new InternalError(`component ${at} of ${a.type}`);
  const part = a.kind === "vector" ? a.parts[at] : undefined;
  return part ?? { kind: "component", a, at: at as 0 | 1 | 2 | 3, type: elementType(a.type) };
}

/** `let name = value`. */
export const letIs = (name: string, value: Expr): Statement => ({ kind: "let", name, value });
/** `var name = value`. */
export const variable = (name: string, value: Expr): Statement => ({ kind: "var", name, type: value.type, value });
/** `name = value`, to a `var`. */
export const assign = (name: string, value: Expr): Statement => ({ kind: "assign", name, value });
/** for (name = from; name < to; name += step), u32 or i32 as the bounds are. */
export function forRange(
  name: string,
  from: Operand,
  to: Operand,
  body: readonly Statement[],
  step: Operand = 1,
): Statement {
  const type = typeof to !== "number" ? to.type : typeof from !== "number" ? from.type : "u32";
  if (type !== "u32" && type !== "i32") throw new InternalError(`a loop over ${type}`);
  const bound = (a: Operand): Expr => (typeof a === "number" ? literal(type, a) : a);
  return { kind: "for", name, type, from: bound(from), to: bound(to), step: bound(step), body };
}
/** `if`, with an optional `else`. */
export const ifThen = (
  condition: Expr,
  then: readonly Statement[],
  otherwise: readonly Statement[] = [],
): Statement => ({ kind: "if", condition, then, otherwise });
/** buffer[index] = value. */
export const store = (buffer: string, index: Operand, value: Expr): Statement => ({
  kind: "store",
  buffer,
  index: indexOf(index),
  value,
});
/** array[index] = value, in workgroup memory. */
export const storeShared = (array: string, index: Operand, value: Expr): Statement => ({
  kind: "store_shared",
  array,
  index: indexOf(index),
  value,
});
/** workgroupBarrier. */
export const barrier: Statement = { kind: "barrier" };

function indexOf(index: Operand): Expr {
  const result = typeof index === "number" ? u32(index) : index;
  if (result.type !== "u32") throw new InternalError(`an index of type ${result.type}; convert it to u32`);
  return result;
}

function typeOf(a: Operand): KernelType {
  if (typeof a === "number") throw new InternalError("both operands are plain numbers");
  return a.type;
}
