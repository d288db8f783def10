/** Speculative decoding (Leviathan et al. 2023): a small model proposes tokens, the large one looks at several at once. */
import { withArena, type Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import { LlamaError } from "../error.js";
import { createCaller, type Caller } from "../call.js";
import { first } from "../results.js";
import { chunkOf } from "../room.js";
import { createChain } from "./chain.js";
import { createDecoder, greedy, type DecodeState, type Decoder } from "./decode.js";
import { checkGeneration, chunksOf, roomFor, type GenerateOptions, type Generation } from "./generate.js";
import { notFinite } from "./not-finite.js";
import { forward, logits, type Cache } from "./pass.js";
import type { Session } from "./session.js";

/** What is asked of two models. */
export interface SpeculateOptions extends Pick<GenerateOptions, "maxNewTokens" | "eosTokens" | "onToken"> {
  /** Tokens that are proposed at once; 4 by default. */
  readonly proposed?: number | undefined;
}

/** A text, and what the proposals were worth. */
export interface Speculation extends Omit<Generation, "sharedTokens"> {
  readonly proposedTokens: number;
  readonly acceptedTokens: number;
  /** Passes of the large model after the prompt, those for a near tie included, and how many these were. */
  readonly passes: number;
  readonly nearTies: number;
}

/**
 * The least lead of the largest logit that a pass over several tokens decides by. Its sums are added in another order
 * than those of a token alone; where two logits are nearer, that token is computed alone, as without a draft.
 */
const leastLead = { f32: 1e-3, f16: 0.25 } as const;

/** A model with the cache of one text. */
interface Side {
  readonly session: Session;
  readonly cache: Cache;
  readonly state: DecodeState;
  readonly decoder: Decoder;
}

/**
 * Continues a prompt by the likeliest tokens of a session, with another session's proposals.
 * @throws LlamaError as `generate`; bad-option where the vocabularies are of two sizes; DeviceError
 */
export async function speculate(
  session: Session,
  draft: Session,
  prompt: ArrayLike<number>,
  options: SpeculateOptions,
): Promise<Speculation> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  const proposed = options.proposed ?? 4;
  if (draft.config.vocabSize !== config.vocabSize)
    throw new LlamaError(
      "bad-option",
      `The model has ${config.vocabSize} tokens and the draft ${draft.config.vocabSize}; a draft has the model's own.`,
    );
  const contextLength = Math.min(config.contextLength, draft.config.contextLength);
  checkGeneration({ ...config, contextLength }, prompt, { ...options, temperature: 0 });
  const most = Math.min(options.maxNewTokens, contextLength - prompt.length);
  // what is looked at in vain stands behind the last token
  const capacity = roomFor(
    { ...config, contextLength: contextLength + proposed + 1 },
    prompt.length,
    most + proposed + 1,
  );
  return withArena(executor, async (arena) => {
    const held = prompt.length + most + proposed + 1;
    const [large, small] = [
      await openSide(arena, session, capacity, held),
      await openSide(arena, draft, capacity, held),
    ];
    const looked = await createLook(arena, large, proposed + 1);
    const started = performance.now();
    await fill(small, prompt, prompt.length - 1);
    const start = await fill(large, prompt, prompt.length);
    const ids: number[] = [];
    let ended: Speculation["ended"] = most < options.maxNewTokens ? "context" : "length";
    const counts = { proposedTokens: 0, acceptedTokens: 0, passes: 0, nearTies: 0 };
    /** Gives a token; whether the text goes on. */
    const give = async (id: number): Promise<boolean> => {
      if (id < 0) throw await notFinite(session, "the text");
      if (options.eosTokens.includes(id)) {
        ended = "eos";
        return false;
      }
      ids.push(id);
      if (options.onToken?.(id) === false) {
        ended = "stopped";
        return false;
      }
      return ids.length < most;
    };
    let goesOn = await give(start);
    const firstAt = performance.now();
    /** Tokens at the beginning of the text that the draft has seen. */
    let seen = prompt.length - 1;
    while (goesOn) {
      const text = [...Array.from(prompt), ...ids];
      const at = text.length - 1;
      // the draft catches up with what was decided without it, then goes on by itself
      const proposals: number[] = [];
      for (; proposals.length < proposed; seen++) {
        const id = await stepOf(small, text[seen] ?? proposals[seen - text.length]!, seen);
        if (seen >= at) proposals.push(Math.max(id, 0));
      }
      const { best, lead } = await looked([text[at]!, ...proposals], at);
      counts.passes++;
      counts.proposedTokens += proposals.length;
      let accepted = 0;
      for (; goesOn && accepted <= proposed; accepted++) {
        let id = best[accepted]!;
        const isClear = id < 0 || lead[accepted]! >= leastLead[dtype];
        if (!isClear) {
          counts.nearTies++;
          counts.passes++;
          id = await stepOf(large, accepted === 0 ? text[at]! : proposals[accepted - 1]!, at + accepted);
        }
        goesOn = await give(id);
        if (id !== proposals[accepted]) break;
        counts.acceptedTokens++;
      }
      // the draft has seen what was accepted, and no more
      seen = Math.min(seen, at + 1 + accepted);
    }
    const seconds = (performance.now() - firstAt) / 1000;
    return {
      ids,
      ended,
      promptTokens: prompt.length,
      newTokens: ids.length,
      ...counts,
      prefillTokensPerSecond: prompt.length / ((firstAt - started) / 1000),
      decodeTokensPerSecond: ids.length > 1 ? (ids.length - 1) / seconds : null,
    };
  });
}

async function openSide(arena: Arena, session: Session, capacity: number, held: number): Promise<Side> {
  const { caller } = session;
  const { executor } = caller;
  const cache = await session.allocateCache(1, capacity, Math.min(capacity, held));
  arena.defer(() => session.releaseCache(cache));
  const state: DecodeState = {
    ids: arena.own(await executor.fill("i32", [1, 1], [0], "token")),
    positions: arena.own(await executor.fill("i32", [1], [0], "position")),
  };
  return { session, cache, state, decoder: await createDecoder(arena, caller, session, cache, state, greedy) };
}

/** One token at a place; what comes next. */
async function stepOf({ session, state, decoder }: Side, id: number, at: number): Promise<number> {
  const { executor } = session.caller;
  await executor.write(state.ids, Int32Array.of(id));
  await executor.write(state.positions, Int32Array.of(at));
  decoder.step();
  return (await executor.values(state.ids))[0] ?? -1;
}

/** The first `count` tokens of a prompt into a cache; what comes after them. */
async function fill({ session, cache }: Side, prompt: ArrayLike<number>, count: number): Promise<number> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  let next = -1;
  const most = chunkOf(caller.target, config, dtype, { seen: cache.capacity, most: 512 });
  for (const chunk of chunksOf(count, most)) {
    const padded = chunk.from + chunk.padded > cache.capacity ? chunk.count : chunk.padded;
    next = await withArena(executor, async (arena) => {
      const own = async (shape: readonly number[], values: Int32Array): Promise<DeviceTensor> =>
        arena.own(await executor.fill("i32", shape, values));
      const ids = Int32Array.from({ length: padded }, (_, at) =>
        at < chunk.count ? (prompt[chunk.from + at] ?? 0) : 0,
      );
      const x = arena.own(
        await session.forward(await own([1, padded], ids), await own([1], Int32Array.of(chunk.from)), cache),
      );
      if (chunk.from + chunk.count < count) return -1;
      const found = arena.own(await session.logits(x, await own([1], Int32Array.of(chunk.count - 1))));
      const state = { ids: await own([1, 1], Int32Array.of(0)), positions: await own([1], Int32Array.of(0)) };
      const chosen = first(arena.ownAll(await caller.call("greedy", { logits: found })));
      await caller.call("follow", { ...state, next: chosen, logits: found });
      return (await executor.values(state.ids))[0] ?? -1;
    });
  }
  return next;
}

/** What a model says after each of some tokens: the likeliest next, -1 where a logit is not finite, and its lead. */
type Look = (
  ids: readonly number[],
  at: number,
) => Promise<{ readonly best: ArrayLike<number>; readonly lead: ArrayLike<number> }>;

const alikeCallers = new WeakMap<Caller, Caller>();

/** A caller whose tokens are alike; one for each caller, that the next text finds compiled what this one needed. */
function alikeOf(caller: Caller): Caller {
  const { executor, target, functions, options } = caller;
  const alike = alikeCallers.get(caller) ?? createCaller(executor, { ...target, alike: true }, functions, options);
  alikeCallers.set(caller, alike);
  return alike;
}

/** A pass over `count` tokens of one text, bound once: each is computed as it would be alone, where the device can. */
async function createLook(arena: Arena, { session, cache }: Side, count: number): Promise<Look> {
  const { caller, config } = session;
  const { executor } = caller;
  const integers = async (shape: readonly number[]): Promise<DeviceTensor> =>
    arena.own(await executor.fill("i32", shape, new Int32Array(shape.reduce((a, b) => a * b, 1))));
  const [ids, start, picks] = [await integers([1, count]), await integers([1]), await integers([count])];
  const [best, places] = [await integers([count, 1]), await integers([count])];
  const alike = alikeOf(caller);
  const pass = createChain(arena, alike, "look");
  const made = await forward(pass, { ...session, target: alike.target }, ids, start, cache);
  const bound = await pass.bind([made]);
  // the tokens of the text as texts of one each
  const x: DeviceTensor = { ...bound.tensor(made), shape: [count, 1, config.hiddenSize] };
  const choice = createChain(arena, alike, "look at logits");
  const found = await logits(choice, session, x, picks);
  const next = first(await choice.call("greedy", { logits: found }));
  const lead = first(await choice.call("lead", { logits: found, best: next }));
  await choice.call("follow", { ids: best, positions: places, next, logits: found });
  const chosen = await choice.bind([lead]);
  return async (tokens, at) => {
    await executor.write(ids, Int32Array.from(tokens));
    await executor.write(start, Int32Array.of(at));
    bound.replay();
    chosen.replay();
    const [top, by] = [executor.values(best), executor.values(chosen.tensor(lead))];
    return { best: await top, lead: await by };
  };
}
