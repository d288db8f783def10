import type { Expr, Ident } from "../syntax/ast.js";

/** The names in an arithmetic or index expression, those of indexed tensors left out. */
export function namesIn(expr: Expr): readonly Ident[] {
  switch (expr.kind) {
    case "name":
      return [{ name: expr.name, span: expr.span }];
    case "unary":
      return namesIn(expr.operand);
    case "binary":
      return [...namesIn(expr.left), ...namesIn(expr.right)];
    case "call":
      return expr.args.flatMap((argument) => namesIn(argument.value));
    case "index":
      return expr.at.flatMap(namesIn);
    case "where":
      return [...namesIn(expr.value), ...namesIn(expr.mask)];
    case "string":
    case "number":
    case "boolean":
    case "member":
    case "reduce":
    case "top":
    case "pack":
    case "unpack":
    case "plus":
    case "observe":
    case "gradient":
    case "matches":
      return [];
    default:
      return expr satisfies never;
  }
}
