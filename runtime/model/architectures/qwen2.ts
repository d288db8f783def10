import { plainLayout, plainTensors, qkvBiases, windowsByLayer, type Architecture } from "./architecture.js";

/** Qwen2 and Qwen2.5 (Yang et al. 2024). */
export const qwen2: Architecture = {
  title: "Qwen2",
  modelType: "qwen2",
  className: "Qwen2ForCausalLM",
  gguf: "qwen2",
  defaults: { keyValueHeads: 32 },
  particulars: (fields, layers, unsupported) => ({
    windows: windowsByLayer(fields, layers, unsupported),
    biases: { qkv: true, o: false, mlp: false },
  }),
  block: (config, index) => ({
    function: "block_qwen2",
    tensors: [...plainTensors(config, false), ...qkvBiases(config, false)],
    ...plainLayout(config, index),
  }),
};
