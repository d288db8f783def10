import { isFloat, printDtype, sameDtype, type DtypeRef } from "../types/dtype.js";
import {
  addSizes,
  constantSize,
  divideSizes,
  multiplySizes,
  printSize,
  remainderSizes,
  sizeValue,
  subtractSizes,
  type Size,
} from "../types/size.js";
import { divisibilityFacts, type Range, type Scalar } from "../graph/graph.js";
import { binaryOps, reduceOps, unaryOps, type BinaryOp, type UnaryOp } from "../graph/ops.js";
import type { BinaryOperator, Expr, RangeExpr } from "../syntax/ast.js";
import type { Span } from "../diagnostic.js";
import { newIndex, sizeScalar, typeOf } from "./builder.js";
import { checkElementCall } from "./operation.js";
import { describe, elementOf, fail, type Element, type Place } from "./frame.js";
import { inferRange } from "./free-index.js";
import { inRange, outOfRange } from "./interval.js";
import { bind, lookup, nest, visibleNames } from "./scope.js";
import { suggestion } from "./suggestion.js";
import { wholeBase } from "./whole.js";

/** Checks a scalar expression: of index notation, or one without indices. Null where it is wrong, which is reported. */
export function checkElement(expr: Expr, place: Place): Element | null {
  const { frame } = place;
  switch (expr.kind) {
    case "number":
      return { kind: "number", value: expr.value, integer: expr.integer };
    case "boolean":
      return scalarElement({ kind: "constant", value: expr.value ? 1 : 0, dtype: "bool" }, "bool");
    case "string":
      return fail(frame, "E305", "a string is not a number", expr.span, "not a value to compute with");
    case "name":
      return checkName(expr.name, expr.span, place);
    case "member":
      return fail(frame, "E305", `\`.${expr.field.name}\` is not a value to compute with`, expr.span, "not a number");
    case "index":
      return checkLoad(expr, place);
    case "call":
      return checkElementCall(expr, place);
    case "unary":
      return checkUnary(expr.op === "-" ? "negate" : "not", expr.operand, place);
    case "binary": {
      const left = checkElement(expr.left, place);
      const right = checkElement(expr.right, place);
      return left === null || right === null
        ? null
        : combine(binaryOperators[expr.op], left, right, expr.span, expr.left.span, expr.right.span, place);
    }
    case "reduce":
      return checkReduce(expr, place);
    case "where": {
      const value = checkElement(expr.value, place);
      const mask = checkElement(expr.mask, place);
      if (value === null || mask === null) return null;
      const condition = convert(mask, "bool", expr.mask.span, place);
      const then = settle(value, null, expr.value.span, place);
      return condition === null || then === null
        ? null
        : scalarElement(
            {
              kind: "select",
              condition,
              then: then.scalar,
              otherwise: { kind: "constant", value: 0, dtype: then.dtype },
              dtype: then.dtype,
            },
            then.dtype,
          );
    }
    case "top":
      return fail(
        frame,
        "E306",
        "`top` gives a whole mask, not an element",
        expr.span,
        "inside an expression of elements",
        { help: "give the mask a name first: `let keep[n, k] = top 2 of 4 along k in ...`" },
      );
    case "pack":
    case "unpack":
      return fail(
        frame,
        "E306",
        `\`${expr.kind}\` takes a whole tensor, not an element`,
        expr.span,
        "inside an expression of elements",
        { help: "give its result a name first" },
      );
    case "observe":
    case "matches":
      return fail(frame, "E602", `\`${expr.kind}\` is not a value to compute with`, expr.span, "not a number");
    default:
      return expr satisfies never;
  }
}

const binaryOperators: { readonly [K in BinaryOperator]: BinaryOp } = {
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

/** An element that is a scalar of the Graph. */
export function scalarElement(scalar: Scalar, dtype: DtypeRef): Element {
  return { kind: "scalar", scalar, dtype };
}

/** What a size is as an element. */
function sizeElement(size: Size): Element {
  const value = sizeValue(size);
  return value === null ? { kind: "size", size } : { kind: "number", value, integer: true };
}

function checkName(name: string, span: Span, place: Place): Element | null {
  const { frame, scope } = place;
  const binding = lookup(scope, name);
  if (binding === null) {
    const functions = [...frame.file.functions.keys()];
    const help = functions.includes(name)
      ? `\`${name}\` is a function: call it`
      : suggestion(name, visibleNames(scope), "the names here are");
    return fail(frame, "E201", `there is no \`${name}\` here`, span, "not declared", { help });
  }
  if (binding.kind === "unknown") return null;
  const element = elementOf(binding, frame.builder);
  if (element !== null) return element;
  if (binding.kind === "tensor" || binding.kind === "layer" || binding.kind === "statistic") {
    const type = binding.kind === "tensor" ? typeOf(frame.builder, binding.value) : null;
    const holes =
      type === null
        ? "..."
        : type.shape
            .map(
              (size) =>
                printSize(size)
                  .toLowerCase()
                  .replace(/[^a-z]/g, "")
                  .charAt(0) || "i",
            )
            .join(", ");
    return fail(
      frame,
      "E306",
      `\`${name}\` is a whole tensor, and an element is expected`,
      span,
      type === null ? "a tensor" : `has ${type.shape.length} ${type.shape.length === 1 ? "axis" : "axes"}`,
      { help: `index it: \`${name}[${holes}]\`` },
    );
  }
  return fail(
    frame,
    "E305",
    `\`${name}\` is not a number`,
    span,
    `this is ${binding.kind === "text" ? "a text" : `a ${binding.kind}`}`,
  );
}

function checkLoad(expr: Extract<Expr, { kind: "index" }>, place: Place): Element | null {
  const { frame } = place;
  const value = wholeBase(expr.base, place);
  if (value === null) return null;
  const at: (Scalar | null)[] = expr.at.map((index) => checkIndex(index, place));
  const type = typeOf(frame.builder, value);
  if (type.shape.length !== at.length) {
    return fail(
      frame,
      "E303",
      `${named(expr.base)} has ${type.shape.length} ${type.shape.length === 1 ? "axis" : "axes"}, and is indexed with ${at.length}`,
      expr.span,
      `expected ${type.shape.length}, found ${at.length}`,
    );
  }
  const known = { ranges: frame.builder.ranges, constraints: frame.builder.constraints };
  const indices: Scalar[] = [];
  let guarded = false;
  for (const [axis, index] of at.entries()) {
    const size = type.shape[axis];
    if (index === null || size === undefined) return null;
    if (!inRange(index, size, known)) {
      if (outOfRange(index, size, known)) {
        const where = expr.at[axis]?.span ?? expr.span;
        return fail(
          frame,
          "E416",
          `this index is always out of range: axis ${axis} of ${named(expr.base)} is 0 .. ${printSize(size)}`,
          where,
          `not below ${printSize(size)}`,
        );
      }
      guarded = true;
    }
    indices.push(index);
  }
  return scalarElement({ kind: "load", tensor: value, at: indices, dtype: type.dtype, guarded }, type.dtype);
}

/** Checks an index of a tensor: an i32, or an u32 that is converted. */
export function checkIndex(expr: Expr, place: Place): Scalar | null {
  const element = checkElement(expr, place);
  if (element === null) return null;
  if (element.kind === "scalar" && element.dtype === "u32") return { kind: "cast", a: element.scalar, dtype: "i32" };
  return convert(element, "i32", expr.span, place);
}

function named(base: Expr): string {
  return base.kind === "name" ? `\`${base.name}\`` : "this tensor";
}

/** The scalar of a given dtype that an element is; a number adapts, anything else must have the dtype. */
export function convert(element: Element, dtype: DtypeRef, span: Span, place: Place): Scalar | null {
  switch (element.kind) {
    case "number": {
      if (dtype === "bool")
        return fail(place.frame, "E301", `expected bool, found the number ${element.value}`, span, "a number", {
          help: "compare it: `x != 0`",
        });
      if (!isFloat(dtype) && !element.integer)
        return fail(
          place.frame,
          "E302",
          `${textOf(element)} is not an integer, and ${printDtype(dtype)} is expected`,
          span,
          `expected ${printDtype(dtype)}`,
        );
      if (
        (dtype === "u32" && (element.value < 0 || element.value > 4294967295)) ||
        (dtype === "i32" && (element.value < -2147483648 || element.value > 2147483647))
      ) {
        return fail(
          place.frame,
          "E302",
          `${element.value} is not in the range of ${printDtype(dtype)}`,
          span,
          `too ${element.value < 0 ? "small" : "large"} for ${printDtype(dtype)}`,
        );
      }
      return { kind: "constant", value: element.value, dtype };
    }
    case "size":
      if (dtype === "i32") return sizeScalar(element.size);
      return fail(
        place.frame,
        "E301",
        `expected ${printDtype(dtype)}, found a size, which is i32`,
        span,
        `i32, expected ${printDtype(dtype)}`,
        { help: castHelp(dtype) },
      );
    case "scalar":
      if (sameDtype(element.dtype, dtype)) return element.scalar;
      return fail(
        place.frame,
        "E301",
        `expected ${printDtype(dtype)}, found ${printDtype(element.dtype)}`,
        span,
        `${printDtype(element.dtype)}, expected ${printDtype(dtype)}`,
        { help: castHelp(dtype) },
      );
    default:
      return element satisfies never;
  }
}

function castHelp(dtype: DtypeRef): string {
  return dtype === "bool" ? "compare it: `x != 0`" : `convert it: \`${printDtype(dtype)}(...)\``;
}

/**
 * The scalar that an element is, of the wanted dtype if one is given; a number alone is i32 if it is written as an
 * integer, else f32.
 */
export function settle(
  element: Element,
  dtype: DtypeRef | null,
  span: Span,
  place: Place,
): { readonly scalar: Scalar; readonly dtype: DtypeRef } | null {
  const wanted = dtype ?? ownDtype(element);
  const scalar = convert(element, wanted, span, place);
  return scalar === null ? null : { scalar, dtype: wanted };
}

/** The dtype of an element on its own. */
export function ownDtype(element: Element): DtypeRef {
  switch (element.kind) {
    case "number":
      return element.integer ? "i32" : "f32";
    case "size":
      return "i32";
    case "scalar":
      return element.dtype;
    default:
      return element satisfies never;
  }
}

/** An op of one operand. */
export function checkUnary(op: UnaryOp, operand: Expr, place: Place): Element | null {
  const element = checkElement(operand, place);
  if (element === null) return null;
  if (op === "negate" && element.kind === "number")
    return { kind: "number", value: -element.value, integer: element.integer };
  if (op === "negate" && element.kind === "size") return sizeElement(subtractSizes(constantSize(0), element.size));
  const rule = unaryOps[op];
  const wanted: DtypeRef | null =
    rule === "logic"
      ? "bool"
      : rule === "bits"
        ? "f32"
        : rule === "from-bits"
          ? "u32"
          : element.kind === "number" && rule === "float"
            ? "f32"
            : null;
  const settled = settle(element, wanted, operand.span, place);
  if (settled === null) return null;
  if (rule === "float" && !isFloat(settled.dtype))
    return fail(
      place.frame,
      "E304",
      `\`${op}\` takes floating point numbers, found ${printDtype(settled.dtype)}`,
      operand.span,
      `this is ${printDtype(settled.dtype)}`,
      { help: "convert it: `f32(...)`" },
    );
  if (rule === "numeric" && settled.dtype === "bool")
    return fail(place.frame, "E304", `\`${op}\` takes numbers, found bool`, operand.span, "this is bool");
  const dtype = rule === "bits" ? "u32" : rule === "from-bits" ? "f32" : settled.dtype;
  return scalarElement({ kind: "unary", op, a: settled.scalar, dtype }, dtype);
}

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
        help: `convert one: \`${widen}(...)\``,
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

/** A number as text; `1.0` where it was not written as an integer. */
export function textOf(element: Extract<Element, { kind: "number" }>): string {
  return Number.isInteger(element.value) && !element.integer ? element.value.toFixed(1) : String(element.value);
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

/** The size that an element is, or null. */
export function elementSize(element: Element): Size | null {
  if (element.kind === "size") return element.size;
  return element.kind === "number" && element.integer ? constantSize(element.value) : null;
}

/** Checks an expression that must be a compile-time integer. */
export function compileTimeSize(expr: Expr, place: Place): Size | null {
  const element = checkElement(expr, place);
  if (element === null) return null;
  return elementSize(element) ?? notASize(element, expr, place);
}

/** Says that an expression is not the compile-time integer that is expected. */
export function notASize(element: Element, expr: Expr, place: Place): null {
  return fail(
    place.frame,
    "E415",
    `a size is expected here, and this is ${element.kind === "number" ? textOf(element) : `known only when the program runs`}`,
    expr.span,
    "not a compile-time integer",
    { help: "sizes are made of integers, size symbols and `size` parameters" },
  );
}

type ReduceExpr = Extract<Expr, { kind: "reduce" }>;

function checkReduce(expr: ReduceExpr, place: Place): Element | null {
  const { frame } = place;
  const inner: Place = { ...place, scope: nest(place.scope) };
  const over: Range[] = [];
  for (const range of expr.over) {
    const made = reductionRange(range, expr, inner);
    bind(inner.scope, range.index.name, made === null ? { kind: "unknown" } : { kind: "index", range: made });
    if (made !== null) over.push(made);
  }
  const body = checkElement(expr.body, inner);
  if (body === null || over.length !== expr.over.length) return null;
  const rule = expr.op === "any" || expr.op === "all" || expr.op === "count" ? "bool" : null;
  const settled = settle(body, rule, expr.body.span, inner);
  if (settled === null) return null;
  const complain = (expected: string, help: string): null =>
    fail(
      frame,
      "E304",
      `\`${expr.op}\` takes ${expected}, found ${printDtype(settled.dtype)}`,
      expr.body.span,
      `this is ${printDtype(settled.dtype)}`,
      { help },
    );
  if (rule === null && settled.dtype === "bool")
    return complain("numbers", expr.op === "sum" ? "to count what is true: `count`" : "use `any` or `all`");
  if (reduceOps[expr.op] === "float" && !isFloat(settled.dtype))
    return complain("floating point numbers", "convert it: `f32(...)`");
  if (expr.op === "argmax" && over.length !== 1)
    return fail(
      frame,
      "E304",
      `\`argmax\` takes one index, found ${over.length}`,
      expr.span,
      "its result is the value of one index",
    );
  const dtype: DtypeRef = reduceOps[expr.op] === "i32" ? "i32" : settled.dtype;
  return scalarElement({ kind: "reduce", op: expr.op, over, body: settled.scalar, dtype }, dtype);
}

/** The range of a reduction's index: as given, of any i32 bounds, or that of the axes it stands on. */
function reductionRange(range: RangeExpr, { body, over }: ReduceExpr, place: Place): Range | null {
  if (range.low === null || range.high === null) {
    const indices = over.map((each) => each.index);
    const size = inferRange(range.index, [body], place, [], indices);
    return size === null
      ? null
      : newIndex(place.frame.builder, range.index.name, sizeScalar(constantSize(0)), sizeScalar(size));
  }
  const low = checkElement(range.low, place);
  const high = checkElement(range.high, place);
  if (low === null || high === null) return null;
  const [a, b] = [boundScalar(low, range.low.span, place), boundScalar(high, range.high.span, place)];
  return a === null || b === null ? null : newIndex(place.frame.builder, range.index.name, a, b);
}

function boundScalar(element: Element, span: Span, place: Place): Scalar | null {
  const size = elementSize(element);
  return size !== null ? sizeScalar(size) : convert(element, "i32", span, place);
}
