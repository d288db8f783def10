import type { Span } from "../diagnostic.js";
import type { Scalar } from "../graph/graph.js";
import { type DtypeRef, isFloat, printDtype, sameDtype } from "../types/dtype.js";
import { constantSize, type Size, sizeValue } from "../types/size.js";
import { sizeScalar } from "./builder.js";
import { type Element, fail, type Place, sourceOf } from "./frame.js";

/** An element that is a scalar of the Graph. */
export function scalarElement(scalar: Scalar, dtype: DtypeRef): Element {
  return { kind: "scalar", scalar, dtype };
}

/** What a size is as an element. */
export function sizeElement(size: Size): Element {
  const value = sizeValue(size);
  return value === null ? { kind: "size", size } : { kind: "number", value, integer: true };
}

/** The scalar of a given dtype that an element is; a number adapts, anything else must have the dtype. */
export function convert(element: Element, dtype: DtypeRef, span: Span, place: Place): Scalar | null {
  switch (element.kind) {
    case "number": {
      if (dtype === "bool")
        return fail(place.frame, "E301", `expected bool, found the number ${element.value}`, span, "a number", {
          help: "compare it: `x != 0`",
        });
      if (!isFloat(dtype) && !element.integer)
        return fail(
          place.frame,
          "E302",
          `${textOf(element)} is not an integer, and ${printDtype(dtype)} is expected`,
          span,
          `expected ${printDtype(dtype)}`,
        );
      if (
        (dtype === "u32" && (element.value < 0 || element.value > 4294967295)) ||
        (dtype === "i32" && (element.value < -2147483648 || element.value > 2147483647))
      ) {
        return fail(
          place.frame,
          "E302",
          `${element.value} is not in the range of ${printDtype(dtype)}`,
          span,
          `too ${element.value < 0 ? "small" : "large"} for ${printDtype(dtype)}`,
        );
      }
      return { kind: "constant", value: element.value, dtype };
    }
    case "size":
      if (dtype === "i32") return sizeScalar(element.size);
      return fail(
        place.frame,
        "E301",
        `expected ${printDtype(dtype)}, found a size, which is i32`,
        span,
        `i32, expected ${printDtype(dtype)}`,
        { help: castHelp(dtype, span, place) },
      );
    case "scalar":
      if (sameDtype(element.dtype, dtype)) return element.scalar;
      return fail(
        place.frame,
        "E301",
        `expected ${printDtype(dtype)}, found ${printDtype(element.dtype)}`,
        span,
        `${printDtype(element.dtype)}, expected ${printDtype(dtype)}`,
        { help: castHelp(dtype, span, place) },
      );
    default:
      return element satisfies never;
  }
}

function castHelp(dtype: DtypeRef, span: Span, place: Place): string {
  const text = sourceOf(span, place);
  return dtype === "bool" ? `compare it: \`(${text} != 0)\`` : `convert it: \`${printDtype(dtype)}(${text})\``;
}

/**
 * The scalar that an element is, of the wanted dtype if one is given; a number alone is i32 if it is written as an
 * integer, else f32.
 */
export function settle(
  element: Element,
  dtype: DtypeRef | null,
  span: Span,
  place: Place,
): { readonly scalar: Scalar; readonly dtype: DtypeRef } | null {
  const wanted = dtype ?? ownDtype(element);
  const scalar = convert(element, wanted, span, place);
  return scalar === null ? null : { scalar, dtype: wanted };
}

/** The dtype of an element on its own. */
export function ownDtype(element: Element): DtypeRef {
  switch (element.kind) {
    case "number":
      return element.integer ? "i32" : "f32";
    case "size":
      return "i32";
    case "scalar":
      return element.dtype;
    default:
      return element satisfies never;
  }
}

/** A number as text; `1.0` where it was not written as an integer. */
export function textOf(element: Extract<Element, { kind: "number" }>): string {
  return Number.isInteger(element.value) && !element.integer ? element.value.toFixed(1) : String(element.value);
}

/** The size that an element is, or null. */
export function elementSize(element: Element): Size | null {
  if (element.kind === "size") return element.size;
  return element.kind === "number" && element.integer ? constantSize(element.value) : null;
}
