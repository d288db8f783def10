/**
 * How the tokenizers of GGUF files with `tokenizer.ggml.model` = `gpt2` cut a text before merging, by
 * `tokenizer.ggml.pre`,
 * in the form of `tokenizer.json`. The expressions are those of llama.cpp (`llama-vocab.cpp`), which has them from the
 * models' own files.
 */
import type { JsonObject } from "../json.js";

export interface PreTokenizer {
  readonly json: JsonObject;
  /** Whether a piece that is a token as a whole is taken as one, whatever the merges. */
  readonly ignoreMerges: boolean;
  /** Whether a bos token stands before texts, where the file does not say. */
  readonly addBos: boolean;
}

/** GPT-2's own expression is part of the byte-level step. */
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true } as const;
const bytesOnly = { ...byteLevel, use_regex: false } as const;

/** Matches, and what lies between them, become pieces. */
function split(regex: string): JsonObject {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

function sequence(...pretokenizers: readonly JsonObject[]): JsonObject {
  return { type: "Sequence", pretokenizers };
}

const gpt2: PreTokenizer = { json: byteLevel, ignoreMerges: false, addBos: false };

/** GPT-2's, digits one by one. */
const digits: PreTokenizer = { json: sequence(split("\\p{N}"), byteLevel), ignoreMerges: false, addBos: false };

const llama3: PreTokenizer = {
  json: sequence(
    split(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
    bytesOnly,
  ),
  ignoreMerges: true,
  addBos: true,
};

const qwen2: PreTokenizer = {
  json: sequence(
    split(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
    bytesOnly,
  ),
  ignoreMerges: false,
  addBos: false,
};

/** What llama.cpp takes where a file does not say: punctuation apart, GPT-2's, digits in threes. */
const fallback: PreTokenizer = {
  json: sequence(
    split("[\\p{P}\\$\\+<=>\\^~\\|]+"),
    split("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"),
    split("\\p{N}+"),
    split("[0-9][0-9][0-9]"),
    bytesOnly,
  ),
  ignoreMerges: false,
  addBos: false,
};

/** By the names that files have. */
export const preTokenizers: { readonly [name: string]: PreTokenizer | undefined } = {
  "gpt-2": gpt2,
  "phi-2": gpt2,
  mpt: gpt2,
  olmo: gpt2,
  smollm: digits,
  starcoder: digits,
  refact: digits,
  "command-r": digits,
  codeshell: digits,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
  default: fallback,
};
