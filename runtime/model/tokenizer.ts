import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { ModelError, problemsError, quoted } from "./error.js";
import { Fields } from "./fields.js";
import { describe, exists, isObject, readJson, readJsonIfAny, sizeLimits, type JsonObject } from "./files.js";
import { textStream, type TextStream } from "./text-stream.js";

/** Text to token ids and back. */
export interface Tokenizer {
  /** The token that stands before every text (`<|begin_of_text|>`), null for a tokenizer that adds none. */
  readonly bos: number | null;
  /** All tokens that are put before a text; usually `[bos]` or none. */
  readonly prefix: readonly number[];
  /** One above the largest id. */
  readonly size: number;
  /** Ids of special tokens, which `decode` leaves out. */
  readonly special: ReadonlySet<number>;
  /**
   * Ids of a text of any length, with `prefix` before them where `prefix` is asked for.
   * @throws ModelError M143 for text that the tokenizer has no tokens for
   */
  encode(text: string, options: { readonly prefix: boolean }): Uint32Array<ArrayBuffer>;
  /** The text of ids; special and unknown ones have none. Incomplete UTF-8 becomes U+FFFD. */
  decode(ids: Iterable<number>): string;
  /** The token as the vocabulary spells it, null for an unknown id. */
  spelling(id: number): string | null;
  /** A decoder for ids that come one by one. */
  stream(): TextStream;
}

/** What of a model's config a tokenizer has to agree with. */
export interface TokenizerExpectation {
  readonly vocabSize: number;
  readonly bosToken: number | null;
  readonly eosTokens: readonly number[];
}

/**
 * Loads `tokenizer.json` (and `tokenizer_config.json`, where there is one) of a model directory.
 * @throws ModelError M100 to M104 (the files), M140 (none there), M141 (cannot be used), M142 (is of another model)
 */
export async function readTokenizer(directory: string, expected: TokenizerExpectation): Promise<Tokenizer> {
  const path = join(directory, "tokenizer.json");
  if (!(await exists(path))) {
    const old = (await exists(join(directory, "tokenizer.model")))
      ? ", only a SentencePiece file `tokenizer.model`"
      : "";
    throw new ModelError(
      "M140",
      `${quoted(directory)} has no \`tokenizer.json\`${old}.`,
      "convert the tokenizer with the Hugging Face library (`AutoTokenizer.from_pretrained(...).save_pretrained(...)`)",
    );
  }
  const json = await readJson(path, sizeLimits.tokenizer);
  const settings = (await readJsonIfAny(join(directory, "tokenizer_config.json"), sizeLimits.config)) ?? {};
  return makeTokenizer(path, json, settings, expected);
}

/** As `readTokenizer`, of parsed files; `path` is for messages. */
export function makeTokenizer(
  path: string,
  json: JsonObject,
  settings: JsonObject,
  expected: TokenizerExpectation,
): Tokenizer {
  const ids = vocabularyIds(path, json);
  checkVocabulary(path, ids, expected);
  const special = new Set<number>();
  for (const token of listOf(json["added_tokens"]))
    if (isObject(token) && token["special"] === true) special.add(Number(token["id"]));
  const library = load(path, json, settings);
  const size = [...ids].reduce((most, id) => Math.max(most, id), -1) + 1;

  function encodeBare(text: string, withSpecial: boolean): number[] {
    // A text without tokens, "" for one, is refused by some post-processors.
    return text === "" && !withSpecial ? [] : library.encode(text, { add_special_tokens: withSpecial }).ids;
  }
  function decode(list: Iterable<number>): string {
    const known = [...list].filter((id) => !special.has(id) && library.id_to_token(id) !== undefined);
    return known.length === 0
      ? ""
      : library.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }
  function encode(text: string, options: { readonly prefix: boolean }): Uint32Array<ArrayBuffer> {
    const found = encodeBare(text, false);
    if (found.some((id) => !ids.has(id)))
      throw new ModelError("M143", "The text has characters for which the model's tokenizer has no token.");
    return Uint32Array.from(options.prefix ? [...prefix, ...found] : found);
  }
  const prefix = attempt(path, () => findPrefix(library, settings, encodeBare));
  const unknown = prefix.filter((id) => !ids.has(id));
  if (unknown.length > 0)
    throw new ModelError("M141", `${quoted(path)} puts a token before each text that is not in its vocabulary.`);
  return {
    prefix,
    size,
    special,
    encode,
    decode,
    bos: prefix[0] ?? null,
    spelling: (id) => library.id_to_token(id) ?? null,
    stream: () => textStream(decode),
  };
}

/** The special tokens before a text: the post-processor's, or as `add_bos_token` of tokenizer_config.json says. */
function findPrefix(
  library: HuggingFaceTokenizer,
  settings: JsonObject,
  encode: (text: string, withSpecial: boolean) => number[],
): readonly number[] {
  const bare = encode("a", false);
  const whole = encode("a", true);
  const start = whole.findIndex((_, at) => bare.length > 0 && bare.every((id, i) => whole[at + i] === id));
  const prefix = whole.slice(0, Math.max(start, 0));
  if (settings["add_bos_token"] === false) return [];
  if (settings["add_bos_token"] !== true || prefix.length > 0) return prefix;
  const token = settings["bos_token"];
  const content = isObject(token) ? token["content"] : token;
  const id = typeof content === "string" ? library.token_to_id(content) : undefined;
  return id === undefined ? [] : [id];
}

function load(path: string, json: JsonObject, settings: JsonObject): HuggingFaceTokenizer {
  // The library asks for these keys to be there; files may leave them out, which means null.
  const complete = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...json,
    added_tokens: listOf(json["added_tokens"]),
  };
  return attempt(path, () => new HuggingFaceTokenizer(complete, settings));
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError(
      "M141",
      `${quoted(path)} cannot be used: ${error instanceof Error ? error.message : String(error)}.`,
      "the file may be damaged, or use a part that @huggingface/tokenizers has not",
      { cause: error },
    );
  }
}

/** Every id of the vocabulary and the added tokens, checked to be ids. */
function vocabularyIds(path: string, json: JsonObject): ReadonlySet<number> {
  const model = json["model"];
  if (!isObject(model))
    throw new ModelError(
      "M141",
      `${quoted(path)} cannot be used: \`model\` should be an object, found ${describe(model)}.`,
    );
  const vocabulary = model["vocab"];
  const listed = Array.isArray(vocabulary);
  if (!listed && !isObject(vocabulary))
    throw new ModelError(
      "M141",
      `${quoted(path)} cannot be used: \`model.vocab\` should be an object, found ${describe(vocabulary)}.`,
    );
  const ids = new Set<number>();
  const wrong: string[] = [];
  const add = (id: unknown, where: string): void => {
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < 2 ** 24) ids.add(id);
    else wrong.push(`the id of ${where} should be an integer from 0 to ${2 ** 24 - 1}, found ${describe(id)}`);
  };
  if (listed) vocabulary.forEach((_, id) => add(id, `token ${id}`));
  else for (const [token, id] of Object.entries(vocabulary)) add(id, `the token ${quoted(token)}`);
  listOf(json["added_tokens"]).forEach((token, i) => {
    const fields = new Fields(isObject(token) ? token : {}, `added_tokens[${i}].`);
    if (fields.string("content") === null) wrong.push(`\`added_tokens[${i}]\` should have a string as \`content\``);
    add(fields.raw("id"), `\`added_tokens[${i}]\``);
  });
  if (wrong.length > 0) throw problemsError("M141", `${quoted(path)} cannot be used`, wrong);
  return ids;
}

/**
 * A tokenizer of another model must not go unnoticed. Too large ids prove it. Too few tokens only suggest it:
 * vocabularies
 * are padded, but never by more than a tenth or 1024.
 */
function checkVocabulary(path: string, ids: ReadonlySet<number>, expected: TokenizerExpectation): void {
  const problems: string[] = [];
  const { vocabSize } = expected;
  const beyond = [...ids].filter((id) => id >= vocabSize);
  if (beyond.length > 0)
    problems.push(
      `it has ${ids.size} tokens, ${beyond.length} of them with ids of ${vocabSize} and above, but the model's vocab_size is ${vocabSize}`,
    );
  else if (ids.size < vocabSize - Math.max(1024, vocabSize / 10))
    problems.push(`it has only ${ids.size} tokens, but the model's vocab_size is ${vocabSize}`);
  const named = [
    ...(expected.bosToken === null ? [] : [["bos_token_id", expected.bosToken] as const]),
    ...expected.eosTokens.map((id) => ["eos_token_id", id] as const),
  ];
  for (const [name, id] of named)
    if (!ids.has(id)) problems.push(`it has no token with the id ${id}, the config's ${name}`);
  if (problems.length > 0)
    throw problemsError(
      "M142",
      `The tokenizer ${quoted(path)} does not match the model`,
      problems,
      "take tokenizer.json from the place the model came from",
    );
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
