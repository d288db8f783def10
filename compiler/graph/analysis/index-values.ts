/** Integer expressions over indices and sizes as functions, for analyses that look at every element of an axis. */
import { constantSize, sizeValue, substituteSize, type Size } from "../../types/size.js";
import type { Level } from "../../types/type.js";
import type { IndexId, Scalar } from "../graph.js";
import { children } from "../scalar.js";

/** Sizes that are known, by symbol. */
export type Sizes = Readonly<Record<string, number>>;

/** A size as a number; null where a symbol of it is not known. */
export function sizeAt(size: Size, sizes: Sizes): number | null {
  return sizeValue(
    substituteSize(size, (symbol) => (sizes[symbol] === undefined ? null : constantSize(sizes[symbol]))),
  );
}

/** Whether a scalar is made of indices, sizes and integers alone. */
export function isIndexExpression<L extends Level>(scalar: Scalar<L>): boolean {
  switch (scalar.kind) {
    case "index":
    case "size":
      return true;
    case "constant":
      return scalar.dtype === "i32" || scalar.dtype === "u32";
    case "binary":
      return (
        ["add", "subtract", "multiply", "divide", "remainder", "min", "max"].includes(scalar.op) &&
        scalar.dtype === "i32" &&
        children(scalar).every((child) => isIndexExpression(child))
      );
    default:
      return false;
  }
}

type IndexFunction = (at: ReadonlyMap<IndexId, number>) => number;

/** The value of such an expression, given those of its indices; null where it has a size that is not known. */
export function indexFunction(scalar: Scalar, sizes: Sizes): IndexFunction | null {
  return indexFunctionOf(scalar, (size) => sizeAt(size, sizes));
}

/** The same where `sizeOf` gives the sizes. */
export function indexFunctionOf<L extends Level>(
  scalar: Scalar<L>,
  sizeOf: (size: L["size"]) => number | null,
): IndexFunction | null {
  switch (scalar.kind) {
    case "index": {
      const { index } = scalar;
      return (at) => at.get(index) ?? 0;
    }
    case "size": {
      const value = sizeOf(scalar.size);
      return value === null ? null : () => value;
    }
    case "constant": {
      const { value } = scalar;
      return () => value;
    }
    case "binary": {
      const [a, b] = [indexFunctionOf(scalar.a, sizeOf), indexFunctionOf(scalar.b, sizeOf)];
      if (a === null || b === null) return null;
      switch (scalar.op) {
        case "add":
          return (at) => a(at) + b(at);
        case "subtract":
          return (at) => a(at) - b(at);
        case "multiply":
          return (at) => a(at) * b(at);
        case "divide":
          return (at) => (b(at) === 0 ? 0 : Math.trunc(a(at) / b(at)));
        case "remainder":
          return (at) => (b(at) === 0 ? 0 : a(at) % b(at));
        case "min":
          return (at) => Math.min(a(at), b(at));
        case "max":
          return (at) => Math.max(a(at), b(at));
        default:
          return null;
      }
    }
    default:
      return null;
  }
}
