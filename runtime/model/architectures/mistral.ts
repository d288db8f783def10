import { noBiases, plainLayout, plainTensors, windowOf, type Architecture } from "./architecture.js";

/** Mistral (Jiang et al. 2023): a Llama whose tokens see a window of those before. */
export const mistral: Architecture = {
  title: "Mistral",
  modelType: "mistral",
  className: "MistralForCausalLM",
  gguf: "llama",
  defaults: { keyValueHeads: 8 },
  particulars: (fields, layers) => ({ windows: windowOf(fields, layers), biases: noBiases }),
  block: (config, index) => ({ function: "block", tensors: plainTensors(config, true), ...plainLayout(config, index) }),
};
