import { counted } from "../words.js";
import { isInteger, dtypes, type Dtype, type DtypeRef } from "../types/dtype.js";
import type { CallExpr, Expr } from "../syntax/ast.js";
import { binaryOps, unaryOps, type BinaryOp, type UnaryOp } from "../types/scalar-ops.js";
import { checkScalarCall } from "./call.js";
import { checkElement, checkUnary } from "./element.js";
import { combine } from "./arithmetic.js";
import { convert, ownDtype, scalarElement, settle } from "./conversion.js";
import { isFactorization } from "./factorization.js";
import { describe, fail, type Element, type Place } from "./frame.js";
import { lookup, peek } from "./scope.js";
import { failReductionCall, failTensorCall, isReduction } from "./unknown.js";

/** The ops that are written with operators; a function may have such a name, and then the name means it. */
const written: ReadonlySet<string> = new Set<UnaryOp | BinaryOp>([
  "negate",
  "not",
  "add",
  "subtract",
  "multiply",
  "divide",
  "remainder",
  "power",
  "equal",
  "not_equal",
  "less",
  "less_equal",
  "greater",
  "greater_equal",
  "and",
  "or",
]);

/** Whether a name is that of an op, a cast or another built-in, so that nothing else can have it. */
export function isBuiltin(name: string): boolean {
  return (
    ((isUnary(name) || isBinary(name)) && !written.has(name)) ||
    isDtype(name) ||
    isFactorization(name) ||
    name === "select" ||
    name === "windows" ||
    name === "perplexity"
  );
}

function isUnary(name: string): name is UnaryOp {
  return Object.hasOwn(unaryOps, name);
}

function isBinary(name: string): name is BinaryOp {
  return Object.hasOwn(binaryOps, name);
}

function isDtype(name: string): name is Dtype {
  return (dtypes as readonly string[]).includes(name);
}

/** Checks a call inside index notation: an op, a cast, `select`, or a function that gives one scalar. */
export function checkElementCall(expr: CallExpr, place: Place): Element | null {
  const { frame } = place;
  const name = expr.callee.name;
  if (isDtype(name) || frame.dtypes.has(name))
    return checkCast(expr, isDtype(name) ? name : { parameter: name }, place);
  if (name === "select") return checkSelect(expr, place);
  if (frame.layer !== null && (name === "windows" || name === "tokens") && !frame.file.functions.has(name))
    return checkCount(expr, name, place);
  const called = frame.file.functions.has(name) ? undefined : peek(place.scope, name)?.binding.kind;
  if (called === "tensor" || called === "layer") return failTensorCall(expr, place);
  const reduces = isReduction(name) && (!isBinary(name) || expr.args.length < 2);
  if (reduces && !frame.file.functions.has(name)) return failReductionCall(expr, place);
  if ((isUnary(name) || isBinary(name)) && !frame.file.functions.has(name)) {
    const args = operands(expr, isUnary(name) ? 1 : 2, place);
    const [a, b] = args ?? [];
    if (a === undefined) return null;
    if (isUnary(name)) return checkUnary(name, a, place);
    if (b === undefined) return null;
    const [left, right] = [checkElement(a, place), checkElement(b, place)];
    return left === null || right === null ? null : combine(name, left, right, expr.span, a.span, b.span, place);
  }
  if (isFactorization(name) && !frame.file.functions.has(name))
    return fail(frame, "E306", `\`${name}\` gives a whole tensor, and an element is expected`, expr.span, "a matrix", {
      help: `give it a name first: \`let l = ${name}(...)\``,
    });
  return checkScalarCall(expr, place);
}

function operands(expr: CallExpr, count: number, place: Place): readonly Expr[] | null {
  const name = expr.callee.name;
  const labelled = expr.args.find((argument) => argument.label !== null);
  if (labelled !== undefined)
    return fail(place.frame, "E303", `\`${name}\` takes no named arguments`, labelled.span, "named");
  if (expr.args.length === count) return expr.args.map((argument) => argument.value);
  return fail(
    place.frame,
    "E303",
    `\`${name}\` takes ${counted(count, "argument")}, found ${expr.args.length}`,
    expr.span,
    `expected ${count}, found ${expr.args.length}`,
    { help: count === 2 && expr.args.length > 2 ? `nest it: \`${name}(${name}(a, b), c)\`` : null },
  );
}

function checkCast(expr: CallExpr, dtype: DtypeRef, place: Place): Element | null {
  const [operand] = operands(expr, 1, place) ?? [];
  if (operand === undefined) return null;
  const element = checkElement(operand, place);
  if (element === null) return null;
  if (element.kind === "number") {
    const number: Element = isInteger(dtype)
      ? { kind: "number", value: Math.trunc(element.value), integer: true }
      : element;
    const scalar = convert(number, dtype, operand.span, place);
    return scalar === null ? null : scalarElement(scalar, dtype);
  }
  const settled = settle(element, null, operand.span, place);
  if (settled === null) return null;
  if (dtype === "bool" && settled.dtype !== "bool")
    return fail(place.frame, "E304", `${describe(element)} is not converted to bool`, expr.span, "not a conversion", {
      help: "compare it: `x != 0`",
    });
  if (dtype === settled.dtype) return element;
  return scalarElement({ kind: "cast", a: settled.scalar, dtype }, dtype);
}

function checkSelect(expr: CallExpr, place: Place): Element | null {
  const [test, then, otherwise] = operands(expr, 3, place) ?? [];
  if (test === undefined || then === undefined || otherwise === undefined) return null;
  const [c, a, b] = [checkElement(test, place), checkElement(then, place), checkElement(otherwise, place)];
  if (c === null || a === null || b === null) return null;
  const condition = convert(c, "bool", test.span, place);
  // a number takes the dtype of the other branch; of two numbers one that is no integer makes both f32
  const pure = a.kind === "number" && b.kind === "number";
  const dtype = pure ? (a.integer && b.integer ? "i32" : "f32") : ownDtype(a.kind === "number" ? b : a);
  const [x, y] = [convert(a, dtype, then.span, place), convert(b, dtype, otherwise.span, place)];
  if (condition === null || x === null || y === null) return null;
  return scalarElement({ kind: "select", condition, then: x, otherwise: y, dtype }, dtype);
}

function checkCount(expr: CallExpr, name: "windows" | "tokens", place: Place): Element | null {
  const { frame } = place;
  const [text] = operands(expr, 1, place) ?? [];
  if (text === undefined || frame.layer === null) return null;
  if (text.kind !== "name" || lookup(place.scope, text.name)?.kind !== "text")
    return fail(frame, "E605", `\`${name}\` takes the calibration text`, text.span, "not a `tokens` parameter");
  if (frame.layer.start !== null)
    return fail(frame, "E602", `\`${name}(text)\` is what was observed`, expr.span, "not in a training");
  return scalarElement({ kind: "load", tensor: frame.layer.count(name), at: [], dtype: "f32", guarded: false }, "f32");
}
