/** Checking `pack w as int4(128) with scale s plus lowrank(a, b)`. */
import { isCorrected, withCorrection } from "../formats/lowrank/meaning.js";
import { printFormat } from "../formats/registry.js";
import type { ValueId } from "../graph/graph.js";
import type { Expr } from "../syntax/ast.js";
import { constantSize, printSize, sizeValue, type Size } from "../types/size.js";
import { full, type SymbolicFormat, type TensorType } from "../types/type.js";
import { addEqn, typeOf, valueOf } from "./builder.js";
import { demand, fail, printType, type Place } from "./frame.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";

/** What a correction is beside, as the format of the sum says it; null where it is a parameter, known when it is run. */
type Corrected = SymbolicFormat | { readonly parameter: string };

/**
 * Checks that what is corrected is a packed matrix w[N, K], and that a[N, rank] and b[rank, K] are of floating point
 * numbers and fit it. Both are rounded to f16. The sum has no pattern: it is zero nowhere for sure.
 */
export function checkCorrection(expr: Extract<Expr, { kind: "plus" }>, place: Place): ValueId | null {
  const { frame } = place;
  const { builder } = frame;
  if (builder.steps.size > 0)
    return fail(frame, "E601", "`plus` cannot stand in a `scan`", expr.span, "at each step", {
      help: "correct the result, after the `scan`",
    });
  const packed = checkTensor(expr.value, place);
  const [left, right] = [checkTensor(expr.left, place), checkTensor(expr.right, place)];
  if (packed === null || left === null || right === null) return null;
  const type = typeOf(builder, packed);
  const format: Corrected | null = type.format;
  if (format === null)
    return fail(
      frame,
      "E506",
      `a low-rank correction stands beside a packed weight, found ${printType(type)}`,
      expr.value.span,
      "not packed",
      { help: "say how it is stored first: `pack w as f16 plus lowrank(a, b)`" },
    );
  if ("name" in format && isCorrected(format))
    return fail(
      frame,
      "E506",
      "this has a low-rank correction already",
      expr.value.span,
      printFormat(format, "short"),
      { help: "one is enough: put the columns of a, and the rows of b, beside one another" },
    );
  const [rows, columns] = type.shape;
  if (rows === undefined || columns === undefined || type.shape.length !== 2 || type.dtype !== "f32")
    return fail(
      frame,
      "E506",
      `a low-rank correction is of a matrix f32[N, K], found ${printType(type)}`,
      expr.value.span,
      printType(type),
    );
  const [a, b] = [typeOf(builder, left), typeOf(builder, right)];
  const rank = a.shape[1];
  if (!isFactor(a) || rank === undefined || !same(a.shape[0], rows, place))
    return failFactor("a", `${printSize(rows)}, rank`, "a row for each row", a, expr.left, expr, place);
  if (!isFactor(b) || !same(b.shape[1], columns, place))
    return failFactor("b", `rank, ${printSize(columns)}`, "a column for each column", b, expr.right, expr, place);
  if (!same(b.shape[0], rank, place))
    return fail(
      frame,
      "E506",
      `a has ${printSize(rank)} columns and b has ${printSize(b.shape[0] ?? constantSize(0))} rows, and these are the same rank`,
      expr.right.span,
      printType(b),
      { labels: [{ span: expr.left.span, message: printType(a) }] },
    );
  if (!atMost(rank, rows, expr, place) || !atMost(rank, columns, expr, place)) return null;
  const half = (value: ValueId): ValueId =>
    addEqn(
      builder,
      valueOf(builder, value).name,
      null,
      { ...typeOf(builder, value), pattern: full, format: { name: "f16", args: {}, of: null } },
      (out) => ({ kind: "pack", out, source: value, scale: null, zero: null }),
    );
  const [halfLeft, halfRight] = [half(left), half(right)];
  return addEqn(
    builder,
    valueOf(builder, packed).name,
    expr.span,
    {
      ...type,
      pattern: full,
      format: withCorrection(rank, "parameter" in format ? named(format) : format),
    },
    (out) => ({ kind: "plus", out, packed, left: halfLeft, right: halfRight }),
  );
}

/** A format parameter as what a correction is beside. */
function named({ parameter }: { readonly parameter: string }): SymbolicFormat {
  return { name: parameter, args: {}, of: null };
}

function isFactor({ dtype, shape, format }: TensorType): boolean {
  return dtype === "f32" && shape.length === 2 && format === null;
}

function same(a: Size | undefined, b: Size | undefined, { frame }: Place): boolean {
  return a !== undefined && b !== undefined && equalSizes(a, b, frame.builder.constraints);
}

/** That a rank is no more than a size: at once where both are known, else when they are. */
function atMost(rank: Size, size: Size, expr: Extract<Expr, { kind: "plus" }>, { frame }: Place): boolean {
  const [least, most] = [sizeValue(rank), sizeValue(size)];
  if (least === 0 || (least !== null && most !== null && least > most)) {
    fail(
      frame,
      "E506",
      least === 0
        ? "a correction of rank 0 corrects nothing"
        : `a correction of rank ${least} is of more than a matrix with a side of ${most} can have`,
      expr.left.span,
      `a rank of ${least}`,
      { help: "ranks are from 1 to the smaller side of the weight; 8 to 64 are usual" },
    );
    return false;
  }
  if (least !== null && most !== null) return true;
  return demand(frame, { kind: "at-least", left: size, right: rank }, expr.span, "`lowrank`");
}

function failFactor(
  name: "a" | "b",
  shape: string,
  why: string,
  found: TensorType,
  factor: Expr,
  expr: Extract<Expr, { kind: "plus" }>,
  place: Place,
): null {
  return fail(
    place.frame,
    "E506",
    `${name} of \`lowrank(a, b)\` is f32[${shape}], ${why} of what is corrected, found ${printType(found)}`,
    factor.span,
    printType(found),
    {
      labels: [{ span: expr.value.span, message: "corrected" }],
      help: found.format === null ? null : "`unpack` it: both factors are rounded to f16 by themselves",
    },
  );
}
