/** Dense safetensors, which any tool loads. */
import type { FloatType } from "../elements.js";
import type { Model } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { plainConfig, type DirectoryExport, type PlanOptions } from "./plan.js";
import { exactType, plannedDense } from "./values.js";

const names = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * Every tensor in `type`, or where that is not said in the smallest type that holds its values; the config names the one
 * that holds all.
 */
export function planDense(
  model: Model,
  options: PlanOptions & { readonly type: FloatType | null },
): DirectoryExport<TensorLayout> {
  const types = model.tensors.map((tensor) => options.type ?? exactType(tensor));
  const [first, ...others] = new Set(types);
  const widest: FloatType = others.length === 0 ? (first ?? "F32") : "F32";
  const raw = plainConfig(model);
  const { torch_dtype: _, dtype: __, ...rest } = raw;
  const field = raw["torch_dtype"] !== undefined ? "torch_dtype" : "dtype";
  return {
    tensors: model.tensors.map((tensor, at) => plannedDense(model, tensor, types[at]!, options)),
    config: { ...rest, [field]: names[widest] },
    texts: new Map(),
    notes: [],
  };
}
