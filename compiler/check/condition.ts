import type { BinaryOperator, Expr } from "../syntax/ast.js";
import type { Condition, Quantity } from "../recipe/recipe.js";
import { checkElement } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import { lookup, type Scope } from "./scope.js";

const comparisons: Partial<Record<BinaryOperator, Extract<Condition, { kind: "compare" }>["op"]>> = {
  "<": "less",
  "<=": "less_equal",
  ">": "greater",
  ">=": "greater_equal",
};
const arithmetic: Partial<Record<BinaryOperator, Extract<Quantity, { kind: "arithmetic" }>["op"]>> = {
  "+": "add",
  "-": "subtract",
  "*": "multiply",
  "/": "divide",
};

/** Checks the condition of an `expect`: comparisons of perplexities and numbers, joined by `and`. */
export function checkCondition(expr: Expr, frame: Frame, scope: Scope): Condition | null {
  if (expr.kind === "binary" && expr.op === "and") {
    const left = checkCondition(expr.left, frame, scope);
    const right = checkCondition(expr.right, frame, scope);
    return left === null || right === null ? null : { kind: "and", left, right };
  }
  const op = expr.kind === "binary" ? comparisons[expr.op] : undefined;
  if (expr.kind !== "binary" || op === undefined)
    return fail(frame, "E607", "`expect` takes a comparison of perplexities", expr.span, "not a comparison", {
      help: "for example `expect perplexity(model, text) < 1.1 * perplexity(model.dense, text)`",
    });
  const left = checkQuantity(expr.left, frame, scope);
  const right = checkQuantity(expr.right, frame, scope);
  if (left === null || right === null) return null;
  if (left.kind === "number" && right.kind === "number" && !holds(op, left.value, right.value)) {
    const { start, end } = expr.span;
    const text = frame.file.source.slice(start, end);
    return fail(frame, "E607", `the recipe expects \`${text}\``, expr.span, `${left.value} and ${right.value}`, {
      help: leastPossible(expr, op, left.value, right.value),
    });
  }
  return { kind: "compare", op, left, right };
}

/** What a parameter that is compared with a number has to be, where one stands alone. */
function leastPossible(
  expr: Extract<Expr, { kind: "binary" }>,
  op: Extract<Condition, { kind: "compare" }>["op"],
  left: number,
  right: number,
): string {
  const [name, bound] = expr.left.kind === "name" ? [expr.left.name, right] : [nameOf(expr.right), left];
  if (name === null) return "set its parameters so that it holds";
  const isLeast = op.startsWith("greater") === (expr.left.kind === "name");
  const side = isLeast ? (op.endsWith("equal") ? "at least" : "above") : op.endsWith("equal") ? "at most" : "below";
  return `let \`${name}\` be ${side} ${bound}`;
}

function nameOf(expr: Expr): string | null {
  return expr.kind === "name" ? expr.name : null;
}

function checkQuantity(expr: Expr, frame: Frame, scope: Scope): Quantity | null {
  if (expr.kind === "call" && expr.callee.name === "perplexity") return checkPerplexity(expr, frame, scope);
  if (expr.kind === "binary") {
    const op = arithmetic[expr.op];
    if (op !== undefined) {
      const left = checkQuantity(expr.left, frame, scope);
      const right = checkQuantity(expr.right, frame, scope);
      if (left === null || right === null) return null;
      if (left.kind === "number" && right.kind === "number")
        return { kind: "number", value: fold(op, left.value, right.value) };
      return { kind: "arithmetic", op, left, right };
    }
  }
  const element = checkElement(expr, placeIn(frame, scope));
  if (element === null) return null;
  if (element.kind === "number") return { kind: "number", value: element.value };
  return fail(frame, "E607", "`expect` compares perplexities and numbers", expr.span, "neither", {
    help: "write `perplexity(model, text)`, a number or a parameter",
  });
}

/** Whether a comparison of numbers holds. */
export function holds(op: Extract<Condition, { kind: "compare" }>["op"], a: number, b: number): boolean {
  switch (op) {
    case "less":
      return a < b;
    case "less_equal":
      return a <= b;
    case "greater":
      return a > b;
    case "greater_equal":
      return a >= b;
    default:
      return op satisfies never;
  }
}

function fold(op: Extract<Quantity, { kind: "arithmetic" }>["op"], a: number, b: number): number {
  switch (op) {
    case "add":
      return a + b;
    case "subtract":
      return a - b;
    case "multiply":
      return a * b;
    case "divide":
      return a / b;
    default:
      return op satisfies never;
  }
}

function checkPerplexity(expr: Extract<Expr, { kind: "call" }>, frame: Frame, scope: Scope): Quantity | null {
  const [model, text, ...more] = expr.args.map((argument) => argument.value);
  const wrong = (span: Expr["span"], label: string): null =>
    fail(frame, "E607", "`perplexity` takes a model and a text", span, label, {
      help: "write `perplexity(model, text)`, or `perplexity(model.dense, text)` for the model as it was given",
    });
  if (model === undefined || text === undefined || more.length > 0)
    return wrong(expr.span, `${expr.args.length} of 2 arguments`);
  if (text.kind !== "name" || lookup(scope, text.name)?.kind !== "text") return wrong(text.span, "not a text");
  if (model.kind === "name" && lookup(scope, model.name)?.kind === "model") return { kind: "perplexity", of: "model" };
  if (model.kind === "member" && model.base.kind === "name" && lookup(scope, model.base.name)?.kind === "model") {
    if (model.field.name === "dense") return { kind: "perplexity", of: "dense" };
    return fail(frame, "E207", `a model has no \`${model.field.name}\``, model.field.span, "no such member", {
      help: "`model.dense` is the model as it was given",
    });
  }
  return wrong(model.span, "not a model");
}

/** Whether a condition depends on the model. */
export function ofModel(condition: Condition): boolean {
  if (condition.kind === "and") return ofModel(condition.left) || ofModel(condition.right);
  return condition.left.kind !== "number" || condition.right.kind !== "number";
}
