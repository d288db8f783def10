/** A `tokenizer.json` as the metadata of a GGUF file: what `tokenizer.ts` reads. */
import { isDeepStrictEqual } from "node:util";
import { Fields } from "../fields.js";
import { isObject, type JsonObject } from "../files.js";
import { ModelError } from "../error.js";
import type { LlamaConfig } from "../config.js";
import { preTokenizers } from "./pre-tokenizers.js";
import { tokenTypes } from "./tokenizer.js";
import type { Metadata, WrittenValue } from "./writer.js";

/** What the tokenizer of a model is made of. */
export interface GivenTokenizer {
  /** `tokenizer.json`, of a model that has read it. */
  readonly json: JsonObject;
  /** `tokenizer_config.json`. */
  readonly settings: JsonObject;
  /** `chat_template.jinja`. */
  readonly template: string | null;
  /** The token that stands before each text. */
  readonly bos: number | null;
  /** Tokens that end a text. */
  readonly eos: readonly number[];
}

/**
 * The entries of the tokenizer.
 * @throws ModelError M155 of one that GGUF has no name for
 */
export function writtenTokenizer(config: LlamaConfig, given: GivenTokenizer): Metadata {
  const { json, settings, bos, eos } = given;
  const model = isObject(json["model"]) ? json["model"] : {};
  if (model["type"] !== "BPE") throw refusal(`its model is ${JSON.stringify(model["type"])}; GGUF takes BPE`);
  const { tokens, types } = vocabularyOf(config, json, model);
  const kind = isByteLevel(json["pre_tokenizer"]) ? byteLevel(json, model) : sentencePiece(json, model, tokens, types);
  const u32 = (value: number): WrittenValue => ({ type: "u32", value });
  const template = templateOf(given);
  return [
    ...kind,
    ["tokenizer.ggml.tokens", { type: "strings", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32s", value: types }],
    ...entry("tokenizer.ggml.bos_token_id", bos ?? config.bosToken, u32),
    ...entry("tokenizer.ggml.eos_token_id", eos[0] ?? null, u32),
    ...entry("tokenizer.ggml.eot_token_id", eos[1] ?? null, u32),
    ...entry("tokenizer.ggml.eom_token_id", eos[2] ?? null, u32),
    ...entry("tokenizer.ggml.padding_token_id", tokenId(tokens, settings["pad_token"]), u32),
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: bos !== null }],
    ...entry("tokenizer.chat_template", template, (value) => ({ type: "string", value })),
  ];
}

function entry<T>(key: string, value: T | null, written: (value: T) => WrittenValue): Metadata {
  return value === null ? [] : [[key, written(value)]];
}

function refusal(problem: string): ModelError {
  return new ModelError(
    "M155",
    `The tokenizer cannot be written as GGUF: ${problem}.`,
    "take another format: a directory keeps `tokenizer.json` as it is",
  );
}

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}

/** All tokens by id, and what they are; ids that have none are filled up to the size of the embedding. */
function vocabularyOf({ vocabSize }: LlamaConfig, json: JsonObject, model: JsonObject): Vocabulary {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabSize).fill(tokenTypes.unused);
  const put = (token: string, id: unknown, type: number): void => {
    // those beyond are told when a tokenizer is read
    if (typeof id !== "number" || !(id < vocabSize)) return;
    tokens[id] = token;
    types[id] = type;
  };
  const bytes = model["byte_fallback"] === true;
  for (const [token, id] of Object.entries(isObject(model["vocab"]) ? model["vocab"] : {}))
    put(
      token,
      id,
      token === model["unk_token"]
        ? tokenTypes.unknown
        : bytes && /^<0x[0-9A-F]{2}>$/.test(token)
          ? tokenTypes.byte
          : tokenTypes.normal,
    );
  for (const added of Array.isArray(json["added_tokens"]) ? json["added_tokens"] : []) {
    if (!isObject(added) || typeof added["content"] !== "string") continue;
    const special = added["content"] === model["unk_token"] ? tokenTypes.unknown : tokenTypes.control;
    put(added["content"], added["id"], added["special"] === true ? special : tokenTypes.userDefined);
  }
  return { tokens, types };
}

function tokenId(tokens: readonly string[], token: unknown): number | null {
  const text = isObject(token) ? token["content"] : token;
  const id = typeof text === "string" ? tokens.indexOf(text) : -1;
  return id < 0 ? null : id;
}

/** The template of chats: a file of its own, a text, or that of several which is the default. */
function templateOf({ template, settings }: GivenTokenizer): string | null {
  if (template !== null) return template;
  const found = settings["chat_template"];
  if (typeof found === "string") return found;
  const all: readonly unknown[] = Array.isArray(found) ? found : [];
  const usual = all.find((each) => isObject(each) && each["name"] === "default");
  return isObject(usual) && typeof usual["template"] === "string" ? usual["template"] : null;
}

function isByteLevel(step: unknown): boolean {
  return stepsOf(step).some((each) => isObject(each) && each["type"] === "ByteLevel");
}

/** The steps of a sequence, in order; a single step is one. */
function stepsOf(step: unknown): readonly unknown[] {
  if (!isObject(step)) return [];
  const inner = step["type"] === "Sequence" ? (step["pretokenizers"] ?? step["normalizers"]) : undefined;
  return Array.isArray(inner) ? inner.flatMap(stepsOf) : [step];
}

/** Byte-level BPE: the pre-tokenizer by the name that llama.cpp has for it. */
function byteLevel(json: JsonObject, model: JsonObject): Metadata {
  const wanted = stepsOf(json["pre_tokenizer"]).map(canonical);
  const ignore = model["ignore_merges"] === true;
  const names = Object.entries(preTokenizers).filter(
    ([, known]) => known?.ignoreMerges === ignore && isDeepStrictEqual(stepsOf(known.json).map(canonical), wanted),
  );
  const [name] = names[0] ?? [];
  if (name === undefined)
    throw refusal(
      `llama.cpp has no name for the way it cuts texts (\`pre_tokenizer\`); known are ${Object.keys(preTokenizers).join(", ")}`,
    );
  const normalizers = stepsOf(json["normalizer"]).filter((step) => !(isObject(step) && step["type"] === "NFC"));
  if (normalizers.length > 0) throw refusal("it changes texts before it cuts them (`normalizer`)");
  const merges = mergesOf(model).map(([left, right]) => `${left} ${right}`);
  return [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: name }],
    ["tokenizer.ggml.merges", { type: "strings", value: merges }],
  ];
}

/** A step with its defaults, and without what changes no ids. */
function canonical(step: unknown): unknown {
  const fields = new Fields(isObject(step) ? step : {});
  switch (fields.raw("type")) {
    case "ByteLevel":
      return {
        type: "ByteLevel",
        space: fields.boolean("add_prefix_space", true),
        regex: fields.boolean("use_regex", true),
      };
    case "Digits":
      return fields.boolean("individual_digits", false)
        ? { type: "Split", regex: "\\p{N}", behavior: "Isolated", invert: false }
        : step;
    case "Split":
      return {
        type: "Split",
        regex: fields.nested("pattern")?.raw("Regex") ?? fields.raw("pattern"),
        behavior: fields.raw("behavior"),
        invert: fields.boolean("invert", false),
      };
    default:
      return step;
  }
}

/**
 * BPE in the manner of SentencePiece. Its merges become scores: of each token the rank of the first merge that makes it,
 * below zero.
 */
function sentencePiece(
  json: JsonObject,
  model: JsonObject,
  tokens: readonly string[],
  types: readonly number[],
): Metadata {
  if (model["byte_fallback"] !== true) throw refusal("it is neither byte-level nor has it bytes for what has no token");
  const steps = [...stepsOf(json["normalizer"]), ...stepsOf(json["pre_tokenizer"])];
  const ofType = (type: string): JsonObject | undefined => steps.filter(isObject).find((step) => step["type"] === type);
  const space = ofType("Metaspace");
  if (space === undefined && ofType("Replace") === undefined)
    throw refusal("it does not put `▁` in place of spaces, as SentencePiece does");
  const prefix =
    ofType("Prepend") !== undefined ||
    (space !== undefined && space["prepend_scheme"] !== "never" && space["add_prefix_space"] !== false);
  const ranks = new Map<string, number>();
  const merges = mergesOf(model);
  for (const [rank, [left, right]] of merges.entries()) if (!ranks.has(left + right)) ranks.set(left + right, rank);
  const scores = tokens.map((token, id) =>
    types[id] === tokenTypes.normal || types[id] === tokenTypes.userDefined
      ? -(ranks.get(token) ?? merges.length)
      : types[id] === tokenTypes.unused
        ? -1e9
        : 0,
  );
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.pre", { type: "string", value: "default" }],
    ["tokenizer.ggml.scores", { type: "f32s", value: scores }],
    ["tokenizer.ggml.add_space_prefix", { type: "bool", value: prefix }],
    ...entry("tokenizer.ggml.unknown_token_id", tokenId(tokens, model["unk_token"]), (value) => ({
      type: "u32",
      value,
    })),
  ];
}

/** Two forms: a list of two, or a text with a space between. */
function mergesOf(model: JsonObject): readonly (readonly [string, string])[] {
  const merges: readonly unknown[] = Array.isArray(model["merges"]) ? model["merges"] : [];
  return merges.map((merge) => {
    if (Array.isArray(merge)) return [String(merge[0]), String(merge[1])];
    const text = String(merge);
    const at = text.indexOf(" ", 1);
    return [text.slice(0, at), text.slice(at + 1)];
  });
}
