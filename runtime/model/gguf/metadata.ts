import { parseConfig, type LlamaConfig } from "../config.js";
import { ModelError, problemsError, quoted } from "../error.js";
import { Fields, type NumberRule } from "../fields.js";
import { describe, type JsonObject } from "../json.js";
import type { GgufFile } from "./container.js";
import type { MetadataValue } from "./types.js";

const size: NumberRule = { integer: true, min: 1, max: 2 ** 20 };

/** What a converter writes for a token that a model does not have. */
const noToken = 0xffffffff;

/**
 * The config of a Llama from the metadata of a GGUF file, as if read from the `config.json` that `raw` is: it is what
 * `compress` writes. `frequencyFactors` are the values of the tensor `rope_freqs.weight`, null where there is none.
 * @throws ModelError M130 (no Llama), M131 (entries missing or wrong, all of them), M132 (a Llama with something that
 * is not supported)
 */
export function configOf(file: GgufFile, frequencyFactors: ArrayLike<number> | null): LlamaConfig {
  const { path } = file;
  const fields = new Fields(plainMetadata(file.metadata));
  refuseOthers(path, fields);
  const hiddenSize = fields.number("llama.embedding_length", size);
  const heads = fields.number("llama.attention.head_count", { integer: true, min: 1, max: 4096 });
  const headDim = fields.number("llama.attention.key_length", { integer: true, min: 2, max: 4096 }, hiddenSize / heads);
  const theta = fields.number("llama.rope.freq_base", { min: 1e-6, max: 1e15 }, 10000);
  const raw = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    attention_bias: false,
    mlp_bias: false,
    hidden_act: "silu",
    hidden_size: hiddenSize,
    intermediate_size: fields.number("llama.feed_forward_length", size),
    num_hidden_layers: fields.number("llama.block_count", { integer: true, min: 1, max: 4096 }),
    num_attention_heads: heads,
    num_key_value_heads: fields.number("llama.attention.head_count_kv", { integer: true, min: 1, max: 4096 }, heads),
    head_dim: headDim,
    vocab_size: fields.number("llama.vocab_size", { integer: true, min: 2, max: 2 ** 24 }, vocabularySize(file)),
    max_position_embeddings: fields.number("llama.context_length", { integer: true, min: 1, max: 2 ** 27 }),
    rms_norm_eps: shortest(fields.number("llama.attention.layer_norm_rms_epsilon", { min: 0, max: 1 })),
    rope_theta: shortest(theta),
    rope_scaling: frequencyFactors === null ? null : scalingOf(path, fields, headDim, theta, frequencyFactors),
    tie_word_embeddings: !file.tensors.some(({ name }) => name === "output.weight"),
    torch_dtype: dtypeOf(file),
    bos_token_id: tokenId(fields, "bos"),
    eos_token_id: tokenId(fields, "eos"),
  };
  for (const [name, expected] of [
    ["llama.attention.value_length", headDim],
    ["llama.rope.dimension_count", headDim],
  ] as const) {
    const value = fields.number(name, { integer: true, min: 1, max: 4096 }, expected);
    if (fields.problems.length === 0 && value !== expected)
      throw new ModelError(
        "M132",
        `${quoted(path)} describes a Llama with parts that are not supported: \`${name}\` should be the size of a head, ${expected}, found ${value}.`,
      );
  }
  if (fields.problems.length > 0)
    throw problemsError("M131", `${quoted(path)} does not describe a Llama that can be run`, fields.problems);
  return parseConfig(path, raw);
}

/** The contents of a `generation_config.json`: more tokens may end a text than the one that `config.json` names. */
export function generationOf(file: GgufFile): JsonObject {
  const fields = new Fields(plainMetadata(file.metadata));
  const ends = ["eos", "eot", "eom"].map((name) => tokenId(fields, name)).filter((id) => id !== null);
  const distinct = [...new Set(ends)];
  return {
    bos_token_id: tokenId(fields, "bos"),
    eos_token_id: distinct.length > 1 ? distinct : (distinct[0] ?? null),
    pad_token_id: tokenId(fields, "padding"),
  };
}

/** Elements of a list that are looked at; nothing of a config has more. */
const mostElements = 4096;

/**
 * The entries as JSON has them: lists as arrays, cut where they are long, integers beyond 2^53 as text; without the
 * vocabulary.
 */
function plainMetadata(metadata: ReadonlyMap<string, MetadataValue>): JsonObject {
  const plain = (value: MetadataValue): unknown => {
    if (typeof value === "bigint") return String(value);
    if (typeof value !== "object") return value;
    return Array.from({ length: Math.min(value.items.length, mostElements) }, (_, at) =>
      value.kind === "strings" ? value.items[at] : Number(value.items[at]),
    );
  };
  const kept = [...metadata].filter(([key]) => !/^tokenizer\.ggml\.(tokens|merges|scores|token_type)$/.test(key));
  return Object.fromEntries(kept.map(([key, value]) => [key, plain(value)]));
}

/** Refuses what is no Llama, or one with parts that Espalier has not. */
function refuseOthers(path: string, fields: Fields): void {
  const only = "Espalier runs models of the Llama architecture only";
  const architecture = fields.raw("general.architecture");
  if (architecture !== "llama")
    throw new ModelError(
      "M130",
      `${quoted(path)} is not a Llama: \`general.architecture\` should be "llama", found ${describe(architecture)}.`,
      only,
    );
  const type = fields.raw("general.type");
  if (type !== undefined && type !== "model")
    throw new ModelError(
      "M130",
      `${quoted(path)} is no whole model: \`general.type\` should be "model", found ${describe(type)}.`,
      only,
    );
  const unsupported: string[] = [];
  const expect = (name: string, wanted: readonly unknown[], meaning: string): void => {
    const value = fields.raw(name);
    if (value !== undefined && !wanted.includes(value))
      unsupported.push(`\`${name}\` is ${describe(value)}: ${meaning}`);
  };
  expect("split.count", [0, 1], "the model is split over several files; join them with `llama-gguf-split --merge`");
  expect("llama.expert_count", [0], "mixtures of experts are not supported");
  expect("llama.attention.causal", [true], "attention to later tokens is not supported");
  expect(
    "llama.attention.sliding_window",
    [0, fields.raw("llama.context_length")],
    "attention to a window of the context is not supported",
  );
  expect("llama.rope.scale_linear", [1], "scaled rotary embeddings are not supported, but those of Llama 3.1");
  expect(
    "llama.rope.scaling.type",
    ["none", ...(fields.raw("llama.rope.scaling.factor") === 1 ? ["linear"] : [])],
    "scaled rotary embeddings are not supported, but those of Llama 3.1",
  );
  if (unsupported.length > 0)
    throw problemsError("M132", `${quoted(path)} describes a Llama with parts that are not supported`, unsupported);
}

/**
 * The `rope_scaling` of Llama 3.1 and later: a GGUF file has only what each frequency is divided by. Its parameters are
 * those that all these models have, with the factor found in the values, which have to agree.
 */
function scalingOf(
  path: string,
  fields: Fields,
  headDim: number,
  theta: number,
  factors: ArrayLike<number>,
): JsonObject | null {
  const given = Array.from(factors);
  if (given.every((factor) => factor === 1)) return null;
  const [low, high] = [1, 4];
  const original = fields.number(
    "llama.rope.scaling.original_context_length",
    { integer: true, min: 1, max: 2 ** 27 },
    8192,
  );
  const factor = Math.round(Math.max(...given));
  const agree =
    given.length === headDim / 2 &&
    given.every((found, i) => {
      const turns = original / (2 * Math.PI * theta ** ((2 * i) / headDim));
      const smooth = Math.min(1, Math.max(0, (turns - low) / (high - low)));
      return Math.abs(found * ((1 - smooth) / factor + smooth) - 1) < 1e-3;
    });
  if (!agree)
    throw new ModelError(
      "M132",
      `${quoted(path)} scales the frequencies of its rotary embedding (\`rope_freqs.weight\`) otherwise than Llama 3.1 does; that is not supported.`,
    );
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

function vocabularySize(file: GgufFile): number | undefined {
  const tokens = file.metadata.get("tokenizer.ggml.tokens");
  return typeof tokens === "object" ? tokens.items.length : undefined;
}

/** The one type of all dense matrices, by the name `config.json` has for it; f32 where there is none. */
function dtypeOf(file: GgufFile): string {
  const types = new Set(file.tensors.filter(({ shape }) => shape.length > 1).map(({ type }) => type.name));
  return types.size > 1 ? "float32" : types.has("F16") ? "float16" : types.has("BF16") ? "bfloat16" : "float32";
}

/** The id of a special token, null where the model has none. */
function tokenId(fields: Fields, name: string): number | null {
  const key = `tokenizer.ggml.${name}_token_id`;
  if (!fields.has(key) || fields.raw(key) === noToken || fields.raw(key) === -1) return null;
  return fields.number(key, { integer: true, min: 0, max: 2 ** 24 - 1 });
}

/** The number with the fewest digits that is the same f32: 1e-5 for 0.000009999999747. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
