/** What a model is exported to, by the names that are given. */
export const exportTargets = [
  "safetensors",
  "gguf",
  "compressed-tensors",
  "gptq",
  "awq",
  "marlin-24",
  "sparse-24-bitmask",
  "sparse-bitmask",
] as const;

export type ExportTarget = (typeof exportTargets)[number];

/** The types of tensors that can be asked for: those of floats of dense safetensors, all of GGUF. */
export const exportTypes = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q4_k", "q6_k"] as const;

export type ExportType = (typeof exportTypes)[number];
