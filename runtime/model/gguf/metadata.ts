import { alternatives } from "../../../compiler/words.js";
import type { Architecture } from "../architectures/architecture.js";
import { architectures } from "../architectures/registry.js";
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
  const architecture = architectureIn(path, fields);
  const own = architecture.gguf;
  refuseParts(path, fields, own);
  const hiddenSize = fields.number(`${own}.embedding_length`, size);
  const heads = fields.number(`${own}.attention.head_count`, { integer: true, min: 1, max: 4096 });
  const headDim = fields.number(
    `${own}.attention.key_length`,
    { integer: true, min: 2, max: 4096 },
    hiddenSize / heads,
  );
  const theta = fields.number(`${own}.rope.freq_base`, { min: 1e-6, max: 1e15 }, 10000);
  const raw = {
    ...kindOf(file, fields, architecture),
    hidden_act: "silu",
    hidden_size: hiddenSize,
    intermediate_size: fields.number(`${own}.feed_forward_length`, size),
    num_hidden_layers: fields.number(`${own}.block_count`, { integer: true, min: 1, max: 4096 }),
    num_attention_heads: heads,
    num_key_value_heads: fields.number(`${own}.attention.head_count_kv`, { integer: true, min: 1, max: 4096 }, heads),
    head_dim: headDim,
    vocab_size: fields.number(`${own}.vocab_size`, { integer: true, min: 2, max: 2 ** 24 }, vocabularySize(file)),
    max_position_embeddings: fields.number(`${own}.context_length`, { integer: true, min: 1, max: 2 ** 27 }),
    rms_norm_eps: shortest(fields.number(`${own}.attention.layer_norm_rms_epsilon`, { min: 0, max: 1 })),
    rope_theta: shortest(theta),
    rope_scaling:
      frequencyFactors === null
        ? scaledBy(fields, own)
        : scalingOf(path, fields, own, headDim, theta, frequencyFactors),
    tie_word_embeddings: !file.tensors.some(({ name }) => name === "output.weight"),
    torch_dtype: dtypeOf(file),
    bos_token_id: tokenId(fields, "bos"),
    eos_token_id: tokenId(fields, "eos"),
  };
  for (const [name, expected] of [
    [`${own}.attention.value_length`, headDim],
    [`${own}.rope.dimension_count`, headDim],
  ] as const) {
    const value = fields.number(name, { integer: true, min: 1, max: 4096 }, expected);
    if (fields.problems.length === 0 && value !== expected)
      throw new ModelError(
        "M132",
        `${quoted(path)} describes a ${architecture.title} with parts that are not supported: \`${name}\` should be the size of a head, ${expected}, found ${value}.`,
      );
  }
  if (fields.problems.length > 0)
    throw problemsError(
      "M131",
      `${quoted(path)} does not describe a ${architecture.title} that can be run`,
      fields.problems,
    );
  return parseConfig(path, raw);
}

/** Which architecture it is, and what only some have, as `config.json` says it. */
function kindOf(file: GgufFile, fields: Fields, { gguf, modelType, className }: GgufArchitecture): JsonObject {
  const has = (name: string): boolean => file.tensors.some((tensor) => tensor.name === `blk.0.${name}`);
  const window = fields.raw(`${gguf}.attention.sliding_window`);
  const context = fields.raw(`${gguf}.context_length`);
  const windowed = typeof window === "number" && window > 0 && window !== context ? { sliding_window: window } : {};
  if (gguf === "llama" && "sliding_window" in windowed)
    return { architectures: ["MistralForCausalLM"], model_type: "mistral", ...windowed };
  const biases = gguf === "llama" ? { attention_bias: has("attn_q.bias"), mlp_bias: has("ffn_up.bias") } : {};
  return { architectures: [className], model_type: modelType, ...biases, ...windowed };
}

/** A scaling that is said by its parameters. */
function scaledBy(fields: Fields, own: string): JsonObject | null {
  const type = fields.raw(`${own}.rope.scaling.type`);
  if (type !== "linear" && type !== "yarn") return null;
  const factor = shortest(fields.number(`${own}.rope.scaling.factor`, { min: 1e-3, max: 1e6 }, 1));
  if (factor === 1) return null;
  const original = fields.raw(`${own}.rope.scaling.original_context_length`);
  return { rope_type: type, factor, ...(type === "yarn" ? { original_max_position_embeddings: original } : {}) };
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

/** The architecture that a file names. @throws ModelError M130 where it is none that there is */
/** An architecture that has files of this kind. */
type GgufArchitecture = Architecture & { readonly gguf: string };

function architectureIn(path: string, fields: Fields): GgufArchitecture {
  const only = `Espalier runs models of these architectures only: ${architectures
    .filter(({ gguf }) => gguf !== null)
    .map((each) => each.title)
    .join(", ")}`;
  const name = fields.raw("general.architecture");
  const readable = architectures.filter((each): each is GgufArchitecture => each.gguf !== null);
  const found = readable.find(({ gguf }) => gguf === name);
  const names = [...new Set(readable.map(({ gguf }) => `"${gguf}"`))];
  if (found === undefined)
    throw new ModelError(
      "M130",
      `${quoted(path)} is not a Llama: \`general.architecture\` should be ${alternatives(names)}, found ${describe(name)}.`,
      only,
    );
  const type = fields.raw("general.type");
  if (type !== undefined && type !== "model")
    throw new ModelError(
      "M130",
      `${quoted(path)} is no whole model: \`general.type\` should be "model", found ${describe(type)}.`,
      only,
    );
  return found;
}

/** Refuses parts that Espalier has not; `own` begins the names of an architecture's entries. */
function refuseParts(path: string, fields: Fields, own: string): void {
  const unsupported: string[] = [];
  const expect = (name: string, wanted: readonly unknown[], meaning: string): void => {
    const value = fields.raw(name);
    if (value !== undefined && !wanted.includes(value))
      unsupported.push(`\`${name}\` is ${describe(value)}: ${meaning}`);
  };
  expect("split.count", [0, 1], "the model is split over several files; join them with `llama-gguf-split --merge`");
  expect(`${own}.expert_count`, [0], "mixtures of experts are not supported");
  expect(`${own}.attention.causal`, [true], "attention to later tokens is not supported");
  if (own !== "llama" && own !== "phi3")
    expect(
      `${own}.attention.sliding_window`,
      [0, fields.raw(`${own}.context_length`)],
      "attention to a window of the context is not supported here",
    );
  expect(`${own}.rope.scale_linear`, [1], "this entry of old files is not read; `rope.scaling.factor` is");
  const known = ["none", "linear", ...(fields.has(`${own}.rope.scaling.original_context_length`) ? ["yarn"] : [])];
  expect(`${own}.rope.scaling.type`, known, "rotary embeddings scaled so are not supported");
  if (unsupported.length > 0)
    throw problemsError("M132", `${quoted(path)} describes a model with parts that are not supported`, unsupported);
}

/**
 * The `rope_scaling` of Llama 3.1 and later: a GGUF file has only what each frequency is divided by. Its parameters are
 * those that all these models have, with the factor found in the values, which have to agree.
 */
function scalingOf(
  path: string,
  fields: Fields,
  own: string,
  headDim: number,
  theta: number,
  factors: ArrayLike<number>,
): JsonObject | null {
  const given = Array.from(factors);
  if (given.every((factor) => factor === 1)) return null;
  const [low, high] = [1, 4];
  const original = fields.number(
    `${own}.rope.scaling.original_context_length`,
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
