/** The modules of the standard library, in the order in which they build on each other. */
export const standardModules = [
  "statistics",
  "prune",
  "quantize",
  "codebooks",
  "hqq",
  "solve",
  "lowrank",
  "gptq",
  "sparsegpt",
  "refine",
  "llama",
  "sampling",
  "serving",
  "compare",
  "train",
] as const;
