/** What a training reads: windows of texts, the tokens that follow, and which of them count. */
import { answeredTokens, type Windows } from "../windows.js";

/** Windows of equal length. */
export interface TrainingWindows extends Windows {
  /** 1 for each token whose successor is to be learned, 0 for others, padding among them; null: all count. */
  readonly scored: Uint8Array | null;
  /** Of each window which one it is, where some come several times: what is held out is so in all places. */
  readonly origins?: Int32Array | null | undefined;
}

/** Windows of a text, with what counts in them. */
export function scoredWindowsOf(
  windows: Windows,
  text: {
    readonly bos: number | null;
    readonly answers?: Uint8Array | null | undefined;
    readonly origins?: Int32Array | null | undefined;
  } | null,
): TrainingWindows {
  return {
    ...windows,
    scored: answeredTokens(text?.answers ?? null, windows, text?.bos == null ? 0 : 1),
    origins: text?.origins,
  };
}

/** The windows in which something counts, in order. */
export function countingWindows({ count, tokens, scored }: TrainingWindows): readonly number[] {
  const all = Array.from({ length: count }, (_, at) => at);
  return scored === null ? all : all.filter((at) => scored.subarray(at * tokens, (at + 1) * tokens).includes(1));
}

/** What a pass reads of some windows; places beyond the last are padded with tokens that do not count. */
export interface BatchValues {
  readonly ids: Int32Array<ArrayBuffer>;
  readonly next: Int32Array<ArrayBuffer>;
  readonly scored: Float32Array<ArrayBuffer>;
}

/**
 * The tokens of some windows, `places` in all. The last of a window has no successor, and counts only where a loss does
 * not look at that.
 */
export function batchOf(
  windows: TrainingWindows,
  chosen: readonly number[],
  places: number,
  looksAhead: boolean,
): BatchValues {
  const { tokens } = windows;
  const ids = new Int32Array(places * tokens);
  const next = new Int32Array(places * tokens);
  const scored = new Float32Array(places * tokens);
  chosen.forEach((window, place) => {
    const own = windows.ids.subarray(window * tokens, (window + 1) * tokens);
    ids.set(own, place * tokens);
    next.set(own.subarray(1), place * tokens);
    for (let at = 0; at < (looksAhead ? tokens - 1 : tokens); at++)
      scored[place * tokens + at] = windows.scored?.[window * tokens + at] ?? 1;
  });
  return { ids, next, scored };
}

/** How many tokens of some windows count. */
export function countScored(windows: TrainingWindows, chosen: readonly number[], looksAhead: boolean): number {
  const { scored } = batchOf(windows, chosen, chosen.length, looksAhead);
  return scored.reduce((sum, each) => sum + each, 0);
}
