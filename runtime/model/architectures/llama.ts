import { bias, noWindows, plainLayout, plainTensors, qkvBiases, type Architecture } from "./architecture.js";

/** Llama (Touvron et al. 2023), with biases or without. */
export const llama: Architecture = {
  title: "Llama",
  modelType: "llama",
  className: "LlamaForCausalLM",
  gguf: "llama",
  particulars(fields, layers) {
    const attention = fields.boolean("attention_bias", false);
    const biases = { qkv: attention, o: attention, mlp: fields.boolean("mlp_bias", false) };
    return { windows: noWindows(layers), biases };
  },
  block(config, index) {
    const { biases, hiddenSize, intermediateSize } = config;
    const plain = { tensors: plainTensors(config, true), ...plainLayout(config, index) };
    if (!biases.qkv && !biases.o && !biases.mlp) return { function: "block", ...plain };
    const qkv = qkvBiases(config, true);
    const o = [bias("self_attn.o_proj", "attn_output", "o_bias", hiddenSize)];
    const mlp = [
      bias("mlp.gate_proj", "ffn_gate", "gate_bias", intermediateSize),
      bias("mlp.up_proj", "ffn_up", "up_bias", intermediateSize),
      bias("mlp.down_proj", "ffn_down", "down_bias", hiddenSize),
    ];
    const groups = [
      { has: biases.qkv, tensors: qkv },
      { has: biases.o, tensors: o },
      { has: biases.mlp, tensors: mlp },
    ];
    return {
      function: "block_biased",
      ...plain,
      tensors: [...plain.tensors, ...groups.flatMap(({ has, tensors }) => (has ? tensors : []))],
      zeros: groups.flatMap(({ has, tensors }) => (has ? [] : tensors)),
    };
  },
};
