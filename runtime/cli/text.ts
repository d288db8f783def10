import { existsSync } from "node:fs";
import { largestWeight, mixTexts, readPlain, tokensOf, type MixedText } from "../llama/texts.js";
import { quoted } from "../model/error.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { UsageError } from "./failure.js";
import { warn } from "./given.js";
import type { Output } from "./output.js";

/**
 * Token ids of a whole text file, without the tokenizer's prefix; one that the text begins with is warned of.
 * @throws ModelError M100 to M102 (the file), M104 (not UTF-8), M143 (empty), M170 (gzip)
 */
export async function readTokens(
  path: string,
  tokenizer: Tokenizer,
  output: Pick<Output, "note" | "alarm">,
): Promise<number[]> {
  const text = await readPlain(path);
  const ids = await tokenizer.encode(text, { prefix: false });
  const twice = doubledStart(tokenizer, ids);
  if (twice !== null) warn(output, `the text ${quoted(path)} ${twice}`);
  return [...ids];
}

/** A text of `--text`, and how often it is taken. */
export interface GivenText {
  readonly path: string;
  readonly weight: number;
}

/** Reads values of `--text`: `FILE`, or `FILE=WEIGHT` where no file has that name. */
export function givenTexts(values: readonly string[]): readonly GivenText[] {
  return values.map((value) => {
    const at = value.lastIndexOf("=");
    if (at < 1 || existsSync(value)) return { path: value, weight: 1 };
    const [path, text] = [value.slice(0, at), value.slice(at + 1)];
    const weight = Number(text);
    // a name with a sign in it, of a file that is not there
    if (!existsSync(path) && !(text !== "" && Number.isFinite(weight))) return { path: value, weight: 1 };
    if (text.trim() === "" || !(weight > 0 && weight <= largestWeight))
      throw new UsageError(
        `the weight of the text ${path} should be a number above 0, at most ${largestWeight}, not "${text}"`,
      );
    return { path, weight };
  });
}

/**
 * Several texts as one, in windows of so many tokens of theirs; `ends` are the tokens that may stand behind a text.
 * @throws ModelError M100 to M104, M143, M145, M170; LlamaError text-too-short, bad-option
 */
export async function readTexts(
  given: readonly GivenText[],
  tokenizer: Tokenizer,
  { window, ends }: { readonly window: number; readonly ends: readonly number[] },
  output: Pick<Output, "note" | "alarm">,
): Promise<MixedText> {
  const [end] = ends;
  const behind = end === undefined ? Array.from(await tokenizer.encode("\n\n", { prefix: false })) : [end];
  const texts = [];
  for (const { path, weight } of given) {
    const text = await tokensOf(path, tokenizer, behind, window);
    const twice = doubledStart(tokenizer, text.ids);
    if (twice !== null) warn(output, `the text ${quoted(path)} ${twice}`);
    texts.push({ ...text, weight, name: path });
  }
  return mixTexts(texts, window);
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
