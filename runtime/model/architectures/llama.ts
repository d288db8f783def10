import { noBiases, noWindows, plainLayout, plainTensors, type Architecture } from "./architecture.js";

/** Llama (Touvron et al. 2023). */
export const llama: Architecture = {
  title: "Llama",
  modelType: "llama",
  className: "LlamaForCausalLM",
  gguf: "llama",
  particulars(fields, layers, unsupported) {
    for (const name of ["attention_bias", "mlp_bias"])
      if (fields.boolean(name, false))
        unsupported.push(`\`${name}\` is true: linear layers with a bias are not supported`);
    return { windows: noWindows(layers), biases: noBiases };
  },
  block: (config) => ({ function: "block", tensors: plainTensors(config, true), ...plainLayout(config) }),
};
