import { counted } from "../words.js";
import type { Span } from "../diagnostic.js";
import type { Scalar, ValueId } from "../graph/graph.js";
import type { Expr } from "../syntax/ast.js";
import { type DtypeRef, isFloat, printDtype } from "../types/dtype.js";
import { type UnaryOp, unaryOps } from "../types/scalar-ops.js";
import { constantSize, printSize, type Size, subtractSizes, symbolSize } from "../types/size.js";
import { binaryOperators, combine } from "./arithmetic.js";
import { typeOf } from "./builder.js";
import { convert, elementSize, scalarElement, settle, sizeElement, textOf } from "./conversion.js";
import { elementText } from "./index-names.js";
import { isIndexedTensor } from "./free-index.js";
import { type Element, elementOf, fail, sourceOf, type Place } from "./frame.js";
import { inRange, outOfRange } from "./interval.js";
import { checkElementCall } from "./operation.js";
import { checkReduce } from "./reduction.js";
import { checkLayerNumber } from "./parameter.js";
import { lookup, peek } from "./scope.js";
import { failIndex, failMember, failName, failMeasured, failStatistic, failWhole } from "./unknown.js";
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
    case "member": {
      const size = sizeOfTensor(expr, place);
      return size === null ? (checkLayerNumber(expr, place) ?? failMember(expr, place)) : { kind: "size", size };
    }
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
    case "plus":
      return fail(
        frame,
        "E306",
        `\`${expr.kind}\` takes a whole tensor, not an element`,
        expr.span,
        "inside an expression of elements",
        { help: "give its result a name first" },
      );
    case "gradient":
      return fail(
        frame,
        "E306",
        "`gradient` gives whole tensors, not an element",
        expr.span,
        "inside an expression of elements",
        { help: "give it a name first: `let dx = gradient of ...`" },
      );
    case "observe":
    case "matches":
      return fail(frame, "E602", `\`${expr.kind}\` is not a value to compute with`, expr.span, "not a number");
    default:
      return expr satisfies never;
  }
}

/** `w.rows` and `w.columns` of a layer's weight, or of a tensor of two axes; null of anything else. */
function sizeOfTensor({ base, field }: Extract<Expr, { kind: "member" }>, { frame, scope }: Place): Size | null {
  const axis = ["rows", "columns"].indexOf(field.name);
  if (axis < 0 || base.kind !== "name") return null;
  const binding = peek(scope, base.name)?.binding;
  if (binding?.kind === "layer" && axis === 0 && frame.layer?.of === "vector") return null;
  if (binding?.kind === "layer") return lookup(scope, base.name) && symbolSize(axis === 0 ? "N" : "K");
  if (binding?.kind !== "tensor") return null;
  const { shape } = typeOf(frame.builder, binding.value);
  return shape.length === 2 && lookup(scope, base.name) !== null ? (shape[axis] ?? null) : null;
}

function checkName(name: string, span: Span, place: Place): Element | null {
  const { frame, scope } = place;
  const binding = lookup(scope, name);
  if (binding === null) return failName({ name, span }, place);
  if (binding.kind === "unknown") return null;
  const element = elementOf(binding, frame.builder);
  if (element !== null) return element;
  if (binding.kind === "tensor" || binding.kind === "layer") return failWhole({ name, span }, place);
  if (binding.kind === "statistic") return failStatistic({ name, span }, place);
  if (binding.kind === "measured") return failMeasured({ name, span }, place);
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
  if (expr.base.kind === "index" && isIndexedTensor(expr.base, place)) return failNested(expr, expr.base, place);
  const table = expr.base.kind === "name" ? peek(place.scope, expr.base.name)?.binding : undefined;
  if (table?.kind === "table") return checkTableElement(expr, table.values, place);
  const value = wholeBase(expr.base, place);
  if (value === null) return null;
  const own = ownMeasured(expr, value, place);
  if (own !== null) return scalarElement({ kind: "load", tensor: own, at: [], dtype: "f32", guarded: false }, "f32");
  const at: (Scalar | null)[] = expr.at.map((index) => checkIndex(index, place));
  const type = typeOf(frame.builder, value);
  if (type.shape.length !== at.length) {
    const element =
      expr.base.kind === "name" ? elementText(expr.base.name, peek(place.scope, expr.base.name)?.binding, place) : null;
    return fail(
      frame,
      "E303",
      `${named(expr.base)} has ${counted(type.shape.length, "axis", "axes")}, and is indexed with ${at.length}`,
      expr.span,
      `expected ${type.shape.length}, found ${at.length}`,
      { help: element === null ? null : `write \`${type.shape.length === 0 ? element.replace("[]", "") : element}\`` },
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
        const back = index.kind === "constant" && index.value < 0 ? -index.value : null;
        const last = back === null ? null : `counted from the end it is \`${printSize(size)} - ${back}\``;
        return fail(
          frame,
          "E416",
          `this index is always out of range: axis ${axis} of ${named(expr.base)} is 0 .. ${printSize(size)}`,
          where,
          last === null ? `not below ${printSize(size)}` : "below 0",
          { help: last },
        );
      }
      guarded = true;
    }
    indices.push(index);
  }
  return scalarElement({ kind: "load", tensor: value, at: indices, dtype: type.dtype, guarded }, type.dtype);
}

/** `share[w]` of what was measured: that of the loop's layer. */
function ownMeasured(expr: Extract<Expr, { kind: "index" }>, value: ValueId, { frame, scope }: Place): ValueId | null {
  const [at, ...rest] = expr.at;
  if (at?.kind !== "name" || rest.length > 0 || peek(scope, at.name)?.binding.kind !== "layer") return null;
  return frame.layer?.own(value, expr.span) ?? null;
}

/** A number of a constant table; of an index below the first or beyond the last, that one. */
function checkTableElement(
  expr: Extract<Expr, { kind: "index" }>,
  values: readonly number[],
  place: Place,
): Element | null {
  const [first, ...more] = expr.at;
  if (expr.base.kind === "name") lookup(place.scope, expr.base.name);
  if (first === undefined || more.length > 0)
    return fail(
      place.frame,
      "E303",
      `${named(expr.base)} has 1 axis, and is indexed with ${expr.at.length}`,
      expr.span,
      `expected 1, found ${expr.at.length}`,
    );
  const index = checkIndex(first, place);
  if (index === null) return null;
  if (index.kind === "constant" && (index.value < 0 || index.value >= values.length))
    return fail(
      place.frame,
      "E416",
      `this index is always out of range: ${named(expr.base)} is 0 .. ${values.length}`,
      first.span,
      index.value < 0 ? "below 0" : `not below ${values.length}`,
    );
  const find = (low: number, high: number): Scalar => {
    if (high - low === 1) return { kind: "constant", value: Math.fround(values[low]!), dtype: "f32" };
    const middle = (low + high) >> 1;
    const bound: Scalar = { kind: "constant", value: middle, dtype: "i32" };
    return {
      kind: "select",
      condition: { kind: "binary", op: "less", a: index, b: bound, dtype: "bool" },
      then: find(low, middle),
      otherwise: find(middle, high),
      dtype: "f32",
    };
  };
  return scalarElement(find(0, values.length), "f32");
}

/** `x[n][k]`: all indices stand in one pair of brackets. A statistic has two, `x2[w][k]`. */
function failNested(
  expr: Extract<Expr, { kind: "index" }>,
  inner: Extract<Expr, { kind: "index" }>,
  place: Place,
): Element | null {
  const { frame } = place;
  const text = (span: Span): string => sourceOf(span, place);
  const at = [...inner.at, ...expr.at].map((index) => text(index.span)).join(", ");
  return fail(frame, "E303", "all indices of an element stand in one pair of brackets", expr.span, "two pairs", {
    help: `write \`${text(inner.base.span)}[${at}]\``,
  });
}

/** Checks an index of a tensor: an i32, or an u32 that is converted. */
export function checkIndex(expr: Expr, place: Place): Scalar | null {
  if (expr.kind === "name" && peek(place.scope, expr.name) === null && !place.frame.file.functions.has(expr.name))
    return failIndex(expr, place);
  const element = checkElement(expr, place);
  if (element === null) return null;
  if (element.kind === "scalar" && element.dtype === "u32") return { kind: "cast", a: element.scalar, dtype: "i32" };
  return convert(element, "i32", expr.span, place);
}

function named(base: Expr): string {
  return base.kind === "name" ? `\`${base.name}\`` : "this tensor";
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
      { help: `convert it: \`f32(${sourceOf(operand.span, place)})\`` },
    );
  if (rule === "numeric" && settled.dtype === "bool")
    return fail(place.frame, "E304", `\`${op}\` takes numbers, found bool`, operand.span, "this is bool");
  const dtype = rule === "bits" ? "u32" : rule === "from-bits" ? "f32" : settled.dtype;
  return scalarElement({ kind: "unary", op, a: settled.scalar, dtype }, dtype);
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
    {
      help:
        element.kind === "number" && Number.isInteger(element.value)
          ? `write it as an integer: \`${element.value}\``
          : place.frame.layer !== null && element.kind !== "number"
            ? `what a run computes chooses by branches: \`if ... { store ${place.frame.layer.name} as ... } else { ... }\``
            : "sizes are made of integers, size symbols and `size` parameters",
    },
  );
}
