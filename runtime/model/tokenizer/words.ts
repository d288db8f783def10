/** Models that know words: WordPiece, which cuts those it does not know, and WordLevel. */
import type { Fields } from "../fields.js";
import { noToken, parseVocabulary, type Vocabulary } from "./vocabulary.js";

export interface WordPieces {
  readonly kind: "word-pieces";
  readonly vocabulary: Vocabulary;
  readonly unknown: number | null;
  /** Before each part of a word but the first. */
  readonly prefix: string;
  /** Words of more characters are unknown. */
  readonly longest: number;
}

export interface Words {
  readonly kind: "words";
  readonly vocabulary: Vocabulary;
  readonly unknown: number | null;
}

/** The model of type WordPiece. */
export function parseWordPieces(fields: Fields): WordPieces {
  const vocabulary = parseVocabulary(fields);
  return {
    kind: "word-pieces",
    vocabulary,
    unknown: vocabulary.get(fields.requiredString("unk_token")) ?? null,
    prefix: fields.string("continuing_subword_prefix") ?? "##",
    longest: fields.number("max_input_chars_per_word", { integer: true, min: 0, max: 2 ** 31 }, 100),
  };
}

/** The model of type WordLevel. */
export function parseWords(fields: Fields): Words {
  const vocabulary = parseVocabulary(fields);
  return { kind: "words", vocabulary, unknown: vocabulary.get(fields.requiredString("unk_token")) ?? null };
}

/**
 * The ids of a word, longest parts first; the unknown token alone where a part has none.
 * @throws ModelError M143 where there is no unknown token
 */
export function encodeWordPieces(
  { vocabulary, unknown, prefix, longest }: WordPieces,
  word: string,
): readonly number[] {
  const characters = [...word];
  if (characters.length > longest) return [known(unknown, word)];
  const ids: number[] = [];
  for (let start = 0; start < characters.length; ) {
    let id: number | undefined;
    let end = characters.length + 1;
    while (id === undefined && --end > start)
      id = vocabulary.get(`${start > 0 ? prefix : ""}${characters.slice(start, end).join("")}`);
    if (id === undefined) return [known(unknown, word)];
    ids.push(id);
    start = end;
  }
  return ids;
}

/** The id of a word. @throws ModelError M143 where it has none, and there is no unknown token */
export function encodeWord({ vocabulary, unknown }: Words, word: string): number {
  return vocabulary.get(word) ?? known(unknown, word);
}

function known(unknown: number | null, word: string): number {
  if (unknown === null) throw noToken(word);
  return unknown;
}
