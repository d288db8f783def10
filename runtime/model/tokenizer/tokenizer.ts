import { join } from "node:path";
import { ModelError, problemsError, quoted } from "../error.js";
import { Fields } from "../fields.js";
import { exists, isObject, readJson, readJsonIfAny, sizeLimits, type JsonObject } from "../files.js";
import { finderOf, parseAddedTokens, type AddedToken } from "./added-tokens.js";
import { decodingSink, parseDecoder, type Decoder } from "./decoder.js";
import { encodePiece, parseModel, type TokenModel } from "./model.js";
import { keepsStart, makesBytes, normalize, parseNormalizer, type Normalizer } from "./normalizer.js";
import { parsePostProcessor, type Frame } from "./post-processor.js";
import { isId, parseVocabulary } from "./vocabulary.js";
import { looksForStart, parsePreTokenizer, preTokenize, type PreTokenizer } from "./pre-tokenizer.js";

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
   * @throws ModelError M143 for text that the tokenizer has no tokens for
   */
  encode(text: string, options: { readonly prefix: boolean }): Uint32Array<ArrayBuffer>;
  /** The text of ids; special and unknown ones have none. Incomplete UTF-8 becomes U+FFFD. */
  decode(ids: Iterable<number>): string;
  /** The token as the vocabulary spells it, null for an unknown id. */
  spelling(id: number): string | null;
  /** A decoder for ids that come one by one: all that it gives together is what `decode` gives. */
  stream(): TextStream;
}

/** Decodes ids as they come. To go on after a prompt, push its ids first. */
export interface TextStream {
  /** The text that an id makes certain; "" while a character is unfinished, and for special tokens. */
  push(id: number): string;
  /** What is left at the end: an unfinished character as U+FFFD. */
  end(): string;
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

/** What `tokenizer.json` says. */
interface Description {
  readonly normalizer: Normalizer | null;
  readonly preTokenizer: PreTokenizer | null;
  readonly model: TokenModel;
  readonly frame: Frame;
  readonly decoder: Decoder | null;
  readonly added: readonly AddedToken[];
}

/** As `readTokenizer`, of parsed files; `path` is for messages. */
export function makeTokenizer(
  path: string,
  json: JsonObject,
  settings: JsonObject,
  expected: TokenizerExpectation,
): Tokenizer {
  checkVocabulary(path, vocabularyIds(path, json), expected);
  const { normalizer, preTokenizer, model, frame, decoder, added } = describeTokenizer(path, json);
  const spellings = new Map([...model.vocabulary].map(([token, id]) => [id, token]));
  // where the normalizer makes bytes of a text, the decoder makes text of bytes
  const written = normalizer !== null && makesBytes(normalizer) ? normalizer : null;
  const texts = new Map(spellings);
  for (const { id, content, normalized } of added) {
    spellings.set(id, content);
    texts.set(id, normalized && written !== null ? normalize(written, content) : content);
  }
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const prefix = prefixOf(frame, settings, (token) => {
    const found = added.find(({ content }) => content === token);
    return found?.id ?? model.vocabulary.get(token);
  });
  if (prefix.some((id) => !spellings.has(id)))
    throw new ModelError("M141", `${quoted(path)} puts a token before each text that is not in its vocabulary.`);
  // special tokens in a text are then text
  const found = settings["split_special_tokens"] === true ? added.filter((token) => !token.special) : added;
  const asWritten = finderOf(
    found.filter((token) => !token.normalized),
    null,
  );
  const asNormalized = finderOf(
    found.filter((token) => token.normalized),
    normalizer,
  );

  function* idsOf(text: string): Generator<number> {
    for (const section of asWritten(text)) {
      if (section.kind === "token") yield section.id;
      else {
        const normalized = normalizer === null ? section.text : normalize(normalizer, section.text);
        for (const part of asNormalized(normalized)) {
          if (part.kind === "token") yield part.id;
          else yield* encodeText({ text: part.text, isFirst: section.start === 0 && part.start === 0 });
        }
      }
    }
  }
  function* encodeText(whole: { readonly text: string; readonly isFirst: boolean }): Generator<number> {
    for (const { text } of preTokenizer === null ? [whole] : preTokenize(preTokenizer, whole))
      yield* encodePiece(model, text);
  }
  function stream(): TextStream {
    let given = "";
    const sink = decodingSink(decoder, {
      open: () => undefined,
      close: () => undefined,
      end: () => undefined,
      text(part) {
        given += part;
      },
    });
    const taken = (): string => {
      const text = given;
      given = "";
      return text;
    };
    return {
      push(id) {
        const token = special.has(id) ? undefined : texts.get(id);
        if (token === undefined) return "";
        sink.open();
        sink.text(token);
        sink.close();
        return taken();
      },
      end() {
        sink.end();
        return taken();
      },
    };
  }
  return {
    prefix,
    size: [...spellings.keys()].reduce((most, id) => Math.max(most, id), -1) + 1,
    special,
    stream,
    encode: (text, options) => Uint32Array.from(options.prefix ? [...prefix, ...idsOf(text)] : idsOf(text)),
    decode(ids) {
      const { push, end } = stream();
      let text = "";
      for (const id of ids) text += push(id);
      return text + end();
    },
    bos: prefix[0] ?? null,
    spelling: (id) => spellings.get(id) ?? null,
  };
}

/** @throws ModelError M141, with all that is wrong or not supported */
function describeTokenizer(path: string, json: JsonObject): Description {
  const fields = new Fields(json);
  if (fields.has("version") && fields.raw("version") !== "1.0")
    fields.problem("version", `"1.0"`, fields.raw("version"));
  // the Hugging Face library cuts and pads where its caller says so
  for (const name of ["truncation", "padding"]) fields.raw(name);
  const model = parseModel(fields.nested("model") ?? new Fields({}, "model.", fields.problems));
  const part = <T>(name: string, parse: (component: Fields) => T): T | null => {
    const component = fields.nested(name);
    return component === null ? null : parse(component);
  };
  const normalizer = part("normalizer", parseNormalizer);
  const preTokenizer = part("pre_tokenizer", parsePreTokenizer);
  const start = preTokenizer === null ? "no" : looksForStart(preTokenizer);
  if (start === "later" || (start === "at once" && normalizer !== null && !keepsStart(normalizer)))
    fields.refuse(
      "pre_tokenizer.prepend_scheme",
      `which is "first": where the text starts is not known behind other steps that change or cut it`,
    );
  const description: Description = {
    model,
    normalizer,
    preTokenizer,
    frame: part("post_processor", parsePostProcessor) ?? { before: [], after: [] },
    decoder: part("decoder", parseDecoder),
    added: parseAddedTokens(fields, model.vocabulary, normalizer),
  };
  fields.refuseRest();
  if (fields.problems.length > 0) throw unusable(path, fields.problems);
  return description;
}

function unusable(path: string, problems: readonly string[]): ModelError {
  return problemsError(
    "M141",
    `${quoted(path)} cannot be used`,
    problems,
    "the file may be damaged, or have parts that are not supported: spec/tokenizer.md says which are",
  );
}

/** The special tokens before a text: the post-processor's, or as `add_bos_token` of tokenizer_config.json says. */
function prefixOf(
  { before }: Frame,
  settings: JsonObject,
  idOf: (token: string) => number | undefined,
): readonly number[] {
  if (settings["add_bos_token"] === false) return [];
  if (settings["add_bos_token"] !== true || before.length > 0) return before;
  const token = settings["bos_token"];
  const content = isObject(token) ? token["content"] : token;
  const id = typeof content === "string" ? idOf(content) : undefined;
  return id === undefined ? [] : [id];
}

/** Every id of the vocabulary and of added tokens. @throws ModelError M141 where there is no vocabulary */
function vocabularyIds(path: string, json: JsonObject): ReadonlySet<number> {
  const fields = new Fields(json);
  const model = fields.nested("model");
  if (model === null && fields.problems.length === 0) fields.problem("model", "an object", json["model"]);
  const vocabulary = model?.raw("vocab");
  const ids = new Set<number>(Array.isArray(vocabulary) ? vocabulary.keys() : []);
  if (!Array.isArray(vocabulary) && model !== null) for (const id of parseVocabulary(model).values()) ids.add(id);
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
