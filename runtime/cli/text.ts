import { ModelError } from "../model/error.js";
import { readBounded } from "../model/files.js";
import type { Tokenizer } from "../model/tokenizer.js";

/** Texts are tokenised whole; more than this would not fit the tokenizer's memory. */
const largestText = 256 * 1024 * 1024;

/** Token ids of a whole text file, without the tokenizer's prefix. An empty file is refused. */
export async function readTokens(path: string, tokenizer: Tokenizer): Promise<number[]> {
  const text = (await readBounded(path, largestText)).toString("utf8");
  if (text.trim() === "") throw new ModelError("M143", `${path} is empty: a text to score or to calibrate with is needed.`);
  return [...tokenizer.encode(text, { prefix: false })];
}
