/** The ops of a kernel on numbers, as closures over the locals of an invocation. */
import { roundF16, roundHalfEven } from "../float.js";
import { foldUnary, roundTo } from "./fold.js";
import type { KernelBinary, KernelFunction, KernelUnary, ScalarType } from "./kernel.js";

/** The builtins and locals of one invocation; a vector takes a slot for each component. */
export type Frame = Float64Array;
/** A scalar, for an invocation. */
export type Evaluated = (frame: Frame) => number;

/** What a subgroup operation gives all of its lanes, of what each of them has. */
export function reduceLanes(name: KernelFunction, type: ScalarType, inputs: readonly number[]): number {
  const [first = 0, ...rest] = inputs;
  switch (name) {
    case "subgroupAdd":
      return rest.reduce((sum, value) => roundTo(type, sum + value), first);
    case "subgroupMax":
      return Math.max(...inputs);
    case "subgroupMin":
      return Math.min(...inputs);
    default:
      return first;
  }
}

/** The bits of a value of 32 bits as u32. */
export function bitsOf(from: ScalarType, a: Evaluated, view: DataView): Evaluated {
  if (from !== "f32") return (frame) => a(frame) >>> 0;
  return (frame) => {
    view.setFloat32(0, a(frame));
    return view.getUint32(0);
  };
}

/** The value of 32 bits. */
export function fromBits(to: ScalarType, bits: Evaluated, view: DataView): Evaluated {
  switch (to) {
    case "u32":
      return bits;
    case "i32":
      return (frame) => bits(frame) | 0;
    default:
      return (frame) => {
        view.setUint32(0, bits(frame));
        return view.getFloat32(0);
      };
  }
}

/** A unary op on elements of a type. */
export function unaryOf(op: KernelUnary, type: ScalarType, a: Evaluated): Evaluated {
  switch (op) {
    case "sqrt":
      return (frame) => roundTo(type, Math.sqrt(a(frame)));
    case "rsqrt":
      return (frame) => roundTo(type, 1 / Math.sqrt(a(frame)));
    case "exp":
      return (frame) => roundTo(type, Math.exp(a(frame)));
    case "log":
      return (frame) => roundTo(type, Math.log(a(frame)));
    case "sin":
      return (frame) => roundTo(type, Math.sin(a(frame)));
    case "cos":
      return (frame) => roundTo(type, Math.cos(a(frame)));
    case "tanh":
      return (frame) => roundTo(type, Math.tanh(a(frame)));
    case "round":
      return (frame) => roundHalfEven(a(frame));
    case "round_f16":
      return (frame) => roundF16(a(frame));
    case "negate":
    case "not":
    case "bit_not":
    case "abs":
    case "sign":
    case "floor":
    case "ceil":
      return (frame) => foldUnary(op, type, a(frame))!;
    default:
      return op satisfies never;
  }
}

/** A binary op on elements of a type. */
export function binaryOf(op: KernelBinary, type: ScalarType, a: Evaluated, b: Evaluated): Evaluated {
  const signed = type === "i32";
  const integer = signed || type === "u32";
  switch (op) {
    case "add":
      if (type === "f32") return (frame) => Math.fround(a(frame) + b(frame));
      if (type === "u32") return (frame) => (a(frame) + b(frame)) >>> 0;
      return (frame) => roundTo(type, a(frame) + b(frame));
    case "subtract":
      if (type === "f32") return (frame) => Math.fround(a(frame) - b(frame));
      if (type === "u32") return (frame) => (a(frame) - b(frame)) >>> 0;
      return (frame) => roundTo(type, a(frame) - b(frame));
    case "multiply":
      if (type === "f32") return (frame) => Math.fround(a(frame) * b(frame));
      if (type === "u32") return (frame) => Math.imul(a(frame), b(frame)) >>> 0;
      return signed ? (frame) => Math.imul(a(frame), b(frame)) : (frame) => roundTo(type, a(frame) * b(frame));
    case "divide":
      if (!integer) return (frame) => roundTo(type, a(frame) / b(frame));
      // By zero: the dividend, as in WGSL. The smallest i32 by -1 wraps to itself.
      return (frame) => {
        const x = a(frame),
          y = b(frame);
        return y === 0 ? x : roundTo(type, Math.trunc(x / y));
      };
    case "remainder":
      if (!integer) return (frame) => roundTo(type, a(frame) % b(frame));
      return (frame) => {
        const x = a(frame),
          y = b(frame);
        return y === 0 ? 0 : (x % y) + 0;
      };
    case "power":
      return (frame) => roundTo(type, a(frame) ** b(frame));
    case "min":
      return (frame) => Math.min(a(frame), b(frame));
    case "max":
      return (frame) => Math.max(a(frame), b(frame));
    case "equal":
      return (frame) => (a(frame) === b(frame) ? 1 : 0);
    case "not_equal":
      return (frame) => (a(frame) !== b(frame) ? 1 : 0);
    case "less":
      return (frame) => (a(frame) < b(frame) ? 1 : 0);
    case "less_equal":
      return (frame) => (a(frame) <= b(frame) ? 1 : 0);
    case "greater":
      return (frame) => (a(frame) > b(frame) ? 1 : 0);
    case "greater_equal":
      return (frame) => (a(frame) >= b(frame) ? 1 : 0);
    // The second is skipped where the first decides, as in WGSL.
    case "and":
      return (frame) => (a(frame) !== 0 && b(frame) !== 0 ? 1 : 0);
    case "or":
      return (frame) => (a(frame) !== 0 || b(frame) !== 0 ? 1 : 0);
    case "bit_and":
      return signed ? (frame) => a(frame) & b(frame) : (frame) => (a(frame) & b(frame)) >>> 0;
    case "bit_or":
      return signed ? (frame) => a(frame) | b(frame) : (frame) => (a(frame) | b(frame)) >>> 0;
    case "bit_xor":
      return signed ? (frame) => a(frame) ^ b(frame) : (frame) => (a(frame) ^ b(frame)) >>> 0;
    case "shift_left":
      return signed ? (frame) => a(frame) << b(frame) : (frame) => (a(frame) << b(frame)) >>> 0;
    case "shift_right":
      return signed ? (frame) => a(frame) >> b(frame) : (frame) => a(frame) >>> b(frame);
    default:
      return op satisfies never;
  }
}
