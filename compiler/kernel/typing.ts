/** The type rules of the kernel's operations. */
import { binaryOps, type TypeRule, unaryOps } from "../types/scalar-ops.js";
import { elementType, vectorType, width } from "./kernel.js";
import type { KernelBinary, KernelFunction, KernelType, KernelUnary, ScalarType } from "./kernel.js";

const isFloat = (element: ScalarType): boolean => element === "f32" || element === "f16";
const isInteger = (element: ScalarType): boolean => element === "i32" || element === "u32";

/** The element types that ops of a rule take. */
const takenBy: { readonly [R in TypeRule]: (element: ScalarType) => boolean } = {
  float: isFloat,
  numeric: (element) => element !== "bool",
  integer: isInteger,
  compare: (element) => element !== "bool",
  logic: (element) => element === "bool",
  bits: (element) => element === "f32",
  "from-bits": (element) => element === "u32",
};

/** Whether a unary op takes elements of a type. */
export function takesUnary(op: KernelUnary, element: ScalarType): boolean {
  switch (op) {
    case "bit_not":
      return isInteger(element);
    case "negate":
    case "sign":
      return element !== "bool" && element !== "u32";
    case "round_f16":
      return element === "f32";
    default:
      return takenBy[unaryOps[op]](element);
  }
}

/** The element types that a binary op takes. */
function takes(op: KernelBinary, element: ScalarType): boolean {
  return op === "equal" || op === "not_equal" || takenBy[binaryOps[op]](element);
}

/** The type of a binary op's result, or a sentence saying what does not fit. */
export function binaryType(op: KernelBinary, a: KernelType, b: KernelType): { readonly type: KernelType } | string {
  const shift = op === "shift_left" || op === "shift_right";
  const expected = shift ? vectorType("u32", width(a)) : a;
  if (b !== expected) return `${op} of ${a} and ${b}: the second must be ${expected}`;
  if (!takes(op, elementType(a))) return `${op} does not take ${a}`;
  return { type: binaryOps[op] === "compare" ? vectorType("bool", width(a)) : a };
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
    case "subgroupShuffle":
    case "subgroupShuffleXor":
      return ok(2, numeric && b === "u32", a);
    default:
      return name satisfies never;
  }
}
