/** What compress scores a model on, before and after. */
import { counted } from "../../compiler/words.js";
import type { CalibrationText } from "../llama/compression/compression.js";
import { checkContext, scoredWindows, windowsInWords } from "../llama/windows.js";
import type { Model } from "../model/model.js";
import type { Output } from "./output.js";
import { readTexts } from "./text.js";

/** A text to score, and what it is in words. */
export interface ScoredText {
  readonly text: CalibrationText;
  readonly words: string;
}

/** Windows that are scored of a text that was given for something else. */
const fewWindows = 8;

/**
 * The text of `--eval`, all of it or the first `limit` windows; without it, where a report is asked for, the first
 * windows
 * of the text of `--text`; null where there is neither. It is known to have a window.
 * @throws ModelError, LlamaError text-too-short, bad-window
 */
export async function scoredText(
  model: Model,
  options: {
    readonly eval?: string | undefined;
    readonly limit?: number | undefined;
    readonly text?: string | undefined;
    readonly report?: string | undefined;
    readonly window: number;
  },
  output: Pick<Output, "note" | "alarm">,
): Promise<ScoredText | null> {
  const path = options.eval ?? (options.report === undefined ? undefined : options.text);
  if (path === undefined) return null;
  const limit = options.limit ?? (options.eval === undefined ? fewWindows : undefined);
  const tokenizer = await model.tokenizer();
  const { window } = options;
  const { ids, answers } = await readTexts(
    [{ path, weight: 1 }],
    tokenizer,
    { window, ends: model.config.eosTokens },
    output,
  );
  const windows = scoredWindows(ids, window, tokenizer.bos, limit, answers);
  checkContext(windows, model.config.contextLength);
  return {
    text: { ids, answers, bos: tokenizer.bos, window, windows: windows.count },
    words: `${windowsInWords(windows.count, limit !== undefined)} of ${counted(options.window, "token")} of ${path}`,
  };
}
