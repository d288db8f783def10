import { counted } from "../../../compiler/words.js";
import { quoted } from "../error.js";
import type { Tokenizer } from "./tokenizer.js";

/** What makes two tokenizers give other tokens, as their vocabularies show it, in words; null where nothing does. */
export function tokenizerDifference(one: Tokenizer, other: Tokenizer): string | null {
  if (one.size !== other.size) return `one has ${counted(one.size, "token")}, the other ${other.size}`;
  for (let id = 0; id < one.size; id++) {
    const [a, b] = [one.spelling(id), other.spelling(id)];
    if (a !== b) return `the token ${id} is ${spelt(a)} in one and ${spelt(b)} in the other`;
  }
  const [a, b] = [one, other].map(({ prefix }) => prefix.map((id) => quoted(one.spelling(id) ?? String(id))).join(" "));
  if (a !== b) return `one puts ${a || "nothing"} before texts, the other ${b || "nothing"}`;
  const special =
    [...one.special].find((id) => !other.special.has(id)) ?? [...other.special].find((id) => !one.special.has(id));
  if (special !== undefined) return `the token ${spelt(one.spelling(special))} is special in one of them only`;
  return null;
}

function spelt(token: string | null): string {
  return token === null ? "none" : quoted(token);
}
