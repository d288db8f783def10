import { counted } from "../../../compiler/words.js";
import { ModelError, quoted } from "../error.js";
import { describe, type JsonObject } from "../json.js";
import type { GgufFile } from "./container.js";
import { preTokenizers } from "./pre-tokenizers.js";
import type { MetadataList } from "./types.js";

/** The contents of `tokenizer.json` and `tokenizer_config.json`. */
export interface TokenizerFiles {
  readonly json: JsonObject;
  readonly settings: JsonObject;
}

/** What `tokenizer.ggml.token_type` says of a token. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Most characters of a token that merges are sought for. */
const longestToken = 1024;

/** A vocabulary as the file has it. */
interface Vocabulary {
  readonly path: string;
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
}

/**
 * The tokenizer of a GGUF file in the form of Hugging Face: `gpt2` (byte-level BPE with merges), or `llama`
 * (SentencePiece BPE, whose scores become merges, with bytes for what has no token).
 * @throws ModelError M140 (no tokenizer), M141 (one that cannot be used, or is not supported)
 */
export function tokenizerOf(file: GgufFile): TokenizerFiles {
  const { path, metadata } = file;
  const kind = metadata.get("tokenizer.ggml.model");
  if (kind === undefined || kind === "none")
    throw new ModelError("M140", `${quoted(path)} has no tokenizer.`, "take a GGUF file of the whole model");
  if (kind !== "gpt2" && kind !== "llama")
    throw new ModelError(
      "M141",
      `The tokenizer of ${quoted(path)} is of the kind ${describe(kind)} (\`tokenizer.ggml.model\`); expected "gpt2" or "llama".`,
    );
  const vocabulary = readVocabulary(file);
  const { model, addBos, steps } =
    kind === "gpt2" ? byteLevelModel(file, vocabulary) : sentencePieceModel(file, vocabulary);
  const bos = tokenText(file, vocabulary, "bos");
  const addsBos = flag(file, "tokenizer.ggml.add_bos_token", addBos);
  if (addsBos && bos === null)
    throw unusable(path, "a bos token stands before texts, but `tokenizer.ggml.bos_token_id` names none");
  return {
    json: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      ...steps,
      post_processor: addsBos && bos !== null ? template(bos, vocabulary.tokens.indexOf(bos)) : null,
      model,
    },
    settings: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: bos,
      eos_token: tokenText(file, vocabulary, "eos"),
      unk_token: tokenText(file, vocabulary, "unknown"),
      pad_token: tokenText(file, vocabulary, "padding"),
      add_bos_token: addsBos,
      add_eos_token: flag(file, "tokenizer.ggml.add_eos_token", false),
      clean_up_tokenization_spaces: false,
      ...(typeof metadata.get("tokenizer.chat_template") === "string"
        ? { chat_template: metadata.get("tokenizer.chat_template") }
        : {}),
    },
  };
}

/** What the tokenizer of a file rests on that the file does not say: a sentence each, without a full stop. */
export function guessesOf({ path, metadata }: GgufFile): readonly string[] {
  const kind = metadata.get("tokenizer.ggml.model");
  if (kind !== "gpt2" && kind !== "llama") return [];
  const guesses: string[] = [];
  if (kind === "gpt2" && !metadata.has("tokenizer.ggml.pre"))
    guesses.push(
      `${quoted(path)} does not say how its tokenizer cuts a text (\`tokenizer.ggml.pre\`): it is cut as llama.cpp cuts it then, and if the model was trained on other pieces, all that it computes is worse for it; take a file of a current converter`,
    );
  if (!metadata.has("tokenizer.ggml.token_type"))
    guesses.push(
      `${quoted(path)} does not say which of its tokens are special (\`tokenizer.ggml.token_type\`): none of them is found in a text`,
    );
  return guesses;
}

/** A tokenizer's model, and its steps before and after. */
interface Parts {
  readonly model: JsonObject;
  readonly addBos: boolean;
  readonly steps: {
    readonly normalizer: JsonObject | null;
    readonly pre_tokenizer: JsonObject | null;
    readonly decoder: JsonObject;
  };
}

function byteLevelModel(file: GgufFile, { path, tokens }: Vocabulary): Parts {
  const name = file.metadata.get("tokenizer.ggml.pre") ?? "default";
  const pre = typeof name === "string" && Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (pre === undefined)
    throw new ModelError(
      "M141",
      `The tokenizer of ${quoted(path)} has the pre-tokenizer ${describe(name)} (\`tokenizer.ggml.pre\`), which is not supported; expected one of ${Object.keys(preTokenizers).join(", ")}.`,
    );
  const merges = strings(file, "tokenizer.ggml.merges").map((merge, at) => {
    // a token may itself start with a space
    const space = merge.indexOf(" ", 1);
    if (space < 0 || space === merge.length - 1)
      throw unusable(path, `merge ${at} should be two tokens with a space between, found ${describe(merge)}`);
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
  return {
    addBos: pre.addBos,
    steps: {
      normalizer: null,
      pre_tokenizer: pre.json,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    },
    model: bpe({ vocab: idsOf(tokens), merges, ignore_merges: pre.ignoreMerges }),
  };
}

function sentencePieceModel(file: GgufFile, vocabulary: Vocabulary): Parts {
  const { path, tokens, types } = vocabulary;
  const scores = list(file, "tokenizer.ggml.scores");
  if (scores?.kind !== "numbers" || scores.items.length !== tokens.length)
    throw unusable(
      path,
      `\`tokenizer.ggml.scores\` should be ${counted(tokens.length, "number")}, found ${scores === null ? "nothing" : `${counted(scores.items.length, scores.kind.slice(0, -1))}`}`,
    );
  const spaced = flag(file, "tokenizer.ggml.add_space_prefix", true);
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const bytes = new Set(tokens.filter((_, id) => types[id] === tokenTypes.byte));
  const fallback = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  ).every((token) => bytes.has(token));
  return {
    addBos: true,
    steps: {
      normalizer: { type: "Sequence", normalizers: [...(spaced ? [{ type: "Prepend", prepend: "▁" }] : []), spaces] },
      pre_tokenizer: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          ...(spaced ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
        ],
      },
    },
    model: bpe({
      vocab: idsOf(tokens),
      merges: mergesOf(vocabulary, scores.items),
      unk_token: tokenText(file, vocabulary, "unknown"),
      fuse_unk: true,
      byte_fallback: fallback,
    }),
  };
}

/**
 * Merges that do what SentencePiece does with scores, which joins the neighbours that make the token of the highest
 * score: each way to cut a token in two tokens, ordered by its score, as the Hugging Face library converts such a
 * model.
 */
function mergesOf(
  { path, tokens, types }: Vocabulary,
  scores: ArrayLike<number>,
): readonly (readonly [string, string])[] {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries())
    if (types[id] === tokenTypes.normal || types[id] === tokenTypes.userDefined) ids.set(token, id);
  const merges: { readonly left: string; readonly right: string; readonly order: readonly number[] }[] = [];
  for (const [token, id] of ids) {
    if (token.length > longestToken)
      throw unusable(path, `token ${id} has ${token.length} characters; at most ${longestToken} are expected`);
    const characters = [...token];
    for (let at = 1, left = characters[0] ?? ""; at < characters.length; left += characters[at++] ?? "") {
      const right = token.slice(left.length);
      const [first, second] = [ids.get(left), ids.get(right)];
      if (first !== undefined && second !== undefined)
        merges.push({ left, right, order: [-(scores[id] ?? 0), first, second] });
    }
  }
  const compare = (a: readonly number[], b: readonly number[]): number =>
    a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!;
  return merges.sort((a, b) => compare(a.order, b.order)).map(({ left, right }) => [left, right]);
}

function bpe(parts: JsonObject): JsonObject {
  return {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...parts,
  };
}

/** Puts a token before each text. */
function template(token: string, id: number): JsonObject {
  const [before, a, b] = [
    { SpecialToken: { id: token, type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { Sequence: { id: "B", type_id: 1 } },
  ];
  return {
    type: "TemplateProcessing",
    single: [before, a],
    pair: [before, a, before, b],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

/**
 * Tokens that are found in a text before it is cut: those with a meaning of their own (special), and those that the
 * model's makers added.
 */
function addedTokens({ tokens, types }: Vocabulary): readonly JsonObject[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== tokenTypes.control && type !== tokenTypes.unknown && type !== tokenTypes.userDefined) return [];
    return content === ""
      ? []
      : [
          {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: type !== tokenTypes.userDefined,
          },
        ];
  });
}

function readVocabulary(file: GgufFile): Vocabulary {
  const { path } = file;
  const tokens = strings(file, "tokenizer.ggml.tokens");
  if (tokens.length === 0) throw unusable(path, "it has no tokens");
  const types = list(file, "tokenizer.ggml.token_type");
  if (types !== null && (types.kind !== "numbers" || types.items.length !== tokens.length))
    throw unusable(
      path,
      `\`tokenizer.ggml.token_type\` should be ${counted(tokens.length, "number")}, found ${counted(types.items.length, types.kind.slice(0, -1))}`,
    );
  const seen = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const before = seen.get(token);
    if (before !== undefined) throw unusable(path, `tokens ${before} and ${id} are both ${quoted(token)}`);
    seen.set(token, id);
  }
  return {
    path,
    tokens,
    types: types?.kind === "numbers" ? types.items : new Uint8Array(tokens.length).fill(tokenTypes.normal),
  };
}

function idsOf(tokens: readonly string[]): JsonObject {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

/** The text of a special token, null where there is none. */
function tokenText(file: GgufFile, { path, tokens }: Vocabulary, name: string): string | null {
  const key = `tokenizer.ggml.${name}_token_id`;
  const id = file.metadata.get(key);
  if (id === undefined || id === 0xffffffff || id === -1) return null;
  const token = typeof id === "number" ? tokens[id] : undefined;
  if (token === undefined)
    throw unusable(
      path,
      `\`${key}\` should be the id of one of ${counted(tokens.length, "token")}, found ${typeof id === "object" ? "a list" : String(id)}`,
    );
  return token;
}

function flag(file: GgufFile, key: string, fallback: boolean): boolean {
  const value = file.metadata.get(key) ?? fallback;
  if (typeof value === "boolean") return value;
  throw unusable(
    file.path,
    `\`${key}\` should be true or false, found ${typeof value === "object" ? "a list" : String(value)}`,
  );
}

function strings(file: GgufFile, key: string): readonly string[] {
  const found = list(file, key);
  if (found?.kind === "strings") return found.items;
  throw unusable(
    file.path,
    `\`${key}\` should be a list of strings, found ${found === null ? "nothing" : `a list of ${found.kind}`}`,
  );
}

function list(file: GgufFile, key: string): MetadataList | null {
  const value = file.metadata.get(key);
  if (value === undefined) return null;
  if (typeof value === "object") return value;
  throw unusable(file.path, `\`${key}\` should be a list, found ${String(value).slice(0, 60)}`);
}

function unusable(path: string, problem: string): ModelError {
  return new ModelError(
    "M141",
    `The tokenizer of ${quoted(path)} cannot be used: ${problem}.`,
    "the file may be damaged, or be made by an old converter",
  );
}
