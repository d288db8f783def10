import { alternatives } from "../../compiler/words.js";
import type { ElementType } from "./elements.js";
import { problemsError, quoted } from "./error.js";
import { Fields, type NumberRule } from "./fields.js";
import { jsonOf, type Directory } from "./directory.js";
import { describe, sizeLimits, type JsonObject } from "./json.js";
import type { Architecture } from "./architectures/architecture.js";
import { architectures } from "./architectures/registry.js";
import type { LlamaConfig } from "./llama-config.js";
import { parseRope } from "./rope.js";

export type { LlamaConfig } from "./llama-config.js";
export type { Rope } from "./rope.js";

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
  const architecture = architectureIn(path, fields);
  const { defaults = {} } = architecture;

  const hiddenSize = fields.number("hidden_size", size);
  const heads = fields.number("num_attention_heads", { integer: true, min: 1, max: 4096 });
  const keyValueHeads = fields.number(
    "num_key_value_heads",
    { integer: true, min: 1, max: 4096 },
    defaults.keyValueHeads ?? heads,
  );
  const headDim = fields.number(
    "head_dim",
    { integer: true, min: 2, max: 4096 },
    defaults.headDim ?? hiddenSize / heads,
  );
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
  const layers = fields.number("num_hidden_layers", { integer: true, min: 1, max: 4096 });
  const unsupported = unsupportedParts(fields);
  const particulars = architecture.particulars(fields, layers, unsupported);
  if (unsupported.length > 0)
    throw problemsError(
      "M132",
      `${quoted(path)} describes a ${architecture.title} with parts that are not supported`,
      unsupported,
    );
  const rope = parseRope(architecture.rope?.(fields) ?? fields, contextLength, headDim, warnings);
  const config: LlamaConfig = {
    ...particulars,
    modelType: architecture.modelType,
    hiddenSize,
    heads,
    keyValueHeads,
    headDim,
    vocabSize,
    intermediateSize: fields.number("intermediate_size", size),
    layers,
    // a dynamic scaling is for what is longer than the model was trained with
    contextLength: rope.kind === "dynamic" ? Math.floor(contextLength * rope.factor) : contextLength,
    normEpsilon: fields.number("rms_norm_eps", { min: 0, max: 1 }, defaults.normEpsilon ?? 1e-6),
    rope,
    tiedEmbeddings: fields.boolean("tie_word_embeddings", defaults.tiedEmbeddings ?? false),
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
    throw problemsError(
      "M131",
      `${quoted(path)} does not describe a ${architecture.title} that can be run`,
      fields.problems,
    );
  return config;
}

/** The architecture that a config names. @throws ModelError M130 where it is none that there is */
function architectureIn(path: string, fields: Fields): Architecture {
  const foreign: string[] = [];
  const [type, classes] = [fields.raw("model_type"), fields.raw("architectures")];
  const found = architectures.find(({ modelType }) => modelType === type);
  // with no name at all it is to be a Llama
  const { title, className } = found ?? architectures[0]!;
  if (found === undefined)
    foreign.push(
      `\`model_type\` should be ${alternatives(architectures.map((each) => `"${each.modelType}"`))}, found ${describe(type)}`,
    );
  if (classes !== undefined && !Array.isArray(classes))
    foreign.push(
      `\`architectures\` should be a list that holds "${className}", found ${describe(classes)}, which is no list`,
    );
  else if (classes !== undefined && !classes.includes(className)) {
    foreign.push(`\`architectures\` should hold "${className}", found ${describe(classes)}`);
  }
  if (found !== undefined && foreign.length === 0) return found;
  const lacking = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"].filter(
    (name) => !fields.has(name),
  );
  if (lacking.length > 0)
    foreign.push(`a ${title} also has ${lacking.map((name) => `\`${name}\``).join(", ")}: absent here`);
  throw problemsError(
    "M130",
    `${quoted(path)} is not the config of a ${title}`,
    foreign,
    `Espalier runs models of these architectures only: ${architectures.map((each) => each.title).join(", ")}`,
  );
}

/** What no architecture may have. */
function unsupportedParts(fields: Fields): string[] {
  const unsupported: string[] = [];
  const activation = fields.raw("hidden_act");
  if (activation !== undefined && activation !== "silu" && activation !== "swish")
    unsupported.push(`\`hidden_act\` should be "silu", found ${describe(activation)}`);
  const partial = fields.raw("partial_rotary_factor");
  if (partial !== undefined && partial !== 1)
    unsupported.push(`\`partial_rotary_factor\` should be 1 (all of a head is rotated), found ${describe(partial)}`);
  return unsupported;
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
