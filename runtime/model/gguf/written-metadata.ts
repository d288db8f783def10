/** The config of a Llama as the metadata of a GGUF file: what `metadata.ts` reads. */
import type { LlamaConfig } from "../config.js";
import type { Metadata, WrittenValue } from "./writer.js";

/** The number that llama.cpp has for files whose weights are mostly of a type. */
const fileTypes: { readonly [type: string]: number | undefined } = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q4_K: 14,
  Q6_K: 18,
  BF16: 32,
};

/** Entries of a config; `name` is the model's, `type` that of most of its weights. */
export function writtenMetadata(config: LlamaConfig, name: string, type: string): Metadata {
  const { rope } = config;
  const u32 = (value: number): WrittenValue => ({ type: "u32", value });
  const f32 = (value: number): WrittenValue => ({ type: "f32", value });
  const text = (value: string): WrittenValue => ({ type: "string", value });
  return [
    ["general.architecture", text("llama")],
    ["general.type", text("model")],
    ["general.name", text(name)],
    ["llama.block_count", u32(config.layers)],
    ["llama.context_length", u32(config.contextLength)],
    ["llama.embedding_length", u32(config.hiddenSize)],
    ["llama.feed_forward_length", u32(config.intermediateSize)],
    ["llama.attention.head_count", u32(config.heads)],
    ["llama.attention.head_count_kv", u32(config.keyValueHeads)],
    ["llama.rope.freq_base", f32(rope.theta)],
    ...(rope.kind === "llama3"
      ? ([["llama.rope.scaling.original_context_length", u32(rope.originalContext)]] as const)
      : []),
    ["llama.attention.layer_norm_rms_epsilon", f32(config.normEpsilon)],
    ["llama.attention.key_length", u32(config.headDim)],
    ["llama.attention.value_length", u32(config.headDim)],
    ["llama.rope.dimension_count", u32(config.headDim)],
    ["llama.vocab_size", u32(config.vocabSize)],
    ["general.quantization_version", u32(2)],
    ["general.file_type", u32(fileTypes[type] ?? 0)],
  ];
}

/** The values of `rope_freqs.weight`: what each frequency is divided by; null where none is. */
export function writtenFactors({ rope, headDim }: LlamaConfig): Float32Array | null {
  if (rope.kind !== "llama3") return null;
  const { theta, factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = rope;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const turns = originalContext / (2 * Math.PI * theta ** ((2 * i) / headDim));
    const smooth = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
