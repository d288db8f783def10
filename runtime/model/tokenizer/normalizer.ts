/** What is done to a text before it is cut. */
import type { Fields } from "../fields.js";
import { toByteCharacters } from "./bytes.js";
import { parsePattern, spansOf } from "./pattern.js";

export type Normalizer =
  | { readonly kind: "sequence"; readonly steps: readonly Normalizer[] }
  | { readonly kind: "unicode"; readonly form: "NFC" | "NFD" | "NFKC" | "NFKD" }
  | { readonly kind: "lowercase" }
  | { readonly kind: "strip"; readonly left: boolean; readonly right: boolean }
  | { readonly kind: "strip-accents" }
  | {
      readonly kind: "replace";
      readonly pattern: RegExp;
      /** Whether it matches one character, and always the same. */
      readonly isCharacter: boolean;
      readonly content: string;
    }
  | { readonly kind: "prepend"; readonly text: string }
  | { readonly kind: "byte-level" };

const types =
  "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend or ByteLevel, the others not being supported";

/** A normalizer of `tokenizer.json`; what of it is not supported is left with the fields' problems. */
export function parseNormalizer(fields: Fields): Normalizer {
  const normalizer = parse(fields);
  fields.refuseRest();
  return normalizer;
}

function parse(fields: Fields): Normalizer {
  const type = fields.raw("type");
  switch (type) {
    case "Sequence":
      return { kind: "sequence", steps: fields.list("normalizers").map(parseNormalizer) };
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return { kind: "unicode", form: type };
    case "Lowercase":
      return { kind: "lowercase" };
    case "Strip":
      return {
        kind: "strip",
        left: fields.boolean("strip_left", false),
        right: fields.boolean("strip_right", false),
      };
    case "StripAccents":
      return { kind: "strip-accents" };
    case "Replace": {
      const pattern = parsePattern(fields);
      if (new RegExp(pattern).exec("") !== null) fields.refuse("pattern", "which matches where there is nothing");
      const text = fields.nested("pattern")?.raw("String");
      const isCharacter = typeof text === "string" && [...text].length === 1;
      return { kind: "replace", pattern, isCharacter, content: fields.requiredString("content") };
    }
    case "Prepend":
      return { kind: "prepend", text: fields.requiredString("prepend") };
    case "ByteLevel":
      return { kind: "byte-level" };
    default:
      fields.problem("type", types, type);
      return { kind: "sequence", steps: [] };
  }
}

/** The text as the normalizer leaves it. */
export function normalize(normalizer: Normalizer, text: string): string {
  switch (normalizer.kind) {
    case "sequence":
      return normalizer.steps.reduce((result, step) => normalize(step, result), text);
    case "unicode":
      return text.normalize(normalizer.form);
    case "lowercase":
      return lowercase(text);
    case "strip": {
      const start = normalizer.left ? text.replace(/^\p{White_Space}+/u, "") : text;
      return normalizer.right ? start.slice(0, endOfText(start)) : start;
    }
    case "strip-accents":
      return text.replace(/\p{M}+/gu, "");
    case "replace":
      return replace(text, normalizer.pattern, normalizer.content);
    case "prepend":
      return text === "" ? "" : normalizer.text + text;
    case "byte-level":
      return toByteCharacters(text);
    default:
      return normalizer satisfies never;
  }
}

/** Whether the first character of what it leaves is that of the text, whatever the text. */
export function keepsStart(normalizer: Normalizer): boolean {
  switch (normalizer.kind) {
    case "sequence":
      return normalizer.steps.every(keepsStart);
    case "unicode":
    case "lowercase":
      return true;
    case "replace":
      return normalizer.isCharacter && normalizer.content !== "";
    default:
      return false;
  }
}

/** Whether the text that it leaves is bytes as characters. */
export function makesBytes(normalizer: Normalizer): boolean {
  return normalizer.kind === "sequence" ? normalizer.steps.some(makesBytes) : normalizer.kind === "byte-level";
}

/** Where the white space at the end of a text begins. */
export function endOfText(text: string): number {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text.charAt(end - 1))) end--;
  return end;
}

/** Every match replaced by the content as it is. */
export function replace(text: string, pattern: RegExp, content: string): string {
  let result = "";
  for (const { start, end, isMatch } of spansOf(pattern, text)) result += isMatch ? content : text.slice(start, end);
  return result;
}

/** Character by character: no letter's lower case depends on those around it. */
function lowercase(text: string): string {
  const lower = text.toLowerCase();
  // a sigma at the end of a word has a form of its own
  return /[Σς]/u.test(text) ? Array.from(text, (character) => character.toLowerCase()).join("") : lower;
}
