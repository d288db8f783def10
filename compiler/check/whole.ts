import type { Span } from "../diagnostic.js";
import type { Scalar, ValueId } from "../graph/graph.js";
import { freeIndices } from "../graph/scalar.js";
import type { Expr, Ident } from "../syntax/ast.js";
import { printDtype, type DtypeRef } from "../types/dtype.js";
import { constantSize, printSize, sizeValue, subtractSizes, type Size } from "../types/size.js";
import { full } from "../types/type.js";
import { addEqn, addMap, indexScalar, loadAt, newAxis, typeOf } from "./builder.js";
import { checkCall } from "./call.js";
import { checkElement, compileTimeSize } from "./element.js";
import { convert, scalarElement, settle } from "./conversion.js";
import { demand, elementOf, fail, placeIn, printType, type Element, type Place } from "./frame.js";
import { checkFactorization, isFactorization } from "./factorization.js";
import { checkGradient } from "./gradient.js";
import { indexNames } from "./index-names.js";
import { checkCorrection } from "./low-rank.js";
import { checkPack } from "./pack.js";
import { failMemberOfVector, failStatisticOf } from "./tensors.js";
import { checkLayerNumber, checkParameter } from "./parameter.js";
import { lookup, peek } from "./scope.js";
import { equalSizes, soleSymbol } from "./sizes.js";
import { namedValues } from "./named-values.js";
import { failName, failMeasured, failStatistic } from "./unknown.js";

/**
 * What an expression outside index notation gives: tensors (several, of a function with several results), or a scalar.
 */
export type Whole =
  | { readonly kind: "values"; readonly values: readonly ValueId[] }
  | { readonly kind: "element"; readonly element: Element };

/** Checks an expression outside index notation. Null where it is wrong, which is reported. */
export function checkWhole(expr: Expr, place: Place): Whole | null {
  const { frame, scope } = place;
  switch (expr.kind) {
    case "name": {
      const binding = lookup(scope, expr.name);
      if (binding?.kind === "tensor") return values([binding.value]);
      if (binding?.kind === "layer" && frame.layer !== null) return values([frame.layer.weight()]);
      if (binding?.kind === "statistic") return failStatistic(expr, place);
      if (binding === null && !frame.file.functions.has(expr.name)) return failName(expr, place);
      break;
    }
    case "member":
      if (expr.base.kind === "name" && peek(scope, expr.base.name)?.binding.kind === "layer" && frame.layer !== null) {
        lookup(scope, expr.base.name);
        if (checkLayerNumber(expr, place) !== null) break;
        if (expr.field.name === "dense") return values([frame.layer.original()]);
        if (expr.field.name === "start" && frame.layer.start !== null) return values([frame.layer.start()]);
        if (frame.layer.of === "vector") return failMemberOfVector(expr, frame);
        if (expr.field.name === "packed") return values([frame.layer.packed()]);
        if (expr.field.name === "left" || expr.field.name === "right")
          return values([frame.layer.factor(expr.field.name)]);
        return fail(frame, "E207", `a layer has no \`${expr.field.name}\``, expr.field.span, "no such member", {
          help:
            frame.layer.start !== null
              ? "`.start` is its weight as the training began, `.dense` as it was given"
              : expr.field.name === "start"
                ? `within \`train\`, \`.start\` is the weight as the training began; here \`${expr.base.name}\` is the weight as it is`
                : expr.field.name === "step" || expr.field.name === "steps"
                  ? `\`.${expr.field.name}\` is of a training: within \`train\``
                  : "`.dense` is its weight as it was given, `.packed` as it is stored, `.left` and `.right` a correction's factors",
        });
      }
      break;
    case "index":
      if (expr.base.kind === "name" && peek(scope, expr.base.name)?.binding.kind === "unknown") return null;
      if (expr.base.kind === "name" && peek(scope, expr.base.name)?.binding.kind === "statistic")
        return oneOf(checkStatistic(expr, expr.base.name, place));
      break;
    case "call":
      if (frame.file.functions.has(expr.callee.name)) {
        const results = checkCall(expr, place);
        return results === null ? null : values(results);
      }
      if (expr.callee.name === "parameter") return oneOf(checkParameter(expr, place));
      if (isFactorization(expr.callee.name)) return oneOf(checkFactorization(expr, expr.callee.name, place));
      break;
    case "where": {
      const value = checkWhole(expr.value, place);
      if (value === null) {
        checkWhole(expr.mask, place);
        return null;
      }
      if (value.kind === "element") return checkScalarWhere(value.element, expr, place);
      const mask = checkTensor(expr.mask, place);
      const tensor = single(value, expr.value.span, place);
      return mask === null || tensor === null ? null : oneOf(maskTensor(tensor, mask, expr, place));
    }
    case "top": {
      const score = checkTensor(expr.score, place);
      if (score === null) return null;
      const axis = axisOf(expr.axis, typeOf(frame.builder, score).shape, place);
      return axis === null ? null : oneOf(addTop("keep", score, axis, expr, place));
    }
    case "pack":
      return oneOf(checkPack(expr, place));
    case "plus":
      return oneOf(checkCorrection(expr, place));
    case "unpack": {
      const packed = checkTensor(expr.value, place);
      return packed === null ? null : values([unpack(packed, expr.span, place)]);
    }
    case "gradient": {
      const found = checkGradient(expr, place);
      return found === null ? null : values(found);
    }
    case "observe":
      return fail(
        frame,
        "E602",
        "`observe` stands alone, in a loop over blocks: `let x2 = observe block on text by feature_squares`",
        expr.span,
        "not here",
        {
          help:
            frame.layer === null
              ? "in a recipe, inside `for block in model.blocks { }`"
              : `put it before the loop over \`${frame.layer.name}\`: it observes a block, and \`x2[${frame.layer.name}]\` is what the layer receives`,
        },
      );
    case "string":
    case "number":
    case "boolean":
    case "unary":
    case "binary":
    case "reduce":
    case "matches":
      break;
    default:
      expr satisfies never;
  }
  const element = checkElement(expr, place);
  return element === null ? null : { kind: "element", element };
}

/**
 * Checks an expression that must give one tensor; a scalar becomes a tensor without axes, of the dtype if one is given.
 */
export function checkTensor(expr: Expr, place: Place, dtype: DtypeRef | null = null): ValueId | null {
  const whole = checkWhole(expr, place);
  if (whole === null) return null;
  if (whole.kind === "values") return single(whole, expr.span, place);
  const settled = settle(whole.element, dtype, expr.span, place);
  return settled === null ? null : materialize(settled.scalar, settled.dtype, "value", expr.span, place);
}

/** The tensor without axes that a scalar is; it must not depend on an index. */
export function materialize(scalar: Scalar, dtype: DtypeRef, name: string, span: Span, place: Place): ValueId | null {
  if (scalar.kind === "load" && scalar.at.length === 0) return scalar.tensor;
  if ([...freeIndices(scalar)].some((index) => !place.frame.builder.steps.has(index)))
    return fail(
      place.frame,
      "E306",
      "a value outside index notation cannot depend on an index",
      span,
      "uses an index",
      { help: "give it a name with its indices first: `let a[n, k] = ...`" },
    );
  return addMap(place.frame.builder, name, span, dtype, [], scalar);
}

/** The tensor that index notation indexes: a name, or a whole expression in brackets, which is checked once. */
export function wholeBase(base: Expr, place: Place): ValueId | null {
  const { frame, scope } = place;
  if (base.kind !== "name") {
    const known = place.wholes.get(base);
    if (known !== undefined) return known;
    const value = checkTensor(base, { ...placeIn(frame, scope), wholes: place.wholes });
    place.wholes.set(base, value);
    return value;
  }
  const binding = lookup(scope, base.name);
  if (binding === null) {
    if (frame.file.functions.has(base.name))
      return fail(frame, "E305", `\`${base.name}\` is a function, not a tensor`, base.span, "call it with `(...)`");
    return failName(base, place);
  }
  switch (binding.kind) {
    case "tensor":
      return binding.value;
    case "layer":
      return (
        frame.layer?.weight() ??
        fail(
          frame,
          "E606",
          `the weight \`${base.name}\` is known only when the recipe runs`,
          base.span,
          "not known here",
        )
      );
    case "unknown":
      return null;
    case "statistic":
      return fail(frame, "E305", `\`${base.name}\` has a statistic for each layer`, base.span, "of which layer?", {
        help: `write \`${base.name}[${frame.layer?.name ?? "w"}][...]\``,
      });
    case "measured":
      return failMeasured(base, place);
    case "size":
    case "number":
    case "boolean":
    case "index":
    case "scalar":
      return fail(
        frame,
        "E305",
        `\`${base.name}\` is a single value and has no axes`,
        base.span,
        elementOf(binding, frame.builder)?.kind === "number" ? "a number" : "not a tensor",
      );
    case "model":
    case "text":
    case "block":
    case "table":
    case "string":
      return fail(frame, "E305", `\`${base.name}\` is not a tensor`, base.span, `a ${binding.kind}`);
    default:
      return binding satisfies never;
  }
}

function values(list: readonly ValueId[]): Whole {
  return { kind: "values", values: list };
}

function oneOf(value: ValueId | null): Whole | null {
  return value === null ? null : values([value]);
}

function single(whole: Extract<Whole, { kind: "values" }>, span: Span, place: Place): ValueId | null {
  const [value, ...rest] = whole.values;
  if (value === undefined)
    return fail(place.frame, "E305", "this call has no result", span, "only changes its `var` arguments");
  if (rest.length > 0)
    return fail(
      place.frame,
      "E303",
      `one value is expected, and this call has ${whole.values.length} results`,
      span,
      `${whole.values.length} results`,
      { help: "name them: `let a, b = ...`" },
    );
  return value;
}

function checkStatistic(expr: Extract<Expr, { kind: "index" }>, name: string, place: Place): ValueId | null {
  const { frame, scope } = place;
  const binding = lookup(scope, name);
  const [at, ...rest] = expr.at;
  const isLayer = at?.kind === "name" && lookup(scope, at.name)?.kind === "layer" && rest.length === 0;
  if (binding?.kind !== "statistic" || !isLayer || frame.layer === null) {
    return fail(frame, "E305", `\`${name}\` is indexed by a layer`, expr.span, "not by this", {
      help: frame.layer === null ? "inside `for w in block.linears`" : `write \`${name}[${frame.layer.name}]\``,
    });
  }
  if (frame.layer.of !== "linear") return failStatisticOf(frame.layer, name, expr.span, frame);
  if (frame.layer.start !== null)
    return fail(frame, "E602", `\`${name}\` was observed before the training`, expr.span, "not in a training", {
      help: `choose masks and scales before it: within, \`${frame.layer.name}.start\` is the weight as it was stored then`,
    });
  const moved = frame.layer.permutedSince(binding.observe);
  if (moved !== null)
    return fail(
      frame,
      "E602",
      `\`${name}\` was observed before channels changed places`,
      expr.span,
      "of the old order",
      {
        labels: [{ span: moved, message: "changed here" }],
        help: "observe again after it",
      },
    );
  return frame.layer.statistic(binding.observe);
}

function checkScalarWhere(value: Element, expr: Extract<Expr, { kind: "where" }>, place: Place): Whole | null {
  const mask = checkElement(expr.mask, place);
  const then = settle(value, null, expr.value.span, place);
  const condition = mask === null ? null : convert(mask, "bool", expr.mask.span, place);
  if (condition === null || then === null) return null;
  const otherwise: Scalar = { kind: "constant", value: 0, dtype: then.dtype };
  return {
    kind: "element",
    element: scalarElement({ kind: "select", condition, then: then.scalar, otherwise, dtype: then.dtype }, then.dtype),
  };
}

/** `w where keep`: zero where the mask is false. */
function maskTensor(
  tensor: ValueId,
  mask: ValueId,
  expr: Extract<Expr, { kind: "where" }>,
  place: Place,
): ValueId | null {
  const { frame } = place;
  const { builder } = frame;
  const [type, maskType] = [typeOf(builder, tensor), typeOf(builder, mask)];
  if (maskType.dtype !== "bool")
    return fail(
      frame,
      "E301",
      `a mask is expected after \`where\`, found ${printType(maskType)}`,
      expr.mask.span,
      printDtype(maskType.dtype),
      { help: "make one by comparing or with `top`" },
    );
  const same =
    type.shape.length === maskType.shape.length &&
    type.shape.every((size, axis) => equalSizes(size, maskType.shape[axis] ?? constantSize(0), builder.constraints));
  if (!same)
    return fail(
      frame,
      "E413",
      `a mask has the shape of what it masks, [${type.shape.map(printSize).join(", ")}], and this one is ${printType(maskType)}`,
      expr.mask.span,
      printType(maskType),
      {
        labels: [{ span: expr.value.span, message: printType(type) }],
        help: broadcastHelp(expr, type.shape, maskType.shape, place),
      },
    );
  const axes = type.shape.map((size, axis) => newAxis(builder, `i${axis}`, size));
  const at = axes.map(indexScalar);
  const body: Scalar = {
    kind: "select",
    condition: loadAt(builder, mask, at),
    then: loadAt(builder, tensor, at),
    otherwise: { kind: "constant", value: 0, dtype: type.dtype },
    dtype: type.dtype,
  };
  return addMap(builder, "masked", expr.span, type.dtype, axes, body);
}

/** How a mask of other axes is meant, where each of them is one of the tensor's: element by element. */
function broadcastHelp(
  { value, mask }: Extract<Expr, { kind: "where" }>,
  shape: readonly Size[],
  maskShape: readonly Size[],
  place: Place,
): string | null {
  const names = indexNames(shape);
  const axes = maskShape.map((size) =>
    shape.findIndex((other) => equalSizes(size, other, place.frame.builder.constraints)),
  );
  if (axes.includes(-1) || new Set(axes).size < axes.length) return null;
  const [w, keep] = [value, mask].map((expr) => (expr.kind === "name" ? expr.name : "..."));
  const at = axes.map((axis) => names[axis]).join(", ");
  return `say which element it masks: \`let kept[${names.join(", ")}] = ${w}[${names.join(", ")}] where ${keep}[${at}]\``;
}

/** The dense values of a tensor; itself where it is dense already. */
function unpack(packed: ValueId, span: Span, place: Place): ValueId {
  const { builder } = place.frame;
  const type = typeOf(builder, packed);
  if (type.format === null) return packed;
  const axes = type.shape.map((size, axis) => newAxis(builder, `i${axis}`, size));
  return addMap(builder, "dense", span, type.dtype, axes, loadAt(builder, packed, axes.map(indexScalar)));
}

/** Adds the mask of `top n of m` along an axis. */
export function addTop(
  name: string,
  score: ValueId,
  axis: number,
  expr: Extract<Expr, { kind: "top" }>,
  place: Place,
): ValueId | null {
  const { frame } = place;
  const n = compileTimeSize(expr.n, place);
  const m = compileTimeSize(expr.m, place);
  const type = typeOf(frame.builder, score);
  const length = type.shape[axis];
  if (n === null || m === null || length === undefined) return null;
  if (type.dtype === "bool")
    return fail(frame, "E304", "`top` ranks numbers, found a mask", expr.score.span, printType(type));
  const [low, high] = [sizeValue(n), sizeValue(m)];
  const never = (low !== null && low < 1) || (high !== null && high < 1) || (sizeValue(subtractSizes(n, m)) ?? 0) > 0;
  if (never)
    return fail(
      frame,
      "E408",
      `\`top ${printSize(n)} of ${printSize(m)}\` is impossible: of each group at least one and at most all are kept`,
      expr.span,
      "not possible",
      { labels: namedValues([expr.n, expr.m], place) },
    );
  if (
    !demand(frame, { kind: "divides", left: length, right: m }, expr.span, `\`top ${printSize(n)} of ${printSize(m)}\``)
  )
    return null;
  return addEqn(
    frame.builder,
    name,
    expr.span,
    { dtype: "bool", shape: type.shape, pattern: full, format: null },
    (out) => ({ kind: "top", out, score, n, m, axis }),
  );
}

/** The axis that a name or number means: the one whose size is that symbol, case ignored. */
export function axisOf(axis: Ident, shape: readonly Size[], place: Place): number | null {
  const { frame } = place;
  const printed = shape.map(printSize).join(", ");
  if (/^\d+$/.test(axis.name)) {
    const number = Number(axis.name);
    if (number < shape.length) return number;
    return fail(
      frame,
      "E417",
      `there is no axis ${number} in a shape of ${shape.length}`,
      axis.span,
      `the shape is [${printed}]`,
    );
  }
  const found = shape.flatMap((size, at) => (soleSymbol(size)?.toLowerCase() === axis.name.toLowerCase() ? [at] : []));
  const [first, ...others] = found;
  if (first === undefined)
    return fail(frame, "E417", `no axis has the size \`${axis.name}\``, axis.span, `the shape is [${printed}]`, {
      help: "name an axis by its size, or by its number: `along 1`",
    });
  if (others.length > 0)
    return fail(
      frame,
      "E417",
      `axes ${found.join(" and ")} both have the size \`${axis.name.toUpperCase()}\``,
      axis.span,
      `the shape is [${printed}]`,
      { help: `give the number of the axis: ${found.map((at) => `\`along ${at}\``).join(" or ")}` },
    );
  return first;
}
