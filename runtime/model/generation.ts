import { join } from "node:path";
import type { LlamaConfig } from "./config.js";
import { problemsError, quoted } from "./error.js";
import { Fields } from "./fields.js";
import { readJsonIfAny, sizeLimits, type JsonObject } from "./files.js";

/** How a model wants to be sampled, from `generation_config.json`; what the file leaves out is null. */
export interface GenerationConfig {
  readonly bosToken: number | null;
  /** Tokens that end a text: the file's, else those of `config.json`. */
  readonly eosTokens: readonly number[];
  readonly sample: boolean | null;
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly maxNewTokens: number | null;
}

/**
 * Reads `generation_config.json` of a model directory; all is as in `config` where there is no such file.
 * @throws ModelError M100 to M104 (the file), M131 (wrong fields)
 */
export async function readGeneration(directory: string, config: LlamaConfig): Promise<GenerationConfig> {
  const path = join(directory, "generation_config.json");
  return parseGeneration(path, (await readJsonIfAny(path, sizeLimits.config)) ?? {}, config);
}

/** As `readGeneration`, of a parsed file; `path` is for messages. */
export function parseGeneration(path: string, raw: JsonObject, config: LlamaConfig): GenerationConfig {
  const fields = new Fields(raw);
  const token = { integer: true, min: 0, max: config.vocabSize - 1 };
  const optional = (name: string, rule: { integer?: boolean; min: number; max: number }): number | null =>
    fields.has(name) ? fields.number(name, rule) : null;
  const eosTokens = fields.numbers("eos_token_id", token);
  const generation: GenerationConfig = {
    bosToken: optional("bos_token_id", token) ?? config.bosToken,
    eosTokens: eosTokens.length > 0 ? eosTokens : config.eosTokens,
    sample: fields.has("do_sample") ? fields.boolean("do_sample", false) : null,
    temperature: optional("temperature", { min: 0, max: 1000 }),
    topK: optional("top_k", { integer: true, min: 0, max: 2 ** 24 }),
    topP: optional("top_p", { min: 0, max: 1 }),
    maxNewTokens: optional("max_new_tokens", { integer: true, min: 1, max: 2 ** 27 }),
  };
  if (fields.problems.length > 0) throw problemsError("M131", `${quoted(path)} cannot be used`, fields.problems);
  return generation;
}
