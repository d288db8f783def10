import { counted } from "../../../compiler/words.js";
import { ModelError, problemsError, quoted } from "../error.js";
import { Fields } from "../fields.js";
import { jsonOf, jsonOfAny, type Directory } from "../directory.js";
import { isObject, sizeLimits, type JsonObject } from "../json.js";
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

/** What computes tokens: the Rust library in Node, one in JavaScript in a page. Both are of Hugging Face. */
export interface TokenizerLibrary {
  /** A tokenizer of a `tokenizer.json`, neither cut nor padded. What is wrong with it is an Error of any kind. */
  load(json: JsonObject): Promise<LoadedTokenizer>;
}

/** A tokenizer of such a library. */
export interface LoadedTokenizer {
  /** One above the largest id. */
  readonly size: number;
  encode(text: string, addSpecialTokens: boolean): Promise<readonly number[]>;
  tokenToId(token: string): number | null;
  idToToken(id: number): string | null;
  /** The text of tokens as the vocabulary spells them. */
  decode(tokens: readonly string[]): string;
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
export async function tokenizerIn(
  directory: Directory,
  expected: TokenizerExpectation,
  library: TokenizerLibrary,
): Promise<Tokenizer> {
  if (!(await directory.has(tokenizerFile))) {
    const old = (await directory.has("tokenizer.model")) ? ", only a SentencePiece file `tokenizer.model`" : "";
    throw new ModelError(
      "M140",
      `${quoted(directory.path)} has no \`tokenizer.json\`${old}.`,
      "convert the tokenizer with the Hugging Face library (`AutoTokenizer.from_pretrained(...).save_pretrained(...)`)",
    );
  }
  const json = await jsonOf(directory, tokenizerFile, sizeLimits.tokenizer);
  const settings = (await jsonOfAny(directory, "tokenizer_config.json", sizeLimits.config)) ?? {};
  return tokenizerFrom(directory.pathOf(tokenizerFile), json, settings, expected, library);
}

/**
 * Whether the `tokenizer.json` of a directory is whole and of the model, whatever parts it has.
 * @throws ModelError M100 to M104 (the files), M141 (no ids), M142 (is of another model)
 */
export async function checkTokenizer(directory: Directory, expected: TokenizerExpectation): Promise<void> {
  const path = directory.pathOf(tokenizerFile);
  checkVocabulary(path, vocabularyIds(path, await jsonOf(directory, tokenizerFile, sizeLimits.companion)), expected);
}

/**
 * As `tokenizerIn`, of parsed files; `path` is for messages. Ids are those of the library, which computes them.
 */
export async function tokenizerFrom(
  path: string,
  json: JsonObject,
  settings: JsonObject,
  expected: TokenizerExpectation,
  library: TokenizerLibrary,
): Promise<Tokenizer> {
  checkVocabulary(path, vocabularyIds(path, json), expected);
  const added = addedTokens(path, json);
  const whole = await load(library, path, json);
  for (const { id, content } of added)
    if (whole.tokenToId(content) !== id)
      throw unusable(path, [
        `\`added_tokens\` has ${quoted(content)} with the id ${id}, which the Hugging Face library gives ${whole.tokenToId(content)}`,
      ]);
  // special tokens in a text are text where the settings say so
  const splits = settings["split_special_tokens"] === true && added.some(({ special }) => special);
  const reader = splits
    ? await load(library, path, { ...json, post_processor: null, added_tokens: withoutSpecial(json["added_tokens"]) })
    : whole;
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const prefix = await prefixOf(path, whole, settings);
  const spelled = new Map<number, string>();
  /** The library is asked for a token once: an answer takes it as long as a text of several tokens. */
  const spellingOf = (id: number): string | null => {
    const known = spelled.get(id);
    if (known !== undefined) return known;
    const token = whole.idToToken(id);
    if (token !== null) spelled.set(id, token);
    return token;
  };
  const decode = (ids: readonly number[]): string => {
    const tokens = ids.filter((id) => !special.has(id)).flatMap((id) => spellingOf(id) ?? []);
    return whole.decode(tokens);
  };
  return {
    prefix,
    bos: prefix[0] ?? null,
    size: whole.size,
    special,
    spelling: (id) => (isId(id) ? spellingOf(id) : null),
    async encode(text, options) {
      const ids = await reader.encode(text, false).catch((error: unknown) => {
        throw new ModelError("M143", `The model's tokenizer has no tokens for the text: ${messageOf(error)}.`);
      });
      return Uint32Array.from(options.prefix ? [...prefix, ...ids] : ids);
    },
    decode: (ids) => decode([...ids]),
    stream: () =>
      textStream(decode, {
        isByte: (id) => /^<0x[0-9A-F]{2}>$/.test(spellingOf(id) ?? ""),
        hasText: (id) => !special.has(id) && spellingOf(id) !== null,
      }),
  };
}

/** @throws ModelError M141 */
async function load(library: TokenizerLibrary, path: string, json: JsonObject): Promise<LoadedTokenizer> {
  const problems = [...unfitting(json["model"], "model"), ...unfitting(json["decoder"], "decoder")];
  if (problems.length > 0) throw unusable(path, problems);
  try {
    // the Hugging Face library cuts and pads where its caller says so
    return await library.load({ ...json, truncation: null, padding: null });
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
async function prefixOf(path: string, tokenizer: LoadedTokenizer, settings: JsonObject): Promise<readonly number[]> {
  if (settings["add_bos_token"] === false) return [];
  const [bare, framed] = [await tokenizer.encode("a", false), await tokenizer.encode("a", true)];
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
