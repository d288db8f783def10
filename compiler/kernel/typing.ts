/** The type rules of the kernel's operations. */
import { elementType, vectorType, width } from "./kernel.js";
import type { KernelBinary, KernelFunction, KernelType, KernelUnary, ScalarType } from "./kernel.js";

/** Whether a unary op takes elements of a type. */
export function takesUnary(op: KernelUnary, element: ScalarType): boolean {
  const float = element === "f32" || element === "f16";
  switch (op) {
    case "not":
      return element === "bool";
    case "bit_not":
      return element === "i32" || element === "u32";
    case "negate":
    case "sign":
      return float || element === "i32";
    case "abs":
      return element !== "bool";
    case "round_f16":
      return element === "f32";
    case "sqrt":
    case "rsqrt":
    case "exp":
    case "log":
    case "sin":
    case "cos":
    case "tanh":
    case "floor":
    case "ceil":
    case "round":
      return float;
    default:
      return op satisfies never;
  }
}

const comparisons: ReadonlySet<KernelBinary> = new Set([
  "equal",
  "not_equal",
  "less",
  "less_equal",
  "greater",
  "greater_equal",
]);

/** The element types that a binary op takes. */
function takes(op: KernelBinary, element: ScalarType): boolean {
  switch (op) {
    case "and":
    case "or":
      return element === "bool";
    case "equal":
    case "not_equal":
      return true;
    case "bit_and":
    case "bit_or":
    case "bit_xor":
    case "shift_left":
    case "shift_right":
      return element === "u32" || element === "i32";
    case "power":
      return element === "f32" || element === "f16";
    case "add":
    case "subtract":
    case "multiply":
    case "divide":
    case "remainder":
    case "min":
    case "max":
    case "less":
    case "less_equal":
    case "greater":
    case "greater_equal":
      return element !== "bool";
    default:
      return op satisfies never;
  }
}

/** The type of a binary op's result, or a sentence saying what does not fit. */
export function binaryType(op: KernelBinary, a: KernelType, b: KernelType): { readonly type: KernelType } | string {
  const shift = op === "shift_left" || op === "shift_right";
  const expected = shift ? vectorType("u32", width(a)) : a;
  if (b !== expected) return `${op} of ${a} and ${b}: the second must be ${expected}`;
  if (!takes(op, elementType(a))) return `${op} does not take ${a}`;
  return { type: comparisons.has(op) ? vectorType("bool", width(a)) : a };
}

/** The type of a function's result, or a sentence saying what does not fit. */
export function callType(name: KernelFunction, args: readonly KernelType[]): { readonly type: KernelType } | string {
  const shown = `${name}(${args.join(", ")})`;
  const [a = "bool", b = "bool", c = "bool"] = args;
  const numeric = elementType(a) !== "bool";
  const ok = (count: number, fits: boolean, type: KernelType): { readonly type: KernelType } | string =>
    args.length === count && fits ? { type } : `${shown} does not exist`;
  switch (name) {
    case "fma":
      return ok(3, a === b && b === c && (elementType(a) === "f32" || elementType(a) === "f16"), a);
    case "clamp":
      return ok(3, a === b && b === c && numeric, a);
    case "dot":
      return ok(2, a === b && width(a) > 1 && numeric, elementType(a));
    case "unpack2x16float":
      return ok(1, a === "u32", "vec2<f32>");
    case "pack2x16float":
      return ok(1, a === "vec2<f32>", "u32");
    case "countOneBits":
      return ok(1, elementType(a) === "u32" || elementType(a) === "i32", a);
    case "dot4I8Packed":
      return ok(2, a === "u32" && b === "u32", "i32");
    case "subgroupAdd":
    case "subgroupMax":
    case "subgroupMin":
    case "subgroupBroadcastFirst":
      return ok(1, numeric, a);
    case "subgroupShuffleXor":
      return ok(2, numeric && b === "u32", a);
    default:
      return name satisfies never;
  }
}
