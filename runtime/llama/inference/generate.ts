/** Text from a prompt, token by token; the ids stay on the device, each is read back once. */
import { counted } from "../../../compiler/words.js";
import { openArena, withArena } from "../../run/arena.js";
import type { LlamaConfig } from "../../model/config.js";
import { checkRules, checkSampling, chooserOf, type Sampling } from "./choice.js";
import { bindChoice, createDecoder, type Choose, type DecodeState } from "./decode.js";
import { LlamaError } from "../error.js";
import { notFinite } from "./not-finite.js";
import { heldTokens, pageTokens, tableRoom } from "./pages.js";
import { chunkOf } from "../room.js";
import { sharesAngles } from "./rope.js";
import type { Cache, Session } from "./session.js";

export interface GenerateOptions extends Sampling {
  readonly maxNewTokens: number;
  /** Tokens that end the text; the one that did is not among the ids. */
  readonly eosTokens: readonly number[];
  /** Called with each new token; false ends the text. */
  readonly onToken?: ((id: number) => boolean | void) | undefined;
}

export interface Generation {
  /** The new tokens. */
  readonly ids: readonly number[];
  /** By a token that ends texts; as many as were asked for; `onToken` wanted no more; the context is full. */
  readonly ended: "eos" | "length" | "stopped" | "context";
  readonly promptTokens: number;
  /** Those of the prompt that the context had seen before. */
  readonly sharedTokens: number;
  readonly newTokens: number;
  /** Prompt tokens that were computed over the time until the first new token is known. */
  readonly prefillTokensPerSecond: number;
  /** Further tokens over the time they took; null where there is only one. */
  readonly decodeTokensPerSecond: number | null;
}

/** Prompt tokens that go through the model at once, where there is room for what they see. */
const prefillTokens = 512;

/** A text whose keys and values are kept: what the next prompt begins with as well is not computed again. */
export interface Context {
  /**
   * Continues a prompt. A text that fills the context ends there.
   * @throws LlamaError prompt-too-long, prompt-empty, bad-option, not-finite; DeviceError
   */
  generate(prompt: ArrayLike<number>, options: GenerateOptions): Promise<Generation>;
  /** Gives its memory back. */
  close(): void;
}

/**
 * Continues a prompt. A text that fills the model's context ends there.
 * @throws LlamaError prompt-too-long, context-too-large, prompt-empty, bad-option, not-finite; DeviceError
 */
export async function generate(
  session: Session,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): Promise<Generation> {
  checkGeneration(session.config, prompt, options);
  const context = await openContext(session, roomFor(session.config, prompt.length, options.maxNewTokens));
  try {
    return await context.generate(prompt, options);
  } finally {
    context.close();
  }
}

/** Rooms double from this on, as far as doubling is not too much. */
const leastRoom = 512;
const mostDoubled = 8192;

/** Tokens that pages are taken for at once, at least, and their share of those that there are. */
const grownTokens = 256;
const grownShare = 0.25;

/**
 * The tokens that a text of a prompt and so many new ones is said to have room for: one of few numbers, by which a model
 * chooses the frequencies of its rotary embedding where it has several. Memory is taken as there are tokens.
 */
export function roomFor(config: LlamaConfig, promptTokens: number, maxNewTokens: number): number {
  const whole = Math.ceil(config.contextLength / 64) * 64;
  const tokens = promptTokens + Math.min(maxNewTokens, config.contextLength - promptTokens);
  const room =
    tokens > mostDoubled
      ? Math.ceil(tokens / mostDoubled) * mostDoubled
      : Math.max(leastRoom, 2 ** Math.ceil(Math.log2(tokens)));
  return Math.min(whole, room);
}

/**
 * Opens a context for at most so many tokens, of which the model's context is the most that are used. Its memory grows
 * by pages as a text does, and nothing is compiled for that.
 * @throws LlamaError context-too-large; DeviceError
 */
export async function openContext(session: Session, capacity: number): Promise<Context> {
  const { caller, config } = session;
  const { executor } = caller;
  const longest = Math.min(capacity, config.contextLength);
  const { length } = tableRoom(session, 1, capacity);
  let cache = await session.allocateCache(1, capacity, Math.min(capacity, leastRoom));
  let room = 0;
  /** Tokens whose keys and values are in the cache. */
  let kept: readonly number[] = [];

  /** Has pages for so many tokens. */
  async function hold(tokens: number): Promise<void> {
    cache = { ...(await session.growCache(cache, tokens)), capacity: room };
  }

  async function run(prompt: ArrayLike<number>, options: GenerateOptions): Promise<Generation> {
    checkGeneration({ ...config, contextLength: longest }, prompt, options);
    const most = Math.min(options.maxNewTokens, longest - prompt.length);
    const end = prompt.length + most;
    const largest = chunkOf(caller.target, config, session.dtype, { seen: end, most: prefillTokens });
    const wanted = Math.max(room, Math.min(capacity, roomFor(config, prompt.length, options.maxNewTokens)));
    // what was computed by other frequencies is of no use
    if (!sharesAngles(session.frame.rotary, room, wanted)) kept = [];
    room = wanted;
    // the last token goes through the model in any case: the first new one is chosen by its logits
    const shared = sharedStart(kept, prompt, prompt.length - 1);
    kept = [];
    const chunks = chunksOf(prompt.length - shared, largest).map(({ from, count, padded }) => ({
      from: shared + from,
      count,
      padded: shared + from + padded > length * pageTokens ? count : padded,
    }));
    await hold(prompt.length + Math.min(most, grownTokens));
    return withArena(executor, async (arena) => {
      const choose = await chooserOf(arena, caller, config, prompt, options);
      // a prompt's last token alone is what a step of decoding takes
      const isStep = most > 1 && chunks.at(-1)?.padded === 1;
      const passes = isStep ? chunks.slice(0, -1) : chunks;
      for (const tokens of new Set(passes.map((chunk) => chunk.padded)))
        await session.prepare(1, tokens, capacity, room);
      // the token that the model sees next, and where it stands: the prompt's last one until the first is chosen
      const state: DecodeState = {
        ids: arena.own(await executor.fill("i32", [1, 1], [prompt[prompt.length - 1] ?? 0], "token")),
        positions: arena.own(await executor.fill("i32", [1], [prompt.length - 1], "position")),
      };
      let decoding = openArena(executor);
      arena.defer(() => decoding.close());
      let decoder = most > 1 ? await createDecoder(decoding, caller, session, cache, state, choose) : null;
      const ids: number[] = [];
      const started = performance.now();
      let firstAt = started;
      let ended: Generation["ended"] = most < options.maxNewTokens ? "context" : "length";
      await prefill(session, prompt, cache, state, choose, passes);
      if (isStep) decoder?.step();
      let seen = prompt.length;
      let reading = executor.values(state.ids);
      for (let count = 1; ; count++) {
        const found = reading;
        // the next step is submitted, and the read of its token with it, so that the device goes on while this id travels
        if (count < most && decoder !== null) {
          if (seen >= heldTokens(cache)) {
            decoding.close();
            decoding = openArena(executor);
            await hold(Math.min(end, seen + Math.max(grownTokens, Math.ceil(grownShare * seen))));
            decoder = await createDecoder(decoding, caller, session, cache, state, choose);
          }
          decoder.step();
          seen++;
          reading = executor.values(state.ids);
        }
        const token = (await found)[0] ?? -1;
        if (count === 1) firstAt = performance.now();
        if (token < 0) throw await notFinite(session, afterTokens(ids.length));
        const isEnd = options.eosTokens.includes(token);
        if (!isEnd) ids.push(token);
        const stop = isEnd || options.onToken?.(token) === false;
        if (stop) ended = isEnd ? "eos" : "stopped";
        if (stop || count >= most) break;
      }
      kept = [...Array.from(prompt), ...ids].slice(0, seen);
      const seconds = (performance.now() - firstAt) / 1000;
      return {
        ids,
        ended,
        promptTokens: prompt.length,
        sharedTokens: shared,
        newTokens: ids.length,
        prefillTokensPerSecond: (prompt.length - shared) / ((firstAt - started) / 1000),
        decodeTokensPerSecond: ids.length > 1 ? (ids.length - 1) / seconds : null,
      };
    });
  }

  return { generate: run, close: () => session.releaseCache(cache) };
}

/** Tokens that two texts begin with alike, at most so many. */
function sharedStart(one: ArrayLike<number>, other: ArrayLike<number>, most: number): number {
  let count = 0;
  while (count < most && count < one.length && one[count] === other[count]) count++;
  return count;
}

function afterTokens(count: number): string {
  return count === 0 ? "the prompt" : `the text after ${counted(count, "new token")}`;
}

/** Tokens that are not worth a pass of their own. */
const fewTokens = 64;

/**
 * Pieces of a prompt of at most `most` tokens, each padded to a power of two or one to begin with, so that few programs
 * serve all lengths. Where padding would be more than a quarter of a piece, it is two.
 */
export function chunksOf(
  length: number,
  most: number,
): readonly { readonly from: number; readonly count: number; readonly padded: number }[] {
  const chunks: { from: number; count: number; padded: number }[] = [];
  const whole = 2 ** Math.floor(Math.log2(most));
  for (let from = 0; from < length; ) {
    const rest = Math.min(whole, length - from);
    const padded = 2 ** Math.ceil(Math.log2(rest));
    const count = rest > fewTokens && rest < 0.75 * padded ? padded / 2 : rest;
    chunks.push({ from, count, padded: count === rest ? padded : count });
    from += count;
  }
  return chunks;
}

/**
 * The prompt into the cache, and the first new token into the state. What the padding leaves in the cache is behind
 * every token's sight until it is written over.
 */
async function prefill(
  session: Session,
  prompt: ArrayLike<number>,
  cache: Cache,
  state: DecodeState,
  choose: Choose,
  chunks: ReturnType<typeof chunksOf>,
): Promise<void> {
  const { caller } = session;
  const { executor } = caller;
  for (const { from, count, padded } of chunks)
    await withArena(executor, async (arena) => {
      const tokens = Int32Array.from({ length: padded }, (_, at) => (at < count ? (prompt[from + at] ?? 0) : 0));
      const ids = arena.own(await executor.fill("i32", [1, padded], tokens, "prompt"));
      const positions = arena.own(await executor.fill("i32", [1], Int32Array.of(from), "position"));
      const x = arena.own(await session.forward(ids, positions, cache));
      if (from + count === prompt.length) {
        const last = arena.own(await executor.fill("i32", [1], Int32Array.of(count - 1), "pick"));
        const logits = arena.own(await session.logits(x, last));
        const choice = await bindChoice(arena, caller, logits, state, choose);
        choice.replay();
      }
      executor.flush();
    });
}

/**
 * Checks a prompt and options before anything is loaded.
 * @throws LlamaError prompt-too-long, prompt-empty, bad-option
 */
export function checkGeneration(config: LlamaConfig, prompt: ArrayLike<number>, options: GenerateOptions): void {
  const { contextLength } = config;
  if (prompt.length === 0) throw new LlamaError("prompt-empty", "The prompt has no tokens.");
  if (prompt.length >= contextLength) {
    throw new LlamaError(
      "prompt-too-long",
      `The prompt has ${counted(prompt.length, "token")}, but the model's context holds ${contextLength}, of which one is for the first new token.`,
    );
  }
  checkRules([
    [
      "maxNewTokens",
      options.maxNewTokens,
      Number.isInteger(options.maxNewTokens) && options.maxNewTokens > 0,
      "a whole number above 0",
    ],
  ]);
  checkSampling(config, options);
}
