import { join } from "node:path";
import { isElementType, type ElementType } from "./elements.js";
import { ModelError, problemsError, quoted } from "./error.js";
import { Fields, type NumberRule } from "./fields.js";
import { describe, readJson, sizeLimits, type JsonObject } from "./files.js";

/** The rotary embedding's frequencies: `theta ^ (-2i / headDim)`, and how they are stretched for long contexts. */
export type Rope =
  | { readonly kind: "default"; readonly theta: number }
  /**
   * Llama 3.1: frequencies below `lowFrequencyFactor` turns in the original context are divided by `factor`, those
   * above `highFrequencyFactor` kept, those between blended.
   */
  | {
      readonly kind: "llama3";
      readonly theta: number;
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    };

/** The shape of a Llama, from `config.json`. */
export interface LlamaConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly keyValueHeads: number;
  /** Even; `heads * headDim` need not be the hidden size. */
  readonly headDim: number;
  readonly vocabSize: number;
  /** Most tokens of a sequence (`max_position_embeddings`). */
  readonly contextLength: number;
  readonly normEpsilon: number;
  readonly rope: Rope;
  /** Whether the embedding is the output head too. */
  readonly tiedEmbeddings: boolean;
  /** Type of the weights as declared, null where it is not. */
  readonly dtype: ElementType | null;
  readonly bosToken: number | null;
  readonly eosTokens: readonly number[];
  /** The file as parsed. */
  readonly raw: JsonObject;
}

const size: NumberRule = { integer: true, min: 1, max: 2 ** 20 };
const token: NumberRule = { integer: true, min: 0, max: 2 ** 24 - 1 };
const positive: NumberRule = { min: 1e-6, max: 1e15 };

/**
 * Reads and checks `config.json` of a model directory.
 * @throws ModelError M100 to M104 (the file), M130 (no Llama), M131 (fields missing or wrong, all of them), M132 (a
 *   Llama with something that is not supported, by name)
 */
export async function readConfig(directory: string): Promise<LlamaConfig> {
  const path = join(directory, "config.json");
  return parseConfig(path, await readJson(path, sizeLimits.config));
}

/** As `readConfig`, of a parsed file; `path` is for messages. */
export function parseConfig(path: string, raw: JsonObject): LlamaConfig {
  const fields = new Fields(raw);
  refuseOthers(path, fields);

  const hiddenSize = fields.number("hidden_size", size);
  const heads = fields.number("num_attention_heads", { integer: true, min: 1, max: 4096 });
  const keyValueHeads = fields.number("num_key_value_heads", { integer: true, min: 1, max: 4096 }, heads);
  const headDim = fields.number("head_dim", { integer: true, min: 2, max: 4096 }, hiddenSize / heads);
  const vocabSize = fields.number("vocab_size", { integer: true, min: 2, max: 2 ** 24 });
  const config: LlamaConfig = {
    hiddenSize,
    heads,
    keyValueHeads,
    headDim,
    vocabSize,
    intermediateSize: fields.number("intermediate_size", size),
    layers: fields.number("num_hidden_layers", { integer: true, min: 1, max: 4096 }),
    contextLength: fields.number("max_position_embeddings", { integer: true, min: 1, max: 2 ** 27 }, 2048),
    normEpsilon: fields.number("rms_norm_eps", { min: 0, max: 1 }, 1e-6),
    rope: parseRope(fields),
    tiedEmbeddings: fields.boolean("tie_word_embeddings", false),
    dtype: parseDtype(fields),
    bosToken: fields.numbers("bos_token_id", token)[0] ?? null,
    eosTokens: fields.numbers("eos_token_id", token),
    raw,
  };
  if (fields.problems.length === 0) {
    if (!Number.isInteger(headDim))
      fields.problem(
        "head_dim",
        `given, as hidden_size = ${hiddenSize} is not a multiple of num_attention_heads = ${heads}`,
        undefined,
      );
    else if (headDim % 2 !== 0) fields.problem("head_dim", "even, for the rotary embedding", headDim);
    if (heads % keyValueHeads !== 0)
      fields.problem("num_key_value_heads", `a divisor of num_attention_heads = ${heads}`, keyValueHeads);
    for (const [name, ids] of [
      ["bos_token_id", config.bosToken === null ? [] : [config.bosToken]],
      ["eos_token_id", config.eosTokens],
    ] as const) {
      for (const id of ids) if (id >= vocabSize) fields.problem(name, `below vocab_size = ${vocabSize}`, id);
    }
  }
  if (fields.problems.length > 0)
    throw problemsError("M131", `${quoted(path)} does not describe a Llama that can be run`, fields.problems);
  return config;
}

/** Refuses what is no Llama, or one with parts that Espalier has not. */
function refuseOthers(path: string, fields: Fields): void {
  const foreign: string[] = [];
  const architectures = fields.raw("architectures");
  if (fields.raw("model_type") !== "llama")
    foreign.push(`\`model_type\` should be "llama", found ${describe(fields.raw("model_type"))}`);
  if (architectures !== undefined && !Array.isArray(architectures))
    foreign.push(
      `\`architectures\` should be a list that holds "LlamaForCausalLM", found ${describe(architectures)}, which is no list`,
    );
  else if (architectures !== undefined && !architectures.includes("LlamaForCausalLM")) {
    foreign.push(`\`architectures\` should hold "LlamaForCausalLM", found ${describe(architectures)}`);
  }
  if (foreign.length > 0) {
    const lacking = [
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "vocab_size",
    ].filter((name) => !fields.has(name));
    if (lacking.length > 0)
      foreign.push(`a Llama also has ${lacking.map((name) => `\`${name}\``).join(", ")}: absent here`);
    throw problemsError(
      "M130",
      `${quoted(path)} is not the config of a Llama`,
      foreign,
      "Espalier runs models of the Llama architecture only",
    );
  }
  const unsupported: string[] = [];
  for (const name of ["attention_bias", "mlp_bias"]) {
    if (fields.boolean(name, false))
      unsupported.push(`\`${name}\` is true: linear layers with a bias are not supported`);
  }
  const activation = fields.raw("hidden_act");
  if (activation !== undefined && activation !== "silu" && activation !== "swish")
    unsupported.push(`\`hidden_act\` should be "silu", found ${describe(activation)}`);
  const partial = fields.raw("partial_rotary_factor");
  if (partial !== undefined && partial !== 1)
    unsupported.push(`\`partial_rotary_factor\` should be 1 (all of a head is rotated), found ${describe(partial)}`);
  if (fields.has("quantization_config") && !fields.has("espalier")) {
    const quantization = fields.nested("quantization_config");
    const method = describe(quantization?.raw("quant_method"));
    throw new ModelError(
      "M133",
      `${quoted(path)} says that the weights are quantised by another tool (\`quantization_config\` with \`quant_method\` ${method}); such checkpoints cannot be read.`,
      "give the original model with bf16, f16 or f32 weights",
    );
  }
  if (unsupported.length > 0)
    throw problemsError("M132", `${quoted(path)} describes a Llama with parts that are not supported`, unsupported);
}

/** The old form has `rope_theta` and `rope_scaling`, the new one all of it in `rope_parameters`. */
function parseRope(fields: Fields): Rope {
  const newForm = fields.nested("rope_parameters");
  const parameters = newForm ?? fields.nested("rope_scaling");
  const thetas = newForm?.has("rope_theta") === true ? newForm : fields;
  const theta = thetas.number("rope_theta", positive, 10000);
  const where = newForm === null ? "rope_scaling" : "rope_parameters";
  const kind = parameters?.raw("rope_type") ?? parameters?.raw("type") ?? "default";
  if (parameters === null || kind === "default") {
    fields.problems.push(...(newForm?.problems ?? []));
    return { kind: "default", theta };
  }
  if (kind !== "llama3") {
    throw new ModelError(
      "M132",
      `The rotary embedding of type ${describe(kind)} (\`${where}.rope_type\`) is not supported; expected "default" or "llama3".`,
    );
  }
  const rope: Rope = {
    kind: "llama3",
    theta,
    factor: parameters.number("factor", { min: 1, max: 1e6 }),
    lowFrequencyFactor: parameters.number("low_freq_factor", positive),
    highFrequencyFactor: parameters.number("high_freq_factor", positive),
    originalContext: parameters.number("original_max_position_embeddings", { integer: true, min: 1, max: 2 ** 27 }),
  };
  if (parameters.problems.length === 0 && rope.highFrequencyFactor <= rope.lowFrequencyFactor) {
    parameters.problem(
      "high_freq_factor",
      `above low_freq_factor = ${rope.lowFrequencyFactor}`,
      rope.highFrequencyFactor,
    );
  }
  fields.problems.push(...parameters.problems);
  return rope;
}

function parseDtype(fields: Fields): ElementType | null {
  const name = fields.has("dtype") ? "dtype" : "torch_dtype";
  const value = fields.raw(name);
  const types: { readonly [name: string]: string } = { bfloat16: "BF16", float16: "F16", float32: "F32", auto: "" };
  if (value === undefined || value === "auto") return null;
  const type = typeof value === "string" && Object.hasOwn(types, value) ? types[value] : undefined;
  if (type !== undefined && isElementType(type)) return type;
  fields.problem(name, `"bfloat16", "float16" or "float32"`, value);
  return null;
}
