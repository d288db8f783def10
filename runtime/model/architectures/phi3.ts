import { gain, noBiases, plainLayout, windowOf, type Architecture, type BlockTensor } from "./architecture.js";

/** Phi-3 (Abdin et al. 2024): one product for queries, keys and values, one for the gate and what it gates. */
export const phi3: Architecture = {
  title: "Phi-3",
  modelType: "phi3",
  className: "Phi3ForCausalLM",
  gguf: "phi3",
  defaults: { normEpsilon: 1e-5 },
  particulars: (fields, layers) => ({ windows: windowOf(fields, layers), biases: noBiases }),
  block(config, index) {
    const { hiddenSize, intermediateSize, heads, keyValueHeads, headDim } = config;
    const linear = (name: string, gguf: string, parameter: string, outputs: number, inputs: number): BlockTensor => ({
      name: `${name}.weight`,
      gguf: `${gguf}.weight`,
      parameter,
      shape: [outputs, inputs],
    });
    return {
      function: "block_phi3",
      tensors: [
        gain("input_layernorm", "attn_norm", "attention_gain", hiddenSize),
        gain("post_attention_layernorm", "ffn_norm", "mlp_gain", hiddenSize),
        linear("self_attn.qkv_proj", "attn_qkv", "wqkv", (heads + 2 * keyValueHeads) * headDim, hiddenSize),
        linear("self_attn.o_proj", "attn_output", "wo", hiddenSize, heads * headDim),
        linear("mlp.gate_up_proj", "ffn_up", "gate_up", 2 * intermediateSize, hiddenSize),
        linear("mlp.down_proj", "ffn_down", "down", hiddenSize, intermediateSize),
      ],
      ...plainLayout(config, index),
    };
  },
};
