/** Models that are known by name: their `config.json`, as far as it says what shape they have. */
import type { JsonObject } from "../model/files.js";

const common = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  attention_bias: false,
  bos_token_id: 0,
  eos_token_id: 1,
  hidden_act: "silu",
  mlp_bias: false,
  rms_norm_eps: 1e-5,
  torch_dtype: "bfloat16",
};

/** By name; `bench/make-model.mjs` writes models of them to files. */
export const modelShapes: { readonly [name: string]: JsonObject } = {
  // Dubey et al. 2024, table 3
  "llama-3.1-8b": {
    ...common,
    head_dim: 128,
    hidden_size: 4096,
    intermediate_size: 14336,
    max_position_embeddings: 131072,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    rope_theta: 500000,
    tie_word_embeddings: false,
    vocab_size: 128256,
  },
  "llama-3.2-1b": {
    ...common,
    head_dim: 64,
    hidden_size: 2048,
    intermediate_size: 8192,
    max_position_embeddings: 131072,
    num_attention_heads: 32,
    num_hidden_layers: 16,
    num_key_value_heads: 8,
    rope_theta: 500000,
    tie_word_embeddings: true,
    vocab_size: 128256,
  },
  // Allal et al. 2025
  "smollm2-135m": {
    ...common,
    head_dim: 64,
    hidden_size: 576,
    intermediate_size: 1536,
    max_position_embeddings: 8192,
    num_attention_heads: 9,
    num_hidden_layers: 30,
    num_key_value_heads: 3,
    rope_theta: 100000,
    tie_word_embeddings: true,
    vocab_size: 49152,
  },
  // the model of examples/: small enough for a CPU
  "classics-3.7m": {
    ...common,
    head_dim: 32,
    hidden_size: 256,
    intermediate_size: 768,
    max_position_embeddings: 512,
    num_attention_heads: 8,
    num_hidden_layers: 4,
    num_key_value_heads: 4,
    rope_theta: 10000,
    tie_word_embeddings: true,
    vocab_size: 2048,
  },
};
