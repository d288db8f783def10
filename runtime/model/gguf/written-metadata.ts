/** The config of a Llama as the metadata of a GGUF file: what `metadata.ts` reads. */
import { architectureOf } from "../architectures/registry.js";
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
  const own = architectureOf(config).gguf;
  if (own === null) throw new RangeError(`a model ${config.modelType} cannot be written as GGUF`);
  const window = config.windows.find((each) => each !== null) ?? null;
  const u32 = (value: number): WrittenValue => ({ type: "u32", value });
  const f32 = (value: number): WrittenValue => ({ type: "f32", value });
  const text = (value: string): WrittenValue => ({ type: "string", value });
  return [
    ["general.architecture", text(own)],
    ["general.type", text("model")],
    ["general.name", text(name)],
    [`${own}.block_count`, u32(config.layers)],
    [`${own}.context_length`, u32(config.contextLength)],
    [`${own}.embedding_length`, u32(config.hiddenSize)],
    [`${own}.feed_forward_length`, u32(config.intermediateSize)],
    [`${own}.attention.head_count`, u32(config.heads)],
    [`${own}.attention.head_count_kv`, u32(config.keyValueHeads)],
    [`${own}.rope.freq_base`, f32(rope.theta)],
    ...(rope.kind === "llama3"
      ? ([[`${own}.rope.scaling.original_context_length`, u32(rope.originalContext)]] as const)
      : []),
    ...(rope.kind === "linear" || rope.kind === "yarn"
      ? ([
          [`${own}.rope.scaling.type`, text(rope.kind)],
          [`${own}.rope.scaling.factor`, f32(rope.factor)],
        ] as const)
      : []),
    ...(rope.kind === "yarn"
      ? ([[`${own}.rope.scaling.original_context_length`, u32(rope.originalContext)]] as const)
      : []),
    ...(window === null ? [] : ([[`${own}.attention.sliding_window`, u32(window)]] as const)),
    [`${own}.attention.layer_norm_rms_epsilon`, f32(config.normEpsilon)],
    [`${own}.attention.key_length`, u32(config.headDim)],
    [`${own}.attention.value_length`, u32(config.headDim)],
    [`${own}.rope.dimension_count`, u32(config.headDim)],
    [`${own}.vocab_size`, u32(config.vocabSize)],
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

/** What of a config a GGUF file cannot say: sentences, none where it can say all. */
export function unwritable({ rope, windows, modelType }: LlamaConfig): readonly string[] {
  const { gguf, title } = architectureOf({ modelType });
  if (gguf === null) return [`models of ${title} are neither read from GGUF files nor written as such`];
  const problems: string[] = [];
  if (rope.kind === "dynamic" || rope.kind === "longrope")
    problems.push(`rotary embeddings of the kind "${rope.kind}" have no place in the files that are written`);
  if (rope.kind === "yarn") {
    const usual = rope.factor <= 1 ? 1 : 0.1 * Math.log(rope.factor) + 1;
    if (rope.fast !== 32 || rope.slow !== 1 || !rope.truncate || Math.abs(rope.scale - usual) > 1e-6)
      problems.push("a YaRN scaling with other parameters than its factor and original context has no place there");
  }
  const windowed = windows.some((window) => window !== null);
  if (windowed && (windows.some((window) => window !== windows[0]) || modelType.startsWith("qwen")))
    problems.push("windows of some blocks only have no place there");
  return problems;
}
