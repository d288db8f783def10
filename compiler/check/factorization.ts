import { counted } from "../words.js";
import type { ValueId } from "../graph/graph.js";
import { factorizationOps, type FactorizationOp } from "../graph/ops.js";
import type { Expr } from "../syntax/ast.js";
import { addEqn, typeOf } from "./builder.js";
import { fail, printType, type Place } from "./frame.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";

/** Whether a name is that of a function of whole square matrices. */
export function isFactorization(name: string): name is FactorizationOp {
  return Object.hasOwn(factorizationOps, name);
}

/** Checks `cholesky(h)`, `inverse_lower(l)` or `eigenvectors(h)`: one square matrix of f32, dense. */
export function checkFactorization(
  expr: Extract<Expr, { kind: "call" }>,
  op: FactorizationOp,
  place: Place,
): ValueId | null {
  const { frame } = place;
  const [argument, ...rest] = expr.args;
  if (argument === undefined || rest.length > 0 || argument.label !== null)
    return fail(
      frame,
      "E303",
      `\`${op}\` takes one matrix, found ${counted(expr.args.length, "argument")}`,
      expr.span,
      "expected one matrix",
    );
  const source = checkTensor(argument.value, place);
  if (source === null) return null;
  const type = typeOf(frame.builder, source);
  const [rows, columns] = type.shape;
  if (rows === undefined || columns === undefined || type.shape.length !== 2)
    return fail(
      frame,
      "E303",
      `\`${op}\` takes a matrix, found ${printType(type)}`,
      argument.span,
      `${counted(type.shape.length, "axis", "axes")}, expected 2`,
    );
  if (type.dtype !== "f32")
    return fail(
      frame,
      "E301",
      `\`${op}\` takes a matrix of f32, found ${printType(type)}`,
      argument.span,
      "expected f32",
      { help: "convert it in index notation: `let a[i, j] = f32(x[i, j])`" },
    );
  if (type.format !== null)
    return fail(
      frame,
      "E503",
      `\`${op}\` takes a dense matrix, found ${printType(type)}`,
      argument.span,
      printType(type),
      { help: "`unpack` it" },
    );
  if (!equalSizes(rows, columns, frame.builder.constraints))
    return fail(
      frame,
      "E413",
      `\`${op}\` takes a square matrix, found ${printType(type)}`,
      argument.span,
      "not square",
    );
  if (frame.builder.steps.size > 0)
    return fail(frame, "E601", `\`${op}\` cannot stand in a \`scan\``, expr.span, "at each step", {
      help: "compute it before the `scan`",
    });
  return addEqn(frame.builder, op, expr.span, { ...type, pattern: { kind: "full" } }, (out) => ({
    kind: "factorize",
    out,
    source,
    op,
  }));
}
