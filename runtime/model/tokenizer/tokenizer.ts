import { counted } from "../../../compiler/words.js";
import { join } from "node:path";
import type { Tokenizer as Rust } from "tokenizers";
import { ModelError, problemsError, quoted } from "../error.js";
import { Fields } from "../fields.js";
import { exists, isObject, readJson, readJsonIfAny, sizeLimits, type JsonObject } from "../files.js";
import { textStream, type TextStream } from "./stream.js";
import { isId, mostIds } from "./ids.js";

/** Text to token ids and back. */
export interface Tokenizer {
  /** The token that stands before every text (`<|begin_of_text|>`), null for a tokenizer that adds none. */
  readonly bos: number | null;
  /** All tokens that are put before a text; usually `[bos]` or none. What is put behind texts has no use here. */
  readonly prefix: readonly number[];
  /** One above the largest id. */
  readonly size: number;
  /** Ids of special tokens, which `decode` leaves out. */
  readonly special: ReadonlySet<number>;
  /**
   * Ids of a text of any length, with `prefix` before them where `prefix` is asked for.
   * @throws ModelError M143 for text that the tokenizer refuses, as it has no tokens for it
   */
  encode(text: string, options: { readonly prefix: boolean }): Promise<Uint32Array<ArrayBuffer>>;
  /** The text of ids; special and unknown ones have none. Incomplete UTF-8 becomes U+FFFD. */
  decode(ids: Iterable<number>): string;
  /** The token as the vocabulary spells it, null for an unknown id. */
  spelling(id: number): string | null;
  /** A decoder for ids that come one by one: all that it gives together is what `decode` gives. */
  stream(): TextStream;
}

/** What of a model's config a tokenizer has to agree with. */
export interface TokenizerExpectation {
  readonly vocabSize: number;
  readonly bosToken: number | null;
  readonly eosTokens: readonly number[];
}

export const tokenizerFile = "tokenizer.json";

/**
 * Loads `tokenizer.json` (and `tokenizer_config.json`, where there is one) of a model directory.
 * @throws ModelError M100 to M104 (the files), M140 (none there), M141 (cannot be used), M142 (is of another model)
 */
export async function readTokenizer(directory: string, expected: TokenizerExpectation): Promise<Tokenizer> {
  const path = join(directory, tokenizerFile);
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

/**
 * Whether the `tokenizer.json` of a directory is whole and of the model, whatever parts it has.
 * @throws ModelError M100 to M104 (the files), M141 (no ids), M142 (is of another model)
 */
export async function checkTokenizer(directory: string, expected: TokenizerExpectation): Promise<void> {
  const path = join(directory, tokenizerFile);
  checkVocabulary(path, vocabularyIds(path, await readJson(path, sizeLimits.companion)), expected);
}

/**
 * As `readTokenizer`, of parsed files; `path` is for messages. Ids are those of the Rust library, which computes them.
 */
export async function makeTokenizer(
  path: string,
  json: JsonObject,
  settings: JsonObject,
  expected: TokenizerExpectation,
): Promise<Tokenizer> {
  checkVocabulary(path, vocabularyIds(path, json), expected);
  const added = addedTokens(path, json);
  const whole = await load(path, json);
  for (const { id, content } of added)
    if (whole.tokenToId(content) !== id)
      throw unusable(path, [
        `\`added_tokens\` has ${quoted(content)} with the id ${id}, which the Hugging Face library gives ${whole.tokenToId(content)}`,
      ]);
  // special tokens in a text are text where the settings say so
  const splits = settings["split_special_tokens"] === true && added.some(({ special }) => special);
  const reader = splits
    ? await load(path, { ...json, post_processor: null, added_tokens: withoutSpecial(json["added_tokens"]) })
    : whole;
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const prefix = await prefixOf(path, whole, settings);
  const decoder = whole.getDecoder();
  const decode = (ids: readonly number[]): string => {
    const tokens = ids.filter((id) => !special.has(id)).flatMap((id) => whole.idToToken(id) ?? []);
    return decoder === null ? tokens.join(" ") : decoder.decode(tokens);
  };
  return {
    prefix,
    bos: prefix[0] ?? null,
    size: [...Object.values(whole.getVocab(true))].reduce((most, id) => Math.max(most, id), -1) + 1,
    special,
    spelling: (id) => (isId(id) ? whole.idToToken(id) : null),
    async encode(text, options) {
      const ids = await idsOf(reader, text, false).catch((error: unknown) => {
        throw new ModelError("M143", `The model's tokenizer has no tokens for the text: ${messageOf(error)}.`);
      });
      return Uint32Array.from(options.prefix ? [...prefix, ...ids] : ids);
    },
    decode: (ids) => decode([...ids]),
    stream: () =>
      textStream(decode, {
        isByte: (id) => /^<0x[0-9A-F]{2}>$/.test(whole.idToToken(id) ?? ""),
        hasText: (id) => !special.has(id) && whole.idToToken(id) !== null,
      }),
  };
}

async function idsOf(tokenizer: Rust, text: string, addSpecialTokens: boolean): Promise<readonly number[]> {
  return (await tokenizer.encode(text, null, { addSpecialTokens })).getIds();
}

/** @throws ModelError M141 */
async function load(path: string, json: JsonObject): Promise<Rust> {
  const problems = [...unfitting(json["model"], "model"), ...unfitting(json["decoder"], "decoder")];
  if (problems.length > 0) throw unusable(path, problems);
  // native code: loaded where there is a text
  const { Tokenizer: Native } = await import("tokenizers");
  try {
    // the Hugging Face library cuts and pads where its caller says so
    return Native.fromString(JSON.stringify({ ...json, truncation: null, padding: null }));
  } catch (error) {
    throw unusable(path, [`the Hugging Face library says: ${messageOf(error)}`]);
  }
}

/** What of a component, and of those in it, the Rust library takes and does not do what is wanted of it. */
function unfitting(component: unknown, name: string): readonly string[] {
  if (!isObject(component)) return [];
  const { dropout, type, stop, decoders } = component;
  return [
    ...(typeof dropout === "number" && dropout > 0
      ? [`it needs \`${name}.dropout\`, which is ${dropout}: the tokens of a text would be left to chance`]
      : []),
    // a token shorter than that ends the process
    ...(type === "Strip" && typeof stop === "number" && stop > 0
      ? [`it needs \`${name}.stop\`, which is ${stop}: only a \`Strip\` of the start is supported`]
      : []),
    ...(Array.isArray(decoders) ? decoders.flatMap((each, at) => unfitting(each, `${name}.decoders[${at}]`)) : []),
  ];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** @throws ModelError M141 */
function addedTokens(path: string, json: JsonObject): readonly AddedToken[] {
  const fields = new Fields(json);
  const tokens = fields.list("added_tokens").map((token): AddedToken => {
    const [id, content] = [token.raw("id"), token.raw("content")];
    if (typeof content !== "string") token.problem("content", "a string", content);
    return { id: isId(id) ? id : -1, content: String(content), special: token.raw("special") === true };
  });
  if (fields.problems.length > 0) throw unusable(path, fields.problems);
  return tokens;
}

/** The same tokens with the same ids; the special ones are spelt by what is no character, which no text has. */
function withoutSpecial(tokens: unknown): unknown {
  if (!Array.isArray(tokens)) return tokens;
  return tokens.map((token: unknown, at) =>
    isObject(token) && token["special"] === true ? { ...token, content: `\u{10FFFF}${at}\u{10FFFF}` } : token,
  );
}

function unusable(path: string, problems: readonly string[]): ModelError {
  return problemsError(
    "M141",
    `${quoted(path)} cannot be used`,
    problems,
    "the file may be damaged, or made for a newer version of the Hugging Face library",
  );
}

/** The special tokens before a text: the post-processor's, or as `add_bos_token` of tokenizer_config.json says. */
async function prefixOf(path: string, tokenizer: Rust, settings: JsonObject): Promise<readonly number[]> {
  if (settings["add_bos_token"] === false) return [];
  const [bare, framed] = [await idsOf(tokenizer, "a", false), await idsOf(tokenizer, "a", true)];
  const start = framed.findIndex((_, at) => bare.every((id, offset) => framed[at + offset] === id));
  const before = framed.slice(0, Math.max(0, start));
  if (before.some((id) => tokenizer.idToToken(id) === null))
    throw unusable(path, ["it puts a token before each text that is not in its vocabulary"]);
  if (settings["add_bos_token"] !== true || before.length > 0) return before;
  const token = settings["bos_token"];
  const content = isObject(token) ? token["content"] : token;
  const id = typeof content === "string" ? tokenizer.tokenToId(content) : null;
  return id === null ? [] : [id];
}

/** Every id of the vocabulary and of added tokens. @throws ModelError M141 where there is no vocabulary */
function vocabularyIds(path: string, json: JsonObject): ReadonlySet<number> {
  const fields = new Fields(json);
  const model = fields.nested("model");
  if (model === null && fields.problems.length === 0) fields.problem("model", "an object", json["model"]);
  const vocabulary = model?.raw("vocab");
  const ids = new Set<number>(Array.isArray(vocabulary) ? vocabulary.keys() : []);
  if (model !== null && !Array.isArray(vocabulary) && !isObject(vocabulary))
    model.problem("vocab", "an object of ids by token", vocabulary);
  for (const id of isObject(vocabulary) ? Object.values(vocabulary) : [])
    if (isId(id)) ids.add(id);
    else model?.problem("vocab", `an object of ids from 0 to ${mostIds - 1}`, id);
  for (const token of fields.list("added_tokens")) {
    const id = token.raw("id");
    if (isId(id)) ids.add(id);
    else token.problem("id", "an id", id);
  }
  if (fields.problems.length > 0) throw unusable(path, fields.problems);
  return ids;
}

/**
 * A tokenizer of another model must not go unnoticed. Too large ids prove it. Too few tokens only suggest it:
 * vocabularies are padded, but never by more than a tenth or 1024.
 */
function checkVocabulary(path: string, ids: ReadonlySet<number>, expected: TokenizerExpectation): void {
  const problems: string[] = [];
  const { vocabSize } = expected;
  const beyond = [...ids].filter((id) => id >= vocabSize);
  if (beyond.length > 0)
    problems.push(
      `it has ${counted(ids.size, "token")}, ${beyond.length} of them with ${beyond.length === 1 ? "an id" : "ids"} of ${vocabSize} and above, but the model's vocab_size is ${vocabSize}`,
    );
  else if (ids.size < vocabSize - Math.max(1024, vocabSize / 10))
    problems.push(`it has only ${counted(ids.size, "token")}, but the model's vocab_size is ${vocabSize}`);
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
