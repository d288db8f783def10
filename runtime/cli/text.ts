import { ModelError } from "../model/error.js";
import { readBounded } from "../model/files.js";
import type { Tokenizer } from "../model/tokenizer.js";

/** Texts are tokenised whole; more than this would not fit the tokenizer's memory. */
const largestText = 256 * 1024 * 1024;

/**
 * Token ids of a whole text file, without the tokenizer's prefix.
 * @throws ModelError M100 to M102 (the file), M104 (not UTF-8), M143 (empty)
 */
export async function readTokens(path: string, tokenizer: Tokenizer): Promise<number[]> {
  const bytes = await readBounded(path, largestText);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ModelError("M104", `\`${path}\` is not text in UTF-8.`, "give a plain text file");
  }
  if (text.trim() === "")
    throw new ModelError("M143", `\`${path}\` is empty; expected a text to score or to calibrate with.`);
  return [...tokenizer.encode(text, { prefix: false })];
}
