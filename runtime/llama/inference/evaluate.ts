/** Perplexity of a text: windows scored in batches, the loss summed on the host in f64. */
import { allDone } from "../../run/outcomes.js";
import type { DeviceTensor, HostValues } from "../../run/run.js";
import { withArena } from "../../run/arena.js";
import type { Arguments } from "../call.js";
import { notFinite } from "./not-finite.js";
import { first, many } from "../results.js";
import { chunkOf, windowsAtOnce } from "../room.js";
import type { Cache, Session } from "./session.js";
import { checkContext, countedTokens, scoredWindows, type ScoredWindows } from "../windows.js";

/** What is scored. */
export interface EvaluateOptions {
  /** Tokens of a window; see `scoredWindows`. */
  readonly window: number;
  /** The token that stands before every text, or null for a tokenizer that adds none. */
  readonly bos: number | null;
  /** 1 for each token of the text that counts, as answers to prompts; without, all do. */
  readonly answers?: Uint8Array | null | undefined;
  /** At most so many windows, the first. */
  readonly limit?: number | undefined;
  /** Windows computed at once; chosen by the device's memory unless given. */
  readonly batch?: number | undefined;
  /** After each batch, with the perplexity so far. */
  readonly onProgress?: ((done: number, total: number, perplexity: number) => void) | undefined;
}

export interface Evaluation {
  readonly perplexity: number;
  /** Tokens scored. */
  readonly tokens: number;
  readonly windows: number;
  readonly seconds: number;
}

/**
 * exp of the mean loss of the scored tokens, in nats.
 * @throws LlamaError text-too-short (also where none counts), bad-window, context-too-large, not-finite
 */
export async function perplexity(
  session: Session,
  text: readonly number[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const windows = scoredWindows(text, options.window, options.bos, options.limit, options.answers);
  checkContext(windows, session.config.contextLength);
  /** Whether a window's token at a place, the first that is scored being 0, counts. */
  const counts: Counts = (window, at) => windows.counts?.[window * windows.tokens + at] !== 0;
  const tokens = countedTokens(windows);
  const batch = Math.min(
    options.batch ?? windowsAtOnce(session.caller.target, session.config, windows.tokens),
    windows.count,
  );
  const started = performance.now();
  const { executor } = session.caller;
  let total = 0;
  for (let done = 0; done < windows.count; ) {
    const count = Math.min(batch, windows.count - done);
    // as many batches of one size as there are: all but the last, then that
    const end = done + Math.floor((windows.count - done) / count) * count;
    await withArena(executor, async (arena) => {
      const cache = await session.allocateCache(count, windows.tokens);
      arena.defer(() => session.releaseCache(cache));
      for (; done < end; done += count) {
        const loss = await lossOf(session, windows, done, count, cache, counts);
        if (!Number.isFinite(loss)) throw await notFinite(session, "the text");
        total += loss;
        options.onProgress?.(
          done + count,
          windows.count,
          Math.exp(total / Math.max(1, countedTokens(windows, done + count))),
        );
      }
    });
  }
  return {
    perplexity: Math.exp(total / tokens),
    tokens,
    windows: windows.count,
    seconds: (performance.now() - started) / 1000,
  };
}

type Counts = (window: number, at: number) => boolean;

/** Summed loss of `count` windows from `from` on, as many of their tokens at once as there is room for. */
async function lossOf(
  session: Session,
  windows: ScoredWindows,
  from: number,
  count: number,
  cache: Cache,
  counts: Counts,
): Promise<number> {
  const { config, dtype } = session;
  const { executor, target } = session.caller;
  const { tokens } = windows;
  const room = chunkOf(target, config, dtype, { seen: tokens, most: tokens, batch: count });
  let total = 0;
  for (let start = 0; start < tokens; start += room) {
    const chunk = Math.min(room, tokens - start);
    /** Tokens `start` .. `start + chunk` of each window. */
    const slice = (all: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> =>
      Int32Array.from({ length: count * chunk }, (_, at) => {
        const window = Math.floor(at / chunk);
        return all[(from + window) * tokens + start + (at % chunk)] ?? 0;
      });
    await withArena(executor, async (arena) => {
      const ids = arena.own(await executor.fill("i32", [count, chunk], slice(windows.ids), "ids"));
      const targets = arena.own(await executor.fill("i32", [count, chunk], slice(windows.targets), "targets"));
      const positions = arena.own(await executor.fill("i32", [count], new Int32Array(count).fill(start), "positions"));
      const x = arena.own(await session.forward(ids, positions, cache));
      (await tokenLosses(session, x, targets)).forEach((loss, at) => {
        if (counts(from + Math.floor(at / chunk), start + (at % chunk))) total += loss;
      });
    });
  }
  return total;
}

/**
 * Losses [B, T] of the tokens of x [B, T, D]; logits are made for as many tokens at once as there is room for, and do
 * not leave the device.
 */
export async function tokenLosses(
  session: Pick<Session, "caller" | "config" | "frame">,
  x: DeviceTensor,
  targets: DeviceTensor,
): Promise<Float64Array> {
  const { caller, config, frame } = session;
  const { executor } = caller;
  const [batch = 0, tokens = 0] = x.shape;
  const room = Math.min(caller.target.maxBinding, 2 ** 28);
  const step = evenly(tokens, Math.floor(room / (4 * batch * config.vocabSize)));
  const losses = new Float64Array(batch * tokens);
  for (let start = 0; start < tokens; start += step) {
    const sizes = { tokens: Math.min(step, tokens - start) };
    /** Puts what came of a step, [B, step], where it belongs. */
    const put = (some: ArrayLike<number>): void => {
      for (let at = 0; at < some.length; at++)
        losses[Math.floor(at / sizes.tokens) * tokens + start + (at % sizes.tokens)] = some[at] ?? NaN;
    };
    const args = { x, targets, gain: frame.gain, eps: config.normEpsilon, start };
    /** What a function gives for a part of the head. */
    const values = (name: string, own: Arguments): Promise<readonly HostValues[]> =>
      withArena(executor, async (arena) => {
        const tensors = arena.ownAll(await caller.call(name, { ...args, ...own }, { sizes }));
        return allDone(tensors.map((tensor) => executor.values(tensor)));
      });
    const [only, ...others] = frame.head.parts;
    if (only !== undefined && others.length === 0) {
      put(first(await values("token_loss", { w: only.tensor })));
      continue;
    }
    const parts: LossPart[] = [];
    for (const part of frame.head.parts) {
      const [highest, total, target] = many(await values("loss_part", { w: part.tensor, first: part.first }), 3);
      parts.push({ highest, total, target });
    }
    put(joinParts(parts));
  }
  return losses;
}

/** The size of the fewest pieces of at most `most` that a length has, as even as they can be: few programs serve them. */
export function evenly(length: number, most: number): number {
  return Math.ceil(length / Math.ceil(length / Math.max(1, Math.min(length, most))));
}

/** What each part of a vocabulary contributes to the losses of some tokens. */
export interface LossPart {
  readonly highest: ArrayLike<number>;
  readonly total: ArrayLike<number>;
  readonly target: ArrayLike<number>;
}

/** log-sum-exp over all parts minus the target's logit, for each token. */
export function joinParts(parts: readonly LossPart[]): readonly number[] {
  const [one] = parts;
  return Array.from({ length: one?.highest.length ?? 0 }, (_, at) => {
    const highest = Math.max(...parts.map((part) => part.highest[at] ?? -Infinity));
    const total = parts.reduce(
      (sum, part) => sum + (part.total[at] ?? 0) * Math.exp((part.highest[at] ?? -Infinity) - highest),
      0,
    );
    const target = parts.reduce((sum, part) => sum + (part.target[at] ?? 0), 0);
    return Math.log(total) + highest - target;
  });
}
