/**
 * Dense formats: f32, f16, bf16, and i32, u32 for whole numbers (their elements are read as f32, rounded above 2^24).
 * The words are the little-endian bytes of the row-major tensor, as a safetensors file has them.
 */
import { normalizeArguments } from "../arguments.js";
import { plainElements } from "../element.js";
import type { Format } from "../format.js";
import { plainFormat } from "../plain/meaning.js";

function denseFormat(name: keyof typeof plainElements): Format {
  return plainFormat({
    name,
    dense: name,
    parameters: [],
    normalize: (spec) =>
      spec.of === null ? normalizeArguments(spec, []) : `${name} stores single values; it takes no \`of\`.`,
    check: () => null,
    element: () => plainElements[name],
    grid: () => null,
  });
}

export const f32Format = denseFormat("f32");
export const f16Format = denseFormat("f16");
export const bf16Format = denseFormat("bf16");
export const i32Format = denseFormat("i32");
export const u32Format = denseFormat("u32");
