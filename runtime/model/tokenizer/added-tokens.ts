/** Tokens that are found in a text before it is cut. */
import type { Fields } from "../fields.js";
import { endOfText, normalize, type Normalizer } from "./normalizer.js";
import { literalRegex } from "./regex.js";
import { isId, type Vocabulary } from "./vocabulary.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether it is no token within a word. */
  readonly singleWord: boolean;
  /** Whether it takes the white space before it. */
  readonly lstrip: boolean;
  /** Whether it takes the white space behind it. */
  readonly rstrip: boolean;
  /** Whether it is found in the text as the normalizer leaves it. */
  readonly normalized: boolean;
  /** Whether it stands for no text. */
  readonly special: boolean;
}

/**
 * The field `added_tokens`; what of it is not supported is left with the fields' problems. The Hugging Face library
 * does not look at the ids of a file: a token has the id that it has in the model's vocabulary, or the next one behind
 * it. A file that says another is refused.
 */
export function parseAddedTokens(
  fields: Fields,
  vocabulary: Vocabulary,
  normalizer: Normalizer | null,
): readonly AddedToken[] {
  const ids = new Map<string, number>();
  let next = vocabulary.size;
  const spellings = new Map<string, string>();
  return fields.list("added_tokens").flatMap((token) => {
    const id = token.raw("id");
    if (!isId(id)) token.problem("id", "an id", id);
    const content = token.requiredString("content");
    const special = token.boolean("special", false);
    const added: AddedToken = {
      id: isId(id) ? id : 0,
      content,
      special,
      singleWord: token.boolean("single_word", false),
      lstrip: token.boolean("lstrip", false),
      rstrip: token.boolean("rstrip", false),
      normalized: token.boolean("normalized", !special),
    };
    token.refuseRest();
    if (content === "") return [];
    const given = ids.get(content) ?? vocabulary.get(content) ?? next++;
    ids.set(content, given);
    const spelling = added.normalized && normalizer !== null ? normalize(normalizer, content) : content;
    const other = spellings.get(`${added.normalized} ${spelling}`);
    if (spelling === "") token.refuse("normalized", "and the normalizer leaves nothing of the token");
    else if (other !== undefined && other !== content)
      token.refuse("normalized", `and the normalizer makes the token the same as ${JSON.stringify(other)}`);
    spellings.set(`${added.normalized} ${spelling}`, content);
    if (isId(id) && id !== given)
      token.problem("id", `${given}, which the Hugging Face library gives ${JSON.stringify(content)}`, id);
    return [added];
  });
}

/** A part of a text: a token that was found, or what has none yet. */
export type Section =
  | { readonly kind: "token"; readonly id: number }
  | { readonly kind: "text"; readonly text: string; readonly start: number };

/** Cuts a text at tokens. */
export type Finder = (text: string) => readonly Section[];

const wordEnds = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const wordStarts = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** Finds tokens as they are written, or as the normalizer leaves them: the leftmost first, of those the longest. */
export function finderOf(tokens: readonly AddedToken[], normalizer: Normalizer | null): Finder {
  const spellings = new Map<string, AddedToken>();
  for (const token of tokens) {
    const spelling = normalizer === null ? token.content : normalize(normalizer, token.content);
    if (spelling !== "") spellings.set(spelling, token);
  }
  if (spellings.size === 0) return (text) => (text === "" ? [] : [{ kind: "text", text, start: 0 }]);
  const pattern = literalRegex(...[...spellings.keys()].sort((a, b) => b.length - a.length));
  return (text) => {
    const sections: Section[] = [];
    let given = 0;
    for (const match of text.matchAll(pattern)) {
      const token = spellings.get(match[0]);
      if (token === undefined) continue;
      let [start, end] = [match.index, match.index + match[0].length];
      if (
        token.singleWord &&
        (wordEnds.test(text.slice(Math.max(0, start - 2), start)) || wordStarts.test(text.slice(end, end + 2)))
      )
        continue;
      if (token.lstrip) start = Math.max(given, endOfText(text.slice(0, start)));
      if (token.rstrip) end += /^\p{White_Space}*/u.exec(text.slice(end))![0].length;
      if (given < start) sections.push({ kind: "text", text: text.slice(given, start), start: given });
      // another may have taken it with the white space
      if (start < end) sections.push({ kind: "token", id: token.id });
      given = Math.max(given, end);
    }
    if (given < text.length) sections.push({ kind: "text", text: text.slice(given), start: given });
    return sections;
  };
}
