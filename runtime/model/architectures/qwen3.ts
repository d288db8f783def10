import {
  gain,
  noBiases,
  plainLayout,
  plainTensors,
  refuseTrue,
  windowsByLayer,
  type Architecture,
} from "./architecture.js";

/** Qwen3 (Yang et al. 2025), the dense ones. */
export const qwen3: Architecture = {
  title: "Qwen3",
  modelType: "qwen3",
  className: "Qwen3ForCausalLM",
  gguf: "qwen3",
  defaults: { keyValueHeads: 32, headDim: 128 },
  particulars(fields, layers, unsupported) {
    refuseTrue(fields, ["attention_bias"], unsupported);
    return { windows: windowsByLayer(fields, layers, unsupported), biases: noBiases };
  },
  block: (config, index) => ({
    function: "block_qwen3",
    tensors: [
      ...plainTensors(config, false),
      gain("self_attn.q_norm", "attn_q_norm", "q_gain", config.headDim),
      gain("self_attn.k_norm", "attn_k_norm", "k_gain", config.headDim),
    ],
    ...plainLayout(config, index),
  }),
};
