/** Tokens and their ids. */
import { ModelError } from "../error.js";
import type { Fields } from "../fields.js";
import { describe, isObject } from "../files.js";

export type Vocabulary = ReadonlyMap<string, number>;

/** One above the largest id of a token. */
export const mostIds = 2 ** 24;

/** A vocabulary of ids by token: the field `vocab`. */
export function parseVocabulary(fields: Fields): Vocabulary {
  const value = fields.raw("vocab");
  if (!isObject(value)) {
    fields.problem("vocab", "an object of ids by token", value);
    return new Map();
  }
  const vocabulary = new Map<string, number>();
  for (const [token, id] of Object.entries(value)) {
    if (isId(id)) vocabulary.set(token, id);
    else fields.problem(`vocab[${JSON.stringify(token)}]`, `an integer from 0 to ${mostIds - 1}`, id);
  }
  return vocabulary;
}

/** Whether a parsed value is an id. */
export function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < mostIds;
}

/** The error for text that a tokenizer has no token for. */
export function noToken(text: string): ModelError {
  return new ModelError(
    "M143",
    `The text has characters for which the model's tokenizer has no token: ${describe(text)}.`,
  );
}
