import type { Expr, Ident } from "../syntax/ast.js";
import { checkElement } from "./element.js";
import { fail, placeIn, type Element, type Frame } from "./frame.js";
import { peek, type Scope } from "./scope.js";

/**
 * The truth of a condition on parameters and constants; null where it is none, which is reported. `computed` are names
 * that are declared there and known only when the recipe runs.
 */
export function constantCondition(
  expr: Expr,
  frame: Frame,
  scope: Scope,
  computed: ReadonlySet<string> = new Set(),
): boolean | null {
  return failData(expr, frame, scope, computed) ? null : truthOf(expr, frame, scope);
}

const onData = "`if` chooses by parameters or by the name of a layer";

/** Tells of a condition on what only a run computes, or on a layer's name but not by `matches` alone. */
function failData(expr: Expr, frame: Frame, scope: Scope, computed: ReadonlySet<string>): boolean {
  const test = namesLayer(expr);
  if (test !== null) {
    fail(frame, "E606", "the name of a layer is tested by `matches`", expr.span, "not a test of its name", {
      help: `write \`if ${test}\``,
    });
    return true;
  }
  if (expr.kind === "binary" && (expr.op === "and" || expr.op === "or") && hasMatches(expr)) {
    const globs = [...matchesIn(expr)].map((each) =>
      each.pattern.kind === "name" ? each.pattern.name : `"${each.pattern.value}"`,
    );
    fail(frame, "E606", "`matches` stands alone, or after `not`", expr.span, "joined with another condition", {
      help:
        expr.op === "or" && globs.length > 1
          ? `take these layers by \`for w in ...linears matching ${globs.join(", ")}\`, or write \`else if\``
          : "nest the conditions: an `if` inside an `if`",
    });
    return true;
  }
  const [first] = expr.kind === "matches" ? [] : namesOfRun(expr, frame, scope, computed);
  if (first === undefined) return false;
  fail(
    frame,
    "E606",
    `${onData}, and \`${first.name}\` is known only when the recipe runs`,
    first.span,
    "known only at a run",
    { help: "element by element `select(condition, a, b)` chooses" },
  );
  return true;
}

/** The names in a condition that stand for what only a run computes; `computed` are such names that are declared there. */
export function namesOfRun(expr: Expr, frame: Frame, scope: Scope, computed: ReadonlySet<string>): readonly Ident[] {
  const { file, start, end } = expr.span;
  const text = frame.file.source.slice(start, end).replace(/"[^"\n]*"/g, (each) => " ".repeat(each.length));
  return [...text.matchAll(/[A-Za-z_]\w*/g)].flatMap(({ 0: name, index }) => {
    const kind = peek(scope, name)?.binding.kind;
    const runs = kind === "tensor" || kind === "layer" || kind === "statistic" || kind === "measured";
    if (!runs && !(kind === undefined && computed.has(name))) return [];
    return [{ name, span: { file, start: start + index, end: start + index + name.length } }];
  });
}

/** Whether a condition tests the layer's name in a way that is none: that is told, whatever else it has. */
export function testsName(expr: Expr): boolean {
  return namesLayer(expr) !== null || (expr.kind === "binary" && hasMatches(expr));
}

/** `w matches "k_proj"` for `w.name == "k_proj"`. */
function namesLayer(expr: Expr): string | null {
  if (expr.kind !== "binary" || (expr.op !== "==" && expr.op !== "!=")) return null;
  const text = [expr.left, expr.right].find((side) => side.kind === "string");
  const other = text === expr.left ? expr.right : expr.left;
  if (text?.kind !== "string") return null;
  const base = other.kind === "member" ? other.base : other;
  const layer = base.kind === "name" ? base.name : "w";
  return `${expr.op === "!=" ? "not " : ""}${layer} matches "${text.value}"`;
}

function* matchesIn(expr: Expr): Generator<Extract<Expr, { kind: "matches" }>> {
  if (expr.kind === "matches") yield expr;
  if (expr.kind === "unary") yield* matchesIn(expr.operand);
  if (expr.kind === "binary") for (const side of [expr.left, expr.right]) yield* matchesIn(side);
}

function hasMatches(expr: Expr): boolean {
  return !matchesIn(expr).next().done;
}

function truthOf(expr: Expr, frame: Frame, scope: Scope): boolean | null {
  switch (expr.kind) {
    case "binary": {
      if (expr.op === "and" || expr.op === "or") {
        const left = truthOf(expr.left, frame, scope);
        const right = truthOf(expr.right, frame, scope);
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
      const inner = expr.op === "not" ? truthOf(expr.operand, frame, scope) : null;
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
  return fail(frame, "E606", `${onData}, and this is neither`, expr.span, "no comparison of parameters", {
    help: 'compare parameters, `if group > 0 { }`, or test the layer\'s name, `if w matches "*.down_proj" { }`',
  });
}

function numberOf(element: Element): number | null {
  if (element.kind === "number") return element.value;
  return element.kind === "scalar" && element.scalar.kind === "constant" ? element.scalar.value : null;
}
