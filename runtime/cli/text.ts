import { ModelError, quoted } from "../model/error.js";
import { readBounded } from "../model/files.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { warn } from "./given.js";
import type { Output } from "./output.js";

/** Texts are tokenised whole; more than this would not fit the tokenizer's memory. */
const largestText = 256 * 1024 * 1024;

/**
 * Token ids of a whole text file, without the tokenizer's prefix; one that the text begins with is warned of.
 * @throws ModelError M100 to M102 (the file), M104 (not UTF-8), M143 (empty)
 */
export async function readTokens(
  path: string,
  tokenizer: Tokenizer,
  output: Pick<Output, "note" | "alarm">,
): Promise<number[]> {
  const bytes = await readBounded(path, largestText);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ModelError("M104", `\`${path}\` is not text in UTF-8.`, "give a plain text file");
  }
  if (text.trim() === "")
    throw new ModelError("M143", `\`${path}\` is empty; expected a text to score or to calibrate with.`);
  const ids = await tokenizer.encode(text, { prefix: false });
  const twice = doubledStart(tokenizer, ids);
  if (twice !== null) warn(output, `the text ${quoted(path)} ${twice}`);
  return [...ids];
}

/**
 * What is wrong with a text that writes out the token that is put before every text, null for other texts. The Hugging
 * Face library and llama.cpp put another before it, too.
 */
export function doubledStart(tokenizer: Tokenizer, ids: ArrayLike<number>): string | null {
  const { bos } = tokenizer;
  if (bos === null || ids[0] !== bos) return null;
  const token = quoted(tokenizer.spelling(bos) ?? String(bos));
  return `begins with ${token}, and another ${token} is put before it: leave it out, unless two are meant`;
}
