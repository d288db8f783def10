import type { Span } from "../diagnostic.js";
import { divisibilityFacts } from "../graph/graph.js";
import type { BinaryOperator } from "../syntax/ast.js";
import { type DtypeRef, isFloat, printDtype, sameDtype } from "../types/dtype.js";
import { type BinaryOp, binaryOps } from "../types/scalar-ops.js";
import { addSizes, divideSizes, multiplySizes, remainderSizes, subtractSizes } from "../types/size.js";
import { elementSize, ownDtype, scalarElement, settle, sizeElement } from "./conversion.js";
import { describe, type Element, fail, type Place, sourceOf } from "./frame.js";

/** The op of each operator of two operands. */
export const binaryOperators: { readonly [K in BinaryOperator]: BinaryOp } = {
  "+": "add",
  "-": "subtract",
  "*": "multiply",
  "/": "divide",
  "%": "remainder",
  "^": "power",
  "==": "equal",
  "!=": "not_equal",
  "<": "less",
  "<=": "less_equal",
  ">": "greater",
  ">=": "greater_equal",
  and: "and",
  or: "or",
};

/** An op of two operands: numbers are folded, sizes stay sizes, and a number takes the dtype of the other operand. */
export function combine(
  op: BinaryOp,
  left: Element,
  right: Element,
  span: Span,
  leftSpan: Span,
  rightSpan: Span,
  place: Place,
): Element | null {
  const folded = foldNumbers(op, left, right) ?? foldSizes(op, left, right, place);
  if (folded !== null) return folded;
  const rule = binaryOps[op];
  const wanted: DtypeRef | null =
    rule === "logic"
      ? "bool"
      : left.kind !== "number"
        ? ownDtype(left)
        : right.kind !== "number"
          ? ownDtype(right)
          : null;
  if (
    wanted !== null &&
    rule !== "logic" &&
    left.kind !== "number" &&
    right.kind !== "number" &&
    !sameDtype(ownDtype(left), ownDtype(right))
  ) {
    const [a, b] = [describe(left), describe(right)];
    const target = isFloat(ownDtype(left)) || !isFloat(ownDtype(right)) ? a : b;
    const widen = a === "f32" || b === "f32" ? "f32" : target;
    return fail(
      place.frame,
      "E301",
      `the operands of \`${symbolOf(op)}\` are ${a} and ${b}; they must have the same dtype`,
      span,
      `${a} and ${b}`,
      {
        labels: [
          { span: leftSpan, message: a },
          { span: rightSpan, message: b },
        ],
        help:
          maskHelp(op, [left, leftSpan], [right, rightSpan], place) ??
          `convert one: \`${widen}(${sourceOf(a === widen ? rightSpan : leftSpan, place).replace(/^\(([^()]*)\)$/, "$1")})\``,
      },
    );
  }
  const a = settle(left, wanted, leftSpan, place);
  const b = settle(right, wanted ?? a?.dtype ?? null, rightSpan, place);
  if (a === null || b === null) return null;
  const problem = (expected: string): null =>
    fail(
      place.frame,
      "E304",
      `\`${symbolOf(op)}\` takes ${expected}, found ${printDtype(a.dtype)}`,
      span,
      `on ${printDtype(a.dtype)}`,
      { help: a.dtype === "bool" ? "use `and`, `or`, `select`, or `count` for a sum" : "convert: `f32(...)`" },
    );
  if (rule === "float" && !isFloat(a.dtype)) return problem("floating point numbers");
  if (rule === "integer" && a.dtype !== "i32" && a.dtype !== "u32") return problem("integers");
  if ((rule === "numeric" || rule === "compare") && a.dtype === "bool") return problem("numbers");
  const dtype = rule === "compare" ? "bool" : a.dtype;
  return scalarElement({ kind: "binary", op, a: a.scalar, b: b.scalar, dtype }, dtype);
}

function symbolOf(op: BinaryOp): string {
  return Object.entries(binaryOperators).find(([, name]) => name === op)?.[0] ?? op;
}

function foldNumbers(op: BinaryOp, left: Element, right: Element): Element | null {
  if (left.kind !== "number" || right.kind !== "number") return null;
  const value = foldedValue(op, left.value, right.value);
  return value === null
    ? null
    : { kind: "number", value, integer: left.integer && right.integer && Number.isInteger(value) };
}

function foldedValue(op: BinaryOp, a: number, b: number): number | null {
  switch (op) {
    case "add":
      return a + b;
    case "subtract":
      return a - b;
    case "multiply":
      return a * b;
    case "divide":
      return b === 0 ? null : a / b;
    case "remainder":
      return b === 0 ? null : a % b;
    case "power":
      return a ** b;
    case "min":
      return Math.min(a, b);
    case "max":
      return Math.max(a, b);
    default:
      return null;
  }
}

function foldSizes(op: BinaryOp, left: Element, right: Element, place: Place): Element | null {
  const [a, b] = [elementSize(left), elementSize(right)];
  if (a === null || b === null) return null;
  const facts = divisibilityFacts(place.frame.builder);
  switch (op) {
    case "add":
      return sizeElement(addSizes(a, b));
    case "subtract":
      return sizeElement(subtractSizes(a, b));
    case "multiply":
      return sizeElement(multiplySizes(a, b, facts));
    case "divide":
      return sizeElement(divideSizes(a, b));
    case "remainder":
      return sizeElement(remainderSizes(a, b, facts));
    default:
      return null;
  }
}

/** What is written for the product of a value and a mask. */
function maskHelp(
  op: BinaryOp,
  ...sides: readonly [readonly [Element, Span], readonly [Element, Span], Place]
): string | null {
  const [left, right, place] = sides;
  const mask = [left, right].find(([element]) => ownDtype(element) === "bool");
  const value = [left, right].find(([element]) => ownDtype(element) !== "bool");
  if (op !== "multiply" || mask === undefined || value === undefined) return null;
  return `a mask is applied by \`where\`: \`${sourceOf(value[1], place)} where ${sourceOf(mask[1], place)}\``;
}
