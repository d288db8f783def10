/** The tensors that a Llama consists of, by its config. */
import type { LlamaConfig } from "./config.js";

/** A linear layer: its weight is `[outputs, inputs]`. */
export interface Linear {
  /** The module's name: `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** The tensor's name: the module's and `.weight`. */
  readonly weight: string;
  readonly block: number;
  readonly outputs: number;
  readonly inputs: number;
}

/** A transformer block (a layer in the words of `config.json`). */
export interface Block {
  readonly index: number;
  /** `model.layers.0`. */
  readonly name: string;
  /** q, k, v, o, gate, up, down. */
  readonly linears: readonly Linear[];
}

export const embeddingName = "model.embed_tokens.weight";
export const headName = "lm_head.weight";

/** Names and shapes of the tensors that a Llama of this config consists of. */
export function expectedTensors(config: LlamaConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize, vocabSize } = config;
  const tensors = new Map<string, readonly number[]>([[embeddingName, [vocabSize, hiddenSize]]]);
  for (const block of blocksOf(config)) {
    tensors.set(`${block.name}.input_layernorm.weight`, [hiddenSize]);
    tensors.set(`${block.name}.post_attention_layernorm.weight`, [hiddenSize]);
    for (const linear of block.linears) tensors.set(linear.weight, [linear.outputs, linear.inputs]);
  }
  tensors.set("model.norm.weight", [hiddenSize]);
  if (!config.tiedEmbeddings) tensors.set(headName, [vocabSize, hiddenSize]);
  return tensors;
}

/** The blocks and their linear layers. */
export function blocksOf(config: LlamaConfig): readonly Block[] {
  const { hiddenSize, intermediateSize } = config;
  const queries = config.heads * config.headDim;
  const keys = config.keyValueHeads * config.headDim;
  const shapes = [
    ["self_attn.q_proj", queries, hiddenSize],
    ["self_attn.k_proj", keys, hiddenSize],
    ["self_attn.v_proj", keys, hiddenSize],
    ["self_attn.o_proj", hiddenSize, queries],
    ["mlp.gate_proj", intermediateSize, hiddenSize],
    ["mlp.up_proj", intermediateSize, hiddenSize],
    ["mlp.down_proj", hiddenSize, intermediateSize],
  ] as const;
  return Array.from({ length: config.layers }, (_, index) => {
    const name = `model.layers.${index}`;
    return {
      index,
      name,
      linears: shapes.map(([part, outputs, inputs]) => ({
        name: `${name}.${part}`,
        weight: `${name}.${part}.weight`,
        block: index,
        outputs,
        inputs,
      })),
    };
  });
}
