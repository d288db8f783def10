/** The tensors that a model consists of, by its config. */
import type { BlockLayout, BlockTensor } from "./architectures/architecture.js";
import { architectureOf } from "./architectures/registry.js";
import type { LlamaConfig } from "./config.js";

export type { BlockLayout } from "./architectures/architecture.js";

/** A linear layer: its weight is `[outputs, inputs]`. */
export interface Linear {
  /** The module's name: `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** The tensor's name: the module's and `.weight`. */
  readonly weight: string;
  /** The parameter of the block's function that the weight is given for. */
  readonly parameter: string;
  readonly block: number;
  readonly outputs: number;
  readonly inputs: number;
}

/** A tensor of a block that is no weight of a linear layer: a gain or a bias. */
export interface Vector {
  /** `model.layers.0.input_layernorm.weight`. */
  readonly name: string;
  readonly parameter: string;
  readonly length: number;
}

/** A transformer block (a layer in the words of `config.json`). */
export interface Block {
  readonly index: number;
  /** `model.layers.0`. */
  readonly name: string;
  readonly layout: BlockLayout;
  /** q, k, v, o, gate, up, down. */
  readonly linears: readonly Linear[];
  readonly vectors: readonly Vector[];
}

export const embeddingName = "model.embed_tokens.weight";
export const headName = "lm_head.weight";
export const normName = "model.norm.weight";

/** Their names in a GGUF file. */
const outer: ReadonlyMap<string, string> = new Map([
  [embeddingName, "token_embd.weight"],
  [normName, "output_norm.weight"],
  [headName, "output.weight"],
]);

/** Names and shapes of the tensors that a model of this config consists of. */
export function expectedTensors(config: LlamaConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize, vocabSize } = config;
  const tensors = new Map<string, readonly number[]>([[embeddingName, [vocabSize, hiddenSize]]]);
  for (const { name, tensor } of blockTensors(config)) tensors.set(name, tensor.shape);
  tensors.set(normName, [hiddenSize]);
  if (!config.tiedEmbeddings) tensors.set(headName, [vocabSize, hiddenSize]);
  return tensors;
}

/** A tensor by its name in the files of Hugging Face, and where it comes from. */
interface NamedTensor {
  readonly name: string;
  readonly gguf: string;
  readonly tensor: BlockTensor;
}

function blockTensors(config: LlamaConfig): readonly NamedTensor[] {
  const architecture = architectureOf(config);
  return Array.from({ length: config.layers }, (_, index) =>
    architecture.block(config, index).tensors.map((tensor) => ({
      name: `${blockName(index)}.${tensor.name}`,
      gguf: `blk.${index}.${tensor.gguf}`,
      tensor,
    })),
  ).flat();
}

function blockName(index: number): string {
  return `model.layers.${index}`;
}

/** How a GGUF file has a tensor. */
export interface GgufName {
  /** The name that Hugging Face has for it. */
  readonly name: string;
  readonly gguf: string;
  /** Whether the two halves of each head are interleaved there. */
  readonly interleaved: boolean;
}

/** The tensors of a model, the head among them where it is tied or not, as a GGUF file has them. */
export function ggufNames(config: LlamaConfig): readonly GgufName[] {
  return [
    ...[...outer].map(([name, gguf]) => ({ name, gguf, interleaved: false })),
    ...blockTensors(config).map(({ name, gguf, tensor }) => ({
      name,
      gguf,
      interleaved: tensor.interleaved === true,
    })),
  ];
}

/** The blocks and their linear layers. */
export function blocksOf(config: LlamaConfig): readonly Block[] {
  const architecture = architectureOf(config);
  return Array.from({ length: config.layers }, (_, index) => {
    const name = blockName(index);
    const layout = architecture.block(config, index);
    return {
      index,
      name,
      layout,
      linears: layout.tensors.flatMap(({ name: part, parameter, shape: [outputs, inputs] }) =>
        outputs === undefined || inputs === undefined
          ? []
          : [
              {
                name: `${name}.${part.replace(/\.weight$/, "")}`,
                weight: `${name}.${part}`,
                parameter,
                block: index,
                outputs,
                inputs,
              },
            ],
      ),
      vectors: layout.tensors.flatMap(({ name: part, parameter, shape: [length, inputs] }) =>
        length === undefined || inputs !== undefined ? [] : [{ name: `${name}.${part}`, parameter, length }],
      ),
    };
  });
}
