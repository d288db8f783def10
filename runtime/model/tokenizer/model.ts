/** The part of a tokenizer that makes tokens of pieces. */
import type { Fields } from "../fields.js";
import { encodeBytePairs, parseBytePairs, type BytePairs } from "./bpe.js";
import { encodeUnigram, parseUnigram, type Unigram } from "./unigram.js";
import { encodeWord, encodeWordPieces, parseWordPieces, parseWords, type WordPieces, type Words } from "./words.js";

export type TokenModel = BytePairs | Unigram | WordPieces | Words;

/** The field `model` of `tokenizer.json`; what of it is not supported is left with the fields' problems. */
export function parseModel(fields: Fields): TokenModel {
  const model = parse(fields);
  fields.refuseRest();
  return model;
}

function parse(fields: Fields): TokenModel {
  const type = fields.raw("type") ?? typeOf(fields);
  switch (type) {
    case "BPE":
      return parseBytePairs(fields);
    case "Unigram":
      return parseUnigram(fields);
    case "WordPiece":
      return parseWordPieces(fields);
    case "WordLevel":
      return parseWords(fields);
    default:
      fields.problem("type", "BPE, Unigram, WordPiece or WordLevel", type);
      return parseWords(fields);
  }
}

/** Old files do not say it. */
function typeOf(fields: Fields): string {
  if (fields.has("merges")) return "BPE";
  if (Array.isArray(fields.raw("vocab"))) return "Unigram";
  return fields.has("max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

/**
 * The ids of a piece.
 * @throws ModelError M143 for text that has no token
 */
export function encodePiece(model: TokenModel, piece: string): readonly number[] {
  switch (model.kind) {
    case "bpe":
      return encodeBytePairs(model, piece);
    case "unigram":
      return encodeUnigram(model, piece);
    case "word-pieces":
      return encodeWordPieces(model, piece);
    case "words":
      return [encodeWord(model, piece)];
    default:
      return model satisfies never;
  }
}
