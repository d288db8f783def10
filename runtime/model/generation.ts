import type { LlamaConfig } from "./config.js";
import { ModelError, quoted } from "./error.js";
import { Fields, type NumberRule } from "./fields.js";
import { jsonOfAny, type Directory } from "./directory.js";
import { sizeLimits, type JsonObject } from "./json.js";

/** How a model wants to be sampled, from `generation_config.json`; what the file leaves out or has wrong is null. */
export interface GenerationConfig {
  readonly bosToken: number | null;
  /** Tokens that end a text: the file's, else those of `config.json`. */
  readonly eosTokens: readonly number[];
  readonly sample: boolean | null;
  readonly temperature: number | null;
  /** Keep so many of the likeliest; null for all. */
  readonly topK: number | null;
  readonly topP: number | null;
  readonly maxNewTokens: number | null;
  /** What of the file is not used though it is there: a sentence each, without a full stop. */
  readonly warnings: readonly string[];
}

/**
 * Reads `generation_config.json` of a model directory; all is as in `config` where there is no such file, or where it
 * cannot be read: a warning says so, for nothing but the end of a text rests on it.
 */
export async function readGeneration(directory: Directory, config: LlamaConfig): Promise<GenerationConfig> {
  const name = "generation_config.json";
  const path = directory.pathOf(name);
  try {
    return parseGeneration(path, (await jsonOfAny(directory, name, sizeLimits.config)) ?? {}, config);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const without = parseGeneration(path, {}, config);
    return {
      ...without,
      warnings: [`${error.message.replace(/\.$/, "")}; texts end as \`config.json\` says`],
    };
  }
}

/** As `readGeneration`, of a parsed file; `path` is for messages. */
export function parseGeneration(path: string, raw: JsonObject, config: LlamaConfig): GenerationConfig {
  const warnings: string[] = [];
  /** A field by itself: one that is wrong is as if it were not there. */
  function field<T>(name: string, read: (fields: Fields) => T): T | null {
    const fields = new Fields(raw);
    if (!fields.has(name)) return null;
    const value = read(fields);
    if (fields.problems.length === 0) return value;
    warnings.push(`${fields.problems.join("; ")}: it is not used (${quoted(path)})`);
    return null;
  }
  const number = (name: string, rule: NumberRule): number | null => field(name, (fields) => fields.number(name, rule));
  const token: NumberRule = { integer: true, min: 0, max: config.vocabSize - 1 };
  const ends =
    field("eos_token_id", (fields) => fields.numbers("eos_token_id", { ...token, min: -1, max: 2 ** 32 })) ?? [];
  const eosTokens = ends.filter((id) => id >= 0 && id < config.vocabSize);
  if (eosTokens.length < ends.length)
    warnings.push(
      `\`eos_token_id\` of ${quoted(path)} has ids that are not below vocab_size = ${config.vocabSize}: they are not used`,
    );
  const topK = number("top_k", { integer: true, min: -1, max: 2 ** 24 });
  return {
    bosToken: number("bos_token_id", token) ?? config.bosToken,
    eosTokens: eosTokens.length > 0 ? eosTokens : config.eosTokens,
    sample: field("do_sample", (fields) => fields.boolean("do_sample", false)),
    temperature: number("temperature", { min: 0, max: 1000 }),
    topK: topK === null || topK < 1 ? null : topK,
    topP: number("top_p", { min: 0, max: 1 }),
    maxNewTokens: number("max_new_tokens", { integer: true, min: 1, max: 2 ** 27 }),
    warnings,
  };
}
