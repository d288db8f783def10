/** How a text is cut into the pieces that a tokenizer's model sees. */
import type { Fields } from "../fields.js";
import { toByteCharacters } from "./bytes.js";
import { parsePattern, spansOf, splitBehaviors, splitText, type Span, type SplitBehavior } from "./pattern.js";

/** A piece of a text. */
export interface Piece {
  readonly text: string;
  /** Whether it is at the start of the whole text. */
  readonly isFirst: boolean;
}

export type PreTokenizer =
  | { readonly kind: "sequence"; readonly steps: readonly PreTokenizer[] }
  | { readonly kind: "byte-level"; readonly addsSpace: boolean; readonly splits: boolean }
  | {
      readonly kind: "metaspace";
      readonly replacement: string;
      readonly prepends: "always" | "first" | "never";
      readonly splits: boolean;
    }
  | {
      readonly kind: "split";
      readonly pattern: RegExp;
      readonly behavior: SplitBehavior;
      /** Whether what lies between matches is the match. */
      readonly inverted: boolean;
    }
  | { readonly kind: "fixed-length"; readonly length: number };

const types =
  "Sequence, ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit or FixedLength, the others not being supported";

const space = /\p{White_Space}/gu;
const punctuation = /[\p{P}\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e]/gu;
const words =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;

/** GPT-2's. */
const byteLevelWords =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** A pre-tokenizer of `tokenizer.json`; what of it is not supported is left with the fields' problems. */
export function parsePreTokenizer(fields: Fields): PreTokenizer {
  const preTokenizer = parse(fields);
  fields.refuseRest();
  return preTokenizer;
}

function parse(fields: Fields): PreTokenizer {
  const type = fields.raw("type");
  switch (type) {
    case "Sequence":
      return { kind: "sequence", steps: fields.list("pretokenizers").map(parsePreTokenizer) };
    case "ByteLevel":
      fields.boolean("trim_offsets", true); // says nothing of ids
      return {
        kind: "byte-level",
        addsSpace: fields.boolean("add_prefix_space", true),
        splits: fields.boolean("use_regex", true),
      };
    case "Metaspace":
      return { ...parseMetaspace(fields), splits: fields.boolean("split", true) };
    case "Split":
      return {
        kind: "split",
        pattern: parsePattern(fields),
        behavior: parseBehavior(fields, null),
        inverted: fields.boolean("invert", false),
      };
    case "Digits":
      return split(/\p{N}/gu, fields.boolean("individual_digits", false) ? "Isolated" : "Contiguous");
    case "Punctuation":
      return split(punctuation, parseBehavior(fields, "Isolated"));
    case "Whitespace":
      return { kind: "split", pattern: words, behavior: "Removed", inverted: true };
    case "WhitespaceSplit":
      return split(space, "Removed");
    case "BertPreTokenizer":
      return { kind: "sequence", steps: [split(space, "Removed"), split(punctuation, "Isolated")] };
    case "CharDelimiterSplit":
      return split(parseDelimiter(fields), "Removed");
    case "FixedLength":
      return { kind: "fixed-length", length: fields.number("length", { integer: true, min: 1, max: 2 ** 20 }, 5) };
    default:
      fields.problem("type", types, type);
      return { kind: "sequence", steps: [] };
  }
}

function split(pattern: RegExp, behavior: SplitBehavior): PreTokenizer {
  return { kind: "split", pattern, behavior, inverted: false };
}

/** What the pre-tokenizer and the decoder of this name have in common. */
export function parseMetaspace(fields: Fields): {
  readonly kind: "metaspace";
  readonly replacement: string;
  readonly prepends: "always" | "first" | "never";
} {
  const replacement = fields.requiredString("replacement");
  if ([...replacement].length !== 1) fields.problem("replacement", "one character", replacement);
  const scheme = fields.raw("prepend_scheme") ?? "always";
  if (scheme !== "always" && scheme !== "first" && scheme !== "never")
    fields.problem("prepend_scheme", `"always", "first" or "never"`, scheme);
  // fields of old files
  fields.string("str_rep");
  if (!fields.boolean("add_prefix_space", true) && scheme !== "never")
    fields.problem("prepend_scheme", `"never", as \`add_prefix_space\` is false`, fields.raw("prepend_scheme"));
  return { kind: "metaspace", replacement, prepends: scheme === "first" || scheme === "never" ? scheme : "always" };
}

function parseBehavior(fields: Fields, fallback: SplitBehavior | null): SplitBehavior {
  const given = fields.raw("behavior") ?? fallback;
  const found = splitBehaviors.find((behavior) => behavior === given);
  if (found === undefined) fields.problem("behavior", splitBehaviors.join(", "), given);
  return found ?? "Isolated";
}

function parseDelimiter(fields: Fields): RegExp {
  const delimiter = fields.requiredString("delimiter");
  const [character = " ", ...others] = delimiter;
  if (delimiter === "" || others.length > 0) fields.problem("delimiter", "one character", delimiter);
  return new RegExp(`\\u{${character.codePointAt(0)!.toString(16)}}`, "gv");
}

/** Whether what it does at the start of a text is done after something else. */
export function looksForStart(preTokenizer: PreTokenizer): "no" | "at once" | "later" {
  if (preTokenizer.kind === "metaspace") return preTokenizer.prepends === "first" ? "at once" : "no";
  if (preTokenizer.kind !== "sequence") return "no";
  const [first, ...others] = preTokenizer.steps.map(looksForStart);
  return others.some((each) => each !== "no") ? "later" : (first ?? "no");
}

/** The pieces of a piece, none of them empty. */
export function preTokenize(preTokenizer: PreTokenizer, piece: Piece): readonly Piece[] {
  switch (preTokenizer.kind) {
    case "sequence":
      return preTokenizer.steps.reduce<readonly Piece[]>(
        (pieces, step) => pieces.flatMap((each) => preTokenize(step, each)),
        [piece],
      );
    case "byte-level": {
      const { addsSpace, splits } = preTokenizer;
      const whole = addsSpace && !piece.text.startsWith(" ") ? { ...piece, text: ` ${piece.text}` } : piece;
      const pieces = splits ? cut(whole, splitText(spansOf(byteLevelWords, whole.text), "Isolated")) : [whole];
      return pieces.map((each) => ({ ...each, text: toByteCharacters(each.text) }));
    }
    case "metaspace": {
      const { replacement, prepends, splits } = preTokenizer;
      const text = piece.text.replaceAll(" ", () => replacement);
      const isPrepended =
        !text.startsWith(replacement) && (prepends === "always" || (prepends === "first" && piece.isFirst));
      const whole = { ...piece, text: isPrepended ? replacement + text : text };
      return splits ? cut(whole, splitText(charactersOf(whole.text, replacement), "MergedWithNext")) : [whole];
    }
    case "split": {
      const { pattern, behavior, inverted } = preTokenizer;
      const spans = spansOf(pattern, piece.text);
      return cut(
        piece,
        splitText(inverted ? spans.map((span) => ({ ...span, isMatch: !span.isMatch })) : spans, behavior),
      );
    }
    case "fixed-length": {
      const characters = [...piece.text];
      return Array.from({ length: Math.ceil(characters.length / preTokenizer.length) }, (_, at) => ({
        text: characters.slice(at * preTokenizer.length, (at + 1) * preTokenizer.length).join(""),
        isFirst: piece.isFirst && at === 0,
      }));
    }
    default:
      return preTokenizer satisfies never;
  }
}

function cut({ text, isFirst }: Piece, spans: readonly Span[]): readonly Piece[] {
  return spans.map(({ start, end }) => ({ text: text.slice(start, end), isFirst: isFirst && start === 0 }));
}

/** A character where it stands in a text, and what lies between. */
function charactersOf(text: string, character: string): readonly Span[] {
  const spans: Span[] = [];
  let given = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, given)) {
    if (at > given) spans.push({ start: given, end: at, isMatch: false });
    given = at + character.length;
    spans.push({ start: at, end: given, isMatch: true });
  }
  if (given < text.length) spans.push({ start: given, end: text.length, isMatch: false });
  return spans;
}
