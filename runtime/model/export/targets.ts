/** What a model is exported to, by the names that are given. */
export const exportTargets = [
  "safetensors",
  "compressed-tensors",
  "gptq",
  "awq",
  "marlin-24",
  "sparse-24-bitmask",
] as const;

export type ExportTarget = (typeof exportTargets)[number];
