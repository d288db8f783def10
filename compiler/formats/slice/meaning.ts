/**
 * `slice(offset) of f16`: numbers that begin `offset` words into a tensor. No tensor is stored so by itself: it is how an
 * equation reads a part of one whose format has several tensors in it.
 */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { f16Format } from "../dense/meaning.js";
import type { Format } from "../format.js";

/** Where a slice begins, in words: a multiple of 4. */
export function offsetOf(spec: FormatSpec): number {
  const offset = spec.args["offset"];
  if (typeof offset !== "number") throw new InternalError("a slice that begins nowhere");
  return offset;
}

/** The spec of numbers in f16 from that word on. */
export function sliceSpec(offset: number): FormatSpec {
  return { name: "slice", args: { offset }, of: { name: "f16", args: {}, of: null } };
}

const half: FormatSpec = { name: "f16", args: {}, of: null };

function refuse(): never {
  throw new InternalError("a slice is a part of a tensor, and not one by itself");
}

export const sliceFormat: Format = {
  name: "slice",
  example: "",
  parameters: [{ kind: "label", name: "offset" }],
  normalize: (spec) => spec,
  packsOnHost: false,
  readOnly: true,
  elementwise: true,
  complete: (spec) => spec,
  check: () => null,
  pattern: () => null,
  grid: () => null,
  sections: (spec, shape) =>
    f16Format.sections(half, shape).map((section) => ({ ...section, offset: section.offset + offsetOf(spec) })),
  encode: refuse,
  decode: (spec, shape, words) => f16Format.decode(half, shape, words.subarray(offsetOf(spec))),
  unit: (_, shape) => f16Format.unit(half, shape),
  element: null,
  dense: null,
};
