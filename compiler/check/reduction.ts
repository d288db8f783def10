import type { Span } from "../diagnostic.js";
import type { Range, Scalar } from "../graph/graph.js";
import { reduceOps } from "../graph/ops.js";
import type { Expr, RangeExpr } from "../syntax/ast.js";
import { type DtypeRef, isFloat, printDtype } from "../types/dtype.js";
import { constantSize } from "../types/size.js";
import { newIndex, sizeScalar } from "./builder.js";
import { convert, elementSize, scalarElement, settle } from "./conversion.js";
import { checkElement } from "./element.js";
import { type Element, fail, type Place } from "./frame.js";
import { inferRange } from "./free-index.js";
import { bind, nest } from "./scope.js";

type ReduceExpr = Extract<Expr, { kind: "reduce" }>;

/** Checks `sum[k] e` and its like. */
export function checkReduce(expr: ReduceExpr, place: Place): Element | null {
  const { frame } = place;
  const inner: Place = { ...place, scope: nest(place.scope) };
  const over: Range[] = [];
  for (const range of expr.over) {
    const made = reductionRange(range, expr, inner);
    bind(inner.scope, range.index.name, made === null ? { kind: "unknown" } : { kind: "index", range: made });
    if (made !== null) over.push(made);
  }
  if (expr.score !== null) return checkSoftmaxMean(expr, expr.score, over, inner);
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
  return scalarElement({ kind: "reduce", op: expr.op, over, score: null, body: settled.scalar, dtype }, dtype);
}

/** `softmax_mean[c](score, value)`: both are f32. */
function checkSoftmaxMean(expr: ReduceExpr, score: Expr, over: readonly Range[], inner: Place): Element | null {
  const [weight = null, body = null] = [score, expr.body].map((operand) => {
    const element = checkElement(operand, inner);
    return element === null ? null : convert(element, "f32", operand.span, inner);
  });
  if (weight === null || body === null || over.length !== expr.over.length) return null;
  return scalarElement({ kind: "reduce", op: "softmax_mean", over, score: weight, body, dtype: "f32" }, "f32");
}

/** The range of a reduction's index: as given, of any i32 bounds, or that of the axes it stands on. */
function reductionRange(range: RangeExpr, { op, score, body, over }: ReduceExpr, place: Place): Range | null {
  if (range.low === null || range.high === null) {
    const indices = over.map((each) => each.index);
    const size = inferRange(range.index, score === null ? [body] : [score, body], place, {
      together: indices,
      written: (text) => `${op}[${text}]${score === null ? " ..." : "(...)"}`,
    });
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
