/** Several prompts continued at once by their likeliest tokens; the ids are read back once a step. */
import { withArena, type Arena } from "../../run/arena.js";
import { callsIn } from "./chain.js";
import { createDecoder, greedy, type DecodeState } from "./decode.js";
import { LlamaError } from "../error.js";
import { notFinite } from "./not-finite.js";
import { chunkOf } from "../room.js";
import type { Cache, Session } from "./session.js";

export interface BatchOptions {
  readonly maxNewTokens: number;
  /** Tokens that end a text; the one that did is not among its ids. */
  readonly eosTokens: readonly number[];
  /** Whether nothing more is wanted of a text; asked now and then. */
  readonly isDone?: (ids: readonly number[]) => boolean;
  /** After each token of all. */
  readonly onStep?: (steps: number) => void;
}

/** Tokens of each prompt that go through the model at once, where there is room. */
const prefillTokens = 256;

/** Lengths are rounded up to multiples of it, so that few programs serve all batches. */
const lengthUnit = 64;

/** Tokens after which it is asked whether a text is done. */
const asking = 8;

/**
 * The new tokens of each prompt. A prompt may be of any length that leaves room for a token in the context.
 * @throws LlamaError prompt-too-long, context-too-large, not-finite; DeviceError
 */
export async function generateBatch(
  session: Session,
  prompts: readonly ArrayLike<number>[],
  options: BatchOptions,
): Promise<readonly (readonly number[])[]> {
  const { caller, config } = session;
  const { executor } = caller;
  const lengths = prompts.map(({ length }) => length);
  const longest = Math.max(...lengths);
  if (longest >= config.contextLength || Math.min(...lengths) === 0)
    throw new LlamaError(
      "prompt-too-long",
      `A prompt has ${longest} tokens, but the model's context holds ${config.contextLength}, of which one is for the first new token.`,
    );
  const most = Math.min(options.maxNewTokens, config.contextLength - longest);
  const padded = Math.ceil(longest / lengthUnit) * lengthUnit;
  const capacity = Math.ceil((padded + most) / lengthUnit) * lengthUnit;
  const batch = prompts.length;
  return withArena(executor, async (arena) => {
    const cache = await session.allocateCache(batch, capacity);
    arena.defer(() => session.releaseCache(cache));
    const chosen = await prefillAll(session, prompts, cache, padded);
    const state: DecodeState = {
      ids: arena.own(await executor.fill("i32", [batch, 1], chosen, "tokens")),
      positions: arena.own(await executor.fill("i32", [batch], Int32Array.from(lengths), "positions")),
    };
    const decoder = most > 1 ? await createDecoder(arena, caller, session, cache, state, greedy) : null;
    const texts = prompts.map((): number[] => []);
    const open = new Set(texts.keys());
    let reading: Promise<ArrayLike<number>> = Promise.resolve(chosen);
    for (let count = 1; ; count++) {
      const found = reading;
      if (count < most && decoder !== null) {
        decoder.step();
        reading = executor.values(state.ids);
        reading.then(undefined, () => {}); // it is waited for below, unless something else fails before
      }
      const tokens = await found;
      for (const at of [...open]) {
        const token = tokens[at] ?? -1;
        const text = texts[at]!;
        if (token < 0) throw await notFinite(session, "a text of a batch");
        if (options.eosTokens.includes(token)) open.delete(at);
        else {
          text.push(token);
          if (count % asking === 0 && options.isDone?.(text) === true) open.delete(at);
        }
      }
      options.onStep?.(count);
      if (count >= most || open.size === 0) break;
    }
    await reading;
    return texts;
  });
}

/**
 * All prompts into the cache; gives the first new token of each, -1 where logits are not finite. What the padding leaves
 * in the cache is behind every token's sight until it is written over.
 */
async function prefillAll(
  session: Session,
  prompts: readonly ArrayLike<number>[],
  cache: Cache,
  padded: number,
): Promise<Int32Array<ArrayBuffer>> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  const batch = prompts.length;
  const room = chunkOf(caller.target, config, dtype, { seen: cache.capacity, most: prefillTokens, batch });
  const tokens = Math.min(padded, 2 ** Math.floor(Math.log2(room)));
  const chosen = new Int32Array(batch);
  for (let from = 0; from < padded; from += tokens)
    await withArena(executor, async (arena) => {
      const ids = new Int32Array(batch * tokens);
      prompts.forEach((prompt, at) => {
        for (let t = 0; t < tokens; t++) ids[at * tokens + t] = prompt[from + t] ?? 0;
      });
      const found = await chunk(arena, session, cache, { ids, from, tokens }, prompts);
      prompts.forEach(({ length }, at) => {
        if (length - 1 >= from && length - 1 < from + tokens) chosen[at] = found[at] ?? -1;
      });
    });
  return chosen;
}

/** The tokens that follow the last ones of prompts that end in a part of `tokens` tokens; of others anything. */
async function chunk(
  arena: Arena,
  session: Session,
  cache: Cache,
  { ids, from, tokens }: { readonly ids: Int32Array<ArrayBuffer>; readonly from: number; readonly tokens: number },
  prompts: readonly ArrayLike<number>[],
): Promise<ArrayLike<number>> {
  const { caller } = session;
  const { executor } = caller;
  const batch = prompts.length;
  const whole = (each: (at: number) => number): Int32Array<ArrayBuffer> =>
    Int32Array.from({ length: batch }, (_, at) => each(at));
  const own = arena.own(await executor.fill("i32", [batch, tokens], ids, "prompts"));
  const positions = arena.own(
    await executor.fill(
      "i32",
      [batch],
      whole(() => from),
      "positions",
    ),
  );
  const x = arena.own(await session.forward(own, positions, cache));
  const last = whole((at) => Math.min(tokens - 1, Math.max(0, (prompts[at]?.length ?? 1) - 1 - from)));
  const pick = arena.own(await executor.fill("i32", [batch], last, "pick"));
  const calls = callsIn(arena, caller);
  const logits = arena.own(await session.logits(x, pick));
  const next = await greedy(calls, logits, positions);
  // whether its logits are finite, too
  const seen = arena.own(await executor.fill("i32", [batch, 1], new Int32Array(batch), "tokens"));
  const place = arena.own(await executor.fill("i32", [batch], new Int32Array(batch), "positions"));
  await calls.call("follow", { ids: seen, positions: place, next, logits });
  return executor.values(seen);
}
