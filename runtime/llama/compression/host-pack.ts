/** Weights whose format is packed on the host. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { GridValues } from "../../../compiler/formats/format.js";
import { formatOf, formatOfSpec, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { withCorrectionApart } from "../../../compiler/graph/passes/correction.js";
import { withGridApart, type GridApart } from "../../../compiler/graph/passes/scales.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import { mapFormat, type FormatSpec, type SymbolicFormat } from "../../../compiler/types/type.js";
import type { Linear } from "../../model/model.js";
import { LlamaError } from "../error.js";
import { numberOf } from "./stored-pattern.js";

/** Sizes of a layer's weight, as treatments name them. */
export function sizesOf(linear: Linear): { readonly N: number; readonly K: number } {
  return { N: linear.outputs, K: linear.inputs };
}

/** A weight's words in a format that is packed on the host. */
export function encoded(
  linear: Linear,
  format: FormatSpec,
  dense: Float32Array,
  grid: GridValues | null,
): Uint32Array<ArrayBuffer> {
  try {
    return formatOfSpec(format).encode(format, shapeOf([linear.outputs, linear.inputs]), dense, grid);
  } catch (error) {
    if (error instanceof InternalError || !(error instanceof Error)) throw error;
    throw new LlamaError(
      "not-finite",
      `The weight ${linear.weight} cannot be stored as ${printFormat(format)}: ${error.message}`,
    );
  }
}

/** How a result is packed on the host. */
export interface HostPack extends GridApart {
  readonly format: FormatSpec;
}

/** For a treatment whose result has a format that is packed on the host: how. Else null. */
export function packsOnHost(treatment: Treatment): HostPack | null {
  const { graph } = withCorrectionApart(treatment.graph, treatment.stores ?? "");
  const output = graph.outputs.find(({ name }) => name === treatment.stores);
  const format = output === undefined ? null : graph.values[output.value]?.type.format;
  if (!format || "parameter" in format || formatOf(format.name)?.packsOnHost !== true) return null;
  const dense: SymbolicFormat = { name: "f32", args: {}, of: null };
  const values = graph.values.map((value) =>
    value.id === output?.value ? { ...value, type: { ...value.type, format: dense } } : value,
  );
  return {
    ...withGridApart({ ...graph, values }, treatment.stores ?? ""),
    format: mapFormat(format, (size) => numberOf(size, null)),
  };
}

/**
 * A bitmask with room for up to a thousandth more entries, so that layers of nearly as many share a format, and
 * kernels.
 */
export function roomier(format: FormatSpec, elements: number): FormatSpec {
  const { nonzeros } = format.args;
  if (typeof nonzeros !== "number") return format;
  const step = Math.max(1, Math.floor(elements / 1024));
  return { ...format, args: { ...format.args, nonzeros: Math.min(elements, Math.ceil(nonzeros / step) * step) } };
}
