import type { Expr } from "../syntax/ast.js";
import { checkElement } from "./element.js";
import { fail, placeIn, type Element, type Frame } from "./frame.js";
import type { Scope } from "./scope.js";

/** The truth of a condition on parameters and constants; null where it is none, which is reported. */
export function constantCondition(expr: Expr, frame: Frame, scope: Scope): boolean | null {
  switch (expr.kind) {
    case "binary": {
      if (expr.op === "and" || expr.op === "or") {
        const left = constantCondition(expr.left, frame, scope);
        const right = constantCondition(expr.right, frame, scope);
        if (left === null || right === null) return null;
        return expr.op === "and" ? left && right : left || right;
      }
      const left = checkElement(expr.left, placeIn(frame, scope));
      const right = checkElement(expr.right, placeIn(frame, scope));
      if (left === null || right === null) return null;
      const [a, b] = [numberOf(left), numberOf(right)];
      if (a === null || b === null) break;
      switch (expr.op) {
        case "==":
          return a === b;
        case "!=":
          return a !== b;
        case "<":
          return a < b;
        case "<=":
          return a <= b;
        case ">":
          return a > b;
        case ">=":
          return a >= b;
        case "+":
        case "-":
        case "*":
        case "/":
        case "%":
        case "^":
          break;
        default:
          expr.op satisfies never;
      }
      break;
    }
    case "unary": {
      const inner = expr.op === "not" ? constantCondition(expr.operand, frame, scope) : null;
      if (expr.op !== "not") break;
      return inner === null ? null : !inner;
    }
    case "name":
    case "boolean": {
      const element = checkElement(expr, placeIn(frame, scope));
      if (element === null) return null;
      if (element.kind === "scalar" && element.dtype === "bool" && element.scalar.kind === "constant")
        return element.scalar.value !== 0;
      break;
    }
    case "matches":
      return fail(frame, "E606", "`matches` tests the name of a layer", expr.span, "there is no layer here", {
        help: "inside `for w in block.linears { }`, and not mixed with other conditions",
      });
    default:
      break;
  }
  return fail(
    frame,
    "E606",
    "this condition is not decided by the parameters of the recipe",
    expr.span,
    "not known before the recipe runs",
    { help: 'compare parameters: `if group > 0 { }`, or test the layer\'s name: `if w matches "*.down_proj" { }`' },
  );
}

function numberOf(element: Element): number | null {
  if (element.kind === "number") return element.value;
  return element.kind === "scalar" && element.scalar.kind === "constant" ? element.scalar.value : null;
}
