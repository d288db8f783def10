/** Cutting a tokenised text in windows, for scoring and for calibration. */
import { counted } from "../../compiler/words.js";
import { LlamaError } from "./error.js";

/** Windows of equal length, end to end: window i is `ids[i * tokens .. (i + 1) * tokens)`. */
export interface Windows {
  readonly count: number;
  /** Tokens of each that go through the model. */
  readonly tokens: number;
  readonly ids: Int32Array<ArrayBuffer>;
}

/** Windows with the token that follows each of their tokens. */
export interface ScoredWindows extends Windows {
  readonly targets: Int32Array<ArrayBuffer>;
  /** 1 for each of their tokens whose successor counts, as answers to prompts; without, all do. */
  readonly counts?: Uint8Array;
}

/**
 * The protocol of perplexity. With a `bos` token: windows of `window` tokens of the text, each preceded by it, every
 * one scored. Without: windows of `window` tokens, all but the first scored. A last partial window is dropped. Of a text
 * with `answers`, 1 for each token of one, these alone count.
 * @throws LlamaError text-too-short (also where no token counts), bad-window
 */
export function scoredWindows(
  text: readonly number[],
  window: number,
  bos: number | null,
  limit: number = Infinity,
  answers: Uint8Array | null = null,
): ScoredWindows {
  checkWindow(window, bos === null ? 2 : 1);
  const count = countWindows(text, window, limit);
  const tokens = bos === null ? window - 1 : window;
  const ids = new Int32Array(count * tokens);
  const targets = new Int32Array(count * tokens);
  for (let at = 0; at < count; at++) {
    const own = text.slice(at * window, (at + 1) * window);
    const whole = bos === null ? own : [bos, ...own];
    ids.set(whole.slice(0, tokens), at * tokens);
    targets.set(whole.slice(1), at * tokens);
  }
  if (answers === null) return { count, tokens, ids, targets };
  const lead = bos === null ? 1 : 0;
  const counts = Uint8Array.from(
    { length: count * tokens },
    (_, at) => answers[Math.floor(at / tokens) * window + (at % tokens) + lead] ?? 0,
  );
  if (!counts.includes(1))
    throw new LlamaError("text-too-short", "Of the windows that are scored no token is part of an answer.");
  return { count, tokens, ids, targets, counts };
}

/** How many tokens count of the windows before `until`, of all by default. */
export function countedTokens({ count, tokens, counts }: ScoredWindows, until: number = count): number {
  return counts === undefined
    ? until * tokens
    : counts.subarray(0, until * tokens).reduce((sum, each) => sum + each, 0);
}

/** Windows that a method is calibrated on where nothing is said. */
export const usualWindows = 128;

/**
 * The windows a method is calibrated on: `window` tokens each, the first of which is `bos` if there is one. `windows`
 * of
 * them, which the text must have; where it is undefined as many of 128 as there are.
 * @throws LlamaError text-too-short, bad-window
 */
export function calibrationWindows(
  text: readonly number[],
  window: number,
  bos: number | null,
  windows: number | undefined,
): Windows {
  checkWindow(window, 2);
  const own = bos === null ? window : window - 1;
  const there = Math.floor(text.length / own);
  if (there < (windows ?? 1)) {
    const wanted = windows ?? 1;
    throw new LlamaError(
      "text-too-short",
      `The calibration text has ${counted(text.length, "token")}, but ${wanted === 1 ? "a window" : `${wanted} windows`} of ${window} ${wanted === 1 ? "needs" : "need"} ${wanted * own}${there === 0 ? "" : `; it is enough for ${there}`}.`,
    );
  }
  const count = Math.min(there, windows ?? usualWindows);
  const ids = new Int32Array(count * window);
  for (let at = 0; at < count; at++) {
    const tokens = text.slice(at * own, (at + 1) * own);
    ids.set(bos === null ? tokens : [bos, ...tokens], at * window);
  }
  return { count, tokens: window, ids };
}

/** As many windows of a text as there are, for a training. @throws LlamaError text-too-short, bad-window */
export function trainingWindows(text: readonly number[], window: number, bos: number | null): Windows {
  const there = Math.floor(text.length / Math.max(1, bos === null ? window : window - 1));
  return calibrationWindows(text, window, bos, Math.max(1, there));
}

/** So many windows of a text, in words; `limited`: there may be more in it. */
export function windowsInWords(count: number, limited: boolean): string {
  if (count === 1) return limited ? "the first window" : "the only window";
  return `${limited ? "the first" : "all"} ${count} windows`;
}

/**
 * That windows of so many tokens fit a model's context.
 * @throws LlamaError bad-window
 */
export function checkContext(windows: Windows, contextLength: number): void {
  if (windows.tokens > contextLength)
    throw new LlamaError(
      "bad-window",
      `Windows of ${counted(windows.tokens, "token")} do not fit the model's context of ${contextLength}.`,
    );
}

function checkWindow(window: number, least: number): void {
  if (!Number.isInteger(window) || window < least)
    throw new LlamaError(
      "bad-window",
      `A window must be a whole number of at least ${counted(least, "token")}, not ${window}.`,
    );
}

function countWindows(text: readonly number[], window: number, limit: number): number {
  const count = Math.min(Math.floor(text.length / window), limit);
  if (count < 1)
    throw new LlamaError(
      "text-too-short",
      `The text has ${counted(text.length, "token")}, but one window needs ${window}.`,
    );
  return count;
}

/**
 * Which tokens of windows count, whose successors are answers; `lead` tokens (of the tokenizer, 1 or none) stand before
 * the text's own in each. The last of a window has no successor.
 */
export function answeredTokens(
  answers: Uint8Array | null,
  windows: { readonly count: number; readonly tokens: number },
  lead: number,
): Uint8Array | null {
  if (answers === null) return null;
  const { count, tokens } = windows;
  const own = tokens - lead;
  const scored = new Uint8Array(count * tokens);
  for (let window = 0; window < count; window++)
    for (let at = 0; at + 1 < tokens; at++) scored[window * tokens + at] = answers[window * own + at + 1 - lead] ?? 0;
  return scored;
}
