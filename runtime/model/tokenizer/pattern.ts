/** What is sought in a text: a pattern of `tokenizer.json`, or a set of characters. */
import type { Fields } from "../fields.js";
import { describe } from "../files.js";
import { literalRegex, RegexError, translateRegex } from "./regex.js";

/** A part of a text; the parts of one follow each other without a gap. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly isMatch: boolean;
}

/** A pattern that is not sought: what stands for one that is refused. */
const nothing = /(?!)/gu;

/** The field `pattern`: `{ "String": text }` or `{ "Regex": expression }`. */
export function parsePattern(fields: Fields): RegExp {
  const pattern = fields.nested("pattern");
  const text = pattern?.string("String") ?? null;
  const source = pattern?.string("Regex") ?? null;
  pattern?.refuseRest();
  if ((text === null) === (source === null) || text === "" || source === "") {
    fields.problem("pattern", "a `String` or a `Regex` that is not empty", fields.raw("pattern"));
    return nothing;
  }
  if (text !== null) return literalRegex(text);
  try {
    return translateRegex(source ?? "");
  } catch (error) {
    if (!(error instanceof RegexError)) throw error;
    fields.refuse("pattern.Regex", `whose expression ${describe(source)} uses ${error.message}: not supported`);
    return nothing;
  }
}

/**
 * The matches of a pattern and what lies between them. As Oniguruma does it: an empty match counts, but not just behind
 * another match. In a text of nothing nothing is found.
 */
export function spansOf(pattern: RegExp, text: string): readonly Span[] {
  const spans: Span[] = [];
  let given = 0;
  let last = -1;
  if (text === "") return spans;
  for (let at = 0; at <= text.length; ) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) break;
    const [start, end] = [match.index, match.index + match[0].length];
    if (isWithinCharacter(text, start)) {
      at = start + 1;
      continue;
    }
    if (start === end && end === last) {
      at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
      continue;
    }
    if (start > given) spans.push({ start: given, end: start, isMatch: false });
    spans.push({ start, end, isMatch: true });
    [at, last, given] = [end, end, end];
  }
  if (given < text.length) spans.push({ start: given, end: text.length, isMatch: false });
  return spans;
}

/** Whether a place lies between the two halves of a character: V8 finds empty matches there. */
function isWithinCharacter(text: string, at: number): boolean {
  return at > 0 && (text.codePointAt(at - 1) ?? 0) > 0xffff;
}

/** What becomes of matches when a text is cut, by the name that files have for it. */
export const splitBehaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;

export type SplitBehavior = (typeof splitBehaviors)[number];

/** The parts that a text is cut into, none of them empty. */
export function splitText(spans: readonly Span[], behavior: SplitBehavior): readonly Span[] {
  return merged(spans, behavior).filter(({ start, end }) => end > start);
}

function merged(spans: readonly Span[], behavior: SplitBehavior): readonly Span[] {
  switch (behavior) {
    case "Removed":
      return spans.filter(({ isMatch }) => !isMatch);
    case "Isolated":
      return spans;
    case "Contiguous":
      return joined(spans, (isMatch, before) => isMatch === before);
    case "MergedWithPrevious":
      return joined(spans, (isMatch, before) => isMatch && !before);
    case "MergedWithNext":
      return joined([...spans].reverse(), (isMatch, before) => isMatch && !before).reverse();
    default:
      return behavior satisfies never;
  }
}

/** Spans one after the other (or one before the other), joined to the one before where that is wanted. */
function joined(spans: readonly Span[], joins: (isMatch: boolean, before: boolean) => boolean): Span[] {
  const result: Span[] = [];
  let before = false;
  for (const span of spans) {
    const last = result.at(-1);
    if (joins(span.isMatch, before) && last !== undefined)
      result[result.length - 1] = {
        start: Math.min(last.start, span.start),
        end: Math.max(last.end, span.end),
        isMatch: false,
      };
    else result.push({ ...span, isMatch: false });
    before = span.isMatch;
  }
  return result;
}
