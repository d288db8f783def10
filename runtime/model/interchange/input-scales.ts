/** Scales of what layers receive, as compressed-tensors stores them: `input_scale`, one number a layer. */
import { isActivationScale, type ActivationFormat } from "../../../compiler/types/activation-format.js";
import { layerError, readFloats, scaleTypes, tensorOf, type LayerTensors, type Module } from "./layer.js";
import { bytesOf, type WrittenPart } from "./written.js";

/** In what a config says that a layer takes what it multiplies; the scale of `tensor` lies beside its weight. */
export type AskedActivations =
  | Extract<ActivationFormat, { readonly group: number | "token" }>
  | { readonly name: "int8"; readonly group: "tensor" };

/** The tensors of a layer that are of its activations. */
export const inputParts = ["input_scale", "input_zero_point"] as const;

/**
 * The format with its scale.
 * @throws ModelError M135 (no scale, or of another shape), M136 (no number to divide by, or a zero point)
 */
export async function withInputScale(
  module: Module,
  asked: AskedActivations,
  tensors: LayerTensors,
): Promise<ActivationFormat> {
  if (asked.group !== "tensor") return asked;
  const [scale] = await readFloats(tensorOf(module, tensors, "input_scale", scaleTypes, [[1], []]));
  if (!isActivationScale(scale))
    throw layerError("M136", module, `its \`input_scale\` is ${scale}, and should be at least 2^-126 and finite`);
  if (tensors.has("input_zero_point")) {
    const zero = await tensorOf(module, tensors, "input_zero_point", ["I8"], [[1], []]).read();
    if (zero[0] !== 0)
      throw layerError(
        "M136",
        module,
        `its \`input_zero_point\` is ${(zero[0]! << 24) >> 24}, and symmetric activations have 0`,
      );
  }
  return { ...asked, scale };
}

/** The scale as a tensor beside a layer, and its bytes; null where none is stored. */
export function writtenScale(
  format: ActivationFormat | undefined,
): (WrittenPart & { readonly bytes: Uint8Array }) | null {
  return format?.group === "tensor"
    ? { part: "input_scale", dtype: "F32", shape: [1], bytes: bytesOf(Float32Array.of(format.scale)) }
    : null;
}
