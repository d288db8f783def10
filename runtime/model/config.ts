import type { ElementType } from "./elements.js";
import { problemsError, quoted } from "./error.js";
import { Fields, type NumberRule } from "./fields.js";
import { jsonOf, type Directory } from "./directory.js";
import { describe, sizeLimits, type JsonObject } from "./json.js";
import { parseRope, type Rope } from "./rope.js";

export type { Rope } from "./rope.js";

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
  /** Where the file contradicts itself, and what is not used of it: a sentence each, without a full stop. */
  readonly warnings: readonly string[];
  /** The file as parsed. */
  readonly raw: JsonObject;
}

const size: NumberRule = { integer: true, min: 1, max: 2 ** 20 };
const token: NumberRule = { integer: true, min: -(2 ** 31), max: 2 ** 32 - 1 };

/**
 * Reads and checks `config.json` of a model directory.
 * @throws ModelError M100 to M104 (the file), M130 (no Llama), M131 (fields missing or wrong, all of them), M132 (a
 *   Llama with something that is not supported, by name)
 */
export async function readConfig(directory: Directory): Promise<LlamaConfig> {
  const name = "config.json";
  return parseConfig(directory.pathOf(name), await jsonOf(directory, name, sizeLimits.config));
}

/** As `readConfig`, of a parsed file; `path` is for messages. */
export function parseConfig(path: string, raw: JsonObject): LlamaConfig {
  const fields = new Fields(raw);
  const warnings: string[] = [];
  refuseOthers(path, fields);

  const hiddenSize = fields.number("hidden_size", size);
  const heads = fields.number("num_attention_heads", { integer: true, min: 1, max: 4096 });
  const keyValueHeads = fields.number("num_key_value_heads", { integer: true, min: 1, max: 4096 }, heads);
  const headDim = fields.number("head_dim", { integer: true, min: 2, max: 4096 }, hiddenSize / heads);
  const vocabSize = fields.number("vocab_size", { integer: true, min: 2, max: 2 ** 24 });
  const contextLength = fields.number("max_position_embeddings", { integer: true, min: 1, max: 2 ** 27 }, 2048);
  /** Ids that the vocabulary has not stand for none. */
  const tokens = (name: string): readonly number[] => {
    const ids = fields.numbers(name, token);
    const beyond = ids.filter((id) => id < 0 || id >= vocabSize);
    if (beyond.length > 0 && fields.problems.length === 0)
      warnings.push(
        `\`${name}\` of ${quoted(path)} should be below vocab_size = ${vocabSize}: ${beyond.join(", ")} is not used`,
      );
    return ids.filter((id) => id >= 0 && id < vocabSize);
  };
  const config: LlamaConfig = {
    hiddenSize,
    heads,
    keyValueHeads,
    headDim,
    vocabSize,
    intermediateSize: fields.number("intermediate_size", size),
    layers: fields.number("num_hidden_layers", { integer: true, min: 1, max: 4096 }),
    contextLength,
    normEpsilon: fields.number("rms_norm_eps", { min: 0, max: 1 }, 1e-6),
    rope: parseRope(fields, contextLength, warnings),
    tiedEmbeddings: fields.boolean("tie_word_embeddings", false),
    dtype: dtypeOf(fields),
    bosToken: tokens("bos_token_id")[0] ?? null,
    eosTokens: tokens("eos_token_id"),
    warnings,
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
  if (unsupported.length > 0)
    throw problemsError("M132", `${quoted(path)} describes a Llama with parts that are not supported`, unsupported);
}

/**
 * The type that is declared, by either of its names: the new one counts. Nothing is computed from it, so that one that
 * is not known is no error.
 */
function dtypeOf(fields: Fields): ElementType | null {
  const value = fields.raw("dtype") ?? fields.raw("torch_dtype");
  const types = new Map<unknown, ElementType>([
    ["bfloat16", "BF16"],
    ["float16", "F16"],
    ["float32", "F32"],
  ]);
  return types.get(value) ?? null;
}
