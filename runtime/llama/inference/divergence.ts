/** How far two models are apart on a text: KL divergence, equal next tokens, and both perplexities. */
import { withArena, type Arena } from "../../run/arena.js";
import { allDone } from "../../run/outcomes.js";
import type { DeviceTensor } from "../../run/run.js";
import type { LlamaConfig } from "../../model/config.js";
import { LlamaError } from "../error.js";
import { first } from "../results.js";
import { chunkOf, windowsAtOnce } from "../room.js";
import { checkContext, countedTokens, scoredWindows, type ScoredWindows } from "../windows.js";
import { evenly, type EvaluateOptions } from "./evaluate.js";
import { notFinite } from "./not-finite.js";
import type { Cache, Session } from "./session.js";

/** What of two models on a text; losses and divergence in nats. */
export interface Divergence {
  /** exp of the mean loss of each. */
  readonly perplexities: readonly [number, number];
  /** KL(first || second), the mean over the tokens: what the second model's code costs more than the first one's. */
  readonly divergence: number;
  /** Share of tokens after which both choose the same next one. */
  readonly sameNext: number;
  readonly tokens: number;
  readonly windows: number;
  /** KL(first || second) of each window, in order. */
  readonly byWindow: readonly number[];
  readonly seconds: number;
}

/** Bytes of the logits of one model that are there at once. */
const logitBytes = { gpu: 2 ** 28, cpu: 2 ** 26 } as const;

/**
 * Scores the windows that `perplexity` scores with two models of one vocabulary, side by side. Logits of both are made
 * for some tokens at a time; what leaves the device are four numbers a token.
 * @throws LlamaError text-too-short, bad-window, bad-option (vocabularies of two sizes), context-too-large, not-finite
 */
export async function divergence(
  models: readonly [Session, Session],
  text: readonly number[],
  options: Omit<EvaluateOptions, "onProgress"> & {
    readonly onProgress?: ((done: number, total: number, divergence: number) => void) | undefined;
  },
): Promise<Divergence> {
  const [one, other] = models;
  checkVocabularies([one.config, other.config]);
  const windows = scoredWindows(text, options.window, options.bos, options.limit, options.answers);
  for (const { config } of models) checkContext(windows, config.contextLength);
  const { executor } = one.caller;
  const batch = Math.min(
    windows.count,
    options.batch ??
      Math.min(...models.map(({ caller, config }) => windowsAtOnce(caller.target, config, windows.tokens))),
  );
  const started = performance.now();
  const sums = { divergence: 0, same: 0, losses: [0, 0] as [number, number] };
  const byWindow: number[] = [];
  for (let done = 0; done < windows.count; ) {
    const count = Math.min(batch, windows.count - done);
    // as many batches of one size as there are: all but the last, then that
    const end = done + Math.floor((windows.count - done) / count) * count;
    await withArena(executor, async (arena) => {
      const caches: Cache[] = [];
      for (const session of models) {
        const cache = await session.allocateCache(count, windows.tokens);
        arena.defer(() => session.releaseCache(cache));
        caches.push(cache);
      }
      for (; done < end; done += count) {
        const own = new Float64Array(count);
        const tokens = new Float64Array(count);
        await compareWindows(models, caches, windows, done, count, (window, at, [kl, same, ...losses]) => {
          if (windows.counts?.[(done + window) * windows.tokens + at] === 0) return;
          own[window]! += kl;
          tokens[window]!++;
          sums.same += same;
          losses.forEach((loss, model) => (sums.losses[model]! += loss));
        });
        for (const [window, sum] of own.entries()) {
          sums.divergence += sum;
          byWindow.push(sum / Math.max(1, tokens[window]!));
        }
        for (const [at, session] of models.entries())
          if (!Number.isFinite(sums.losses[at])) throw await notFinite(session, "the text");
        options.onProgress?.(
          done + count,
          windows.count,
          sums.divergence / Math.max(1, countedTokens(windows, done + count)),
        );
      }
    });
  }
  const tokens = countedTokens(windows);
  const [lossOfOne, lossOfOther] = sums.losses;
  return {
    perplexities: [Math.exp(lossOfOne / tokens), Math.exp(lossOfOther / tokens)],
    divergence: sums.divergence / tokens,
    sameNext: sums.same / tokens,
    tokens,
    windows: windows.count,
    byWindow,
    seconds: (performance.now() - started) / 1000,
  };
}

/**
 * That logits of two models stand for the same tokens, as far as their number shows it.
 * @throws LlamaError bad-option
 */
export function checkVocabularies([one, other]: readonly [LlamaConfig, LlamaConfig]): void {
  if (one.vocabSize !== other.vocabSize)
    throw new LlamaError(
      "bad-option",
      `The models have logits for ${one.vocabSize} and ${other.vocabSize} tokens; there is a divergence only where they have as many.`,
    );
}

/** What the function `divergence` of the language gives of a token. */
type OfToken = readonly [divergence: number, same: number, lossOfOne: number, lossOfOther: number];

/** `count` windows from `from` on, as many of their tokens at once as there is room for. */
async function compareWindows(
  models: readonly [Session, Session],
  caches: readonly Cache[],
  windows: ScoredWindows,
  from: number,
  count: number,
  found: (window: number, at: number, token: OfToken) => void,
): Promise<void> {
  const { executor, target } = models[0].caller;
  const { tokens } = windows;
  const rooms = models.map(({ config, dtype }) =>
    chunkOf(target, config, dtype, { seen: tokens, most: tokens, batch: count }),
  );
  const room = Math.min(...rooms);
  const { vocabSize } = models[0].config;
  const most = Math.floor(Math.min(target.maxBinding, logitBytes[target.kind]) / (4 * count * vocabSize));
  for (let start = 0; start < tokens; start += room) {
    const chunk = Math.min(room, tokens - start);
    /** Tokens `offset` .. `offset + length` of each window. */
    const slice = (all: Int32Array<ArrayBuffer>, offset: number, length: number): Int32Array<ArrayBuffer> =>
      Int32Array.from({ length: count * length }, (_, at) => {
        const window = Math.floor(at / length);
        return all[(from + window) * tokens + offset + (at % length)] ?? 0;
      });
    await withArena(executor, async (arena) => {
      const ids = arena.own(await executor.fill("i32", [count, chunk], slice(windows.ids, start, chunk), "ids"));
      const positions = arena.own(await executor.fill("i32", [count], new Int32Array(count).fill(start), "positions"));
      const states: DeviceTensor[] = [];
      for (const [at, session] of models.entries())
        states.push(arena.own(await session.forward(ids, positions, caches[at]!)));
      const step = evenly(chunk, most);
      for (let at = 0; at < chunk; at += step) {
        const length = Math.min(step, chunk - at);
        await withArena(executor, async (inner) => {
          const [p, q] = [
            await tokenLogits(inner, models[0], states[0]!, at, length),
            await tokenLogits(inner, models[1], states[1]!, at, length),
          ];
          const following = slice(windows.targets, start + at, length);
          const targets = inner.own(await executor.fill("i32", [count, length], following, "targets"));
          const tensors = inner.ownAll(await models[0].caller.call("divergence", { p, q, targets }));
          const [kl, same, one, other] = await allDone(tensors.map((tensor) => executor.values(tensor)));
          for (let token = 0; token < count * length; token++)
            found(Math.floor(token / length), start + at + (token % length), [
              kl?.[token] ?? NaN,
              same?.[token] ?? NaN,
              one?.[token] ?? NaN,
              other?.[token] ?? NaN,
            ]);
        });
      }
    });
  }
}

/** Logits f32 [B, tokens, V] of some tokens of x [B, T, D]. */
async function tokenLogits(
  arena: Arena,
  { caller, config, frame }: Session,
  x: DeviceTensor,
  start: number,
  tokens: number,
): Promise<DeviceTensor> {
  const { head, gain } = frame;
  const args = { x, gain, eps: config.normEpsilon, start };
  const sizes = { tokens };
  const [only, ...others] = head.parts;
  if (only !== undefined && others.length === 0)
    return arena.own(first(await caller.call("span_logits", { ...args, w: only.tensor }, { sizes })));
  const shape = [x.shape[0] ?? 0, tokens, config.vocabSize];
  const whole = arena.own(await caller.executor.allocate({ dtype: "f32", shape, format: null }, "logits"));
  for (const part of head.parts)
    await caller.call("span_logits_part", { ...args, w: part.tensor, whole, first: part.first }, { sizes });
  return whole;
}
