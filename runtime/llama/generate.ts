/** Text from a prompt, token by token; the ids stay on the device, each is read back once. */
import type { DeviceTensor, TensorForm } from "../run/run.js";
import type { LlamaConfig } from "../model/config.js";
import { LlamaError } from "./error.js";
import { notFinite } from "./not-finite.js";
import { first } from "./results.js";
import type { Cache, Session } from "./session.js";

/** How the next token is chosen. */
export interface Sampling {
  /** 0: the likeliest token. */
  readonly temperature: number;
  /** Keep so many of the likeliest; 0 or none: all. */
  readonly topK?: number | undefined;
  /** Keep the likeliest with this much of the probability together; 1 or none: all. */
  readonly topP?: number | undefined;
  readonly seed?: number | undefined;
}

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
  readonly ended: "eos" | "length" | "stopped";
  readonly promptTokens: number;
  readonly newTokens: number;
  /** Prompt tokens over the time until the first new token is known. */
  readonly prefillTokensPerSecond: number;
  /** Further tokens over the time they took; null where there is only one. */
  readonly decodeTokensPerSecond: number | null;
}

/** Prompt tokens that go through the model at once. */
const prefillTokens = 256;

/**
 * Continues a prompt. A text that fills the model's context ends there.
 * @throws LlamaError prompt-too-long, prompt-empty, bad-option, not-finite; DeviceError
 */
export async function generate(
  session: Session,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): Promise<Generation> {
  checkGeneration(session.config, prompt, options);
  const { executor } = session.caller;
  const most = Math.min(options.maxNewTokens, session.config.contextLength - prompt.length);
  const capacity = Math.ceil((prompt.length + most) / 64) * 64;
  const cache = await session.allocateCache(1, capacity);
  const choose = await chooser(session, options);
  const chunks = chunksOf(prompt.length);
  await session.caller.prepare("not_finite", {
    w: { dtype: "f32", shape: [1, session.config.vocabSize], format: null },
  });
  await session.caller.prepare("next_position", { positions: { dtype: "i32", shape: [1], format: null } });
  for (const tokens of new Set([...chunks.map((chunk) => chunk.padded), 1])) await session.prepare(1, tokens, capacity);
  const pick = await executor.fill("i32", [1], [0], "pick");
  // the position of the last token that the model has seen, kept on the device as the ids are
  let position = await executor.fill("i32", [1], [prompt.length - 1], "position");
  const ids: number[] = [];
  const started = performance.now();
  let firstAt = started;
  let ended: Generation["ended"] = "length";
  const start = await prefill(session, prompt, cache, position, choose, chunks);
  let { id } = start;
  try {
    for (let count = 1; ; count++) {
      // the read is queued before the next step is, so that the device goes on while the id travels
      const reading = executor.values(id);
      let next: DeviceTensor | null = null;
      if (count < most) {
        const before = position;
        position = first(await session.caller.call("next_position", { positions: before }));
        executor.release(before);
        next = await step(session, id, position, cache, pick, choose);
      }
      executor.flush();
      const token = (await reading)[0] ?? 0;
      executor.release(id);
      if (count === 1) {
        firstAt = performance.now();
        const [bad] = await executor.values(start.bad);
        executor.release(start.bad);
        if (bad !== 0) {
          if (next !== null) executor.release(next);
          throw await notFinite(session, "the prompt");
        }
      }
      const end = options.eosTokens.includes(token);
      if (!end) ids.push(token);
      const stop = end || options.onToken?.(token) === false;
      if (stop) ended = end ? "eos" : "stopped";
      if (next === null) break;
      id = next;
      if (stop) {
        executor.release(id);
        break;
      }
    }
  } finally {
    executor.release(pick);
    executor.release(position);
    session.releaseCache(cache);
  }
  const seconds = (performance.now() - firstAt) / 1000;
  return {
    ids,
    ended,
    promptTokens: prompt.length,
    newTokens: ids.length,
    prefillTokensPerSecond: prompt.length / ((firstAt - started) / 1000),
    decodeTokensPerSecond: ids.length > 1 ? (ids.length - 1) / seconds : null,
  };
}

/** Logits f32 [B, V], and the positions [B] of the tokens they follow -> the next tokens, i32 [B, 1]. */
type Choose = (logits: DeviceTensor, positions: DeviceTensor) => Promise<DeviceTensor>;

async function chooser(session: Session, sampling: Sampling): Promise<Choose> {
  const { caller, config } = session;
  const form: TensorForm = { dtype: "f32", shape: [1, config.vocabSize], format: null };
  if (sampling.temperature === 0) {
    await caller.prepare("greedy", { logits: form });
    return async (logits) => first(await caller.call("greedy", { logits }));
  }
  const scalars = {
    seed: (sampling.seed ?? 0) >>> 0,
    temperature: sampling.temperature,
    top_k: sampling.topK === undefined || sampling.topK === 0 ? config.vocabSize : sampling.topK,
    // above 1, so that rounding never cuts off the last tokens
    top_p: sampling.topP === undefined || sampling.topP >= 1 ? 2 : sampling.topP,
  };
  await caller.prepare("sample", { logits: form, positions: { dtype: "i32", shape: [1], format: null }, ...scalars });
  return async (logits, positions) => first(await caller.call("sample", { logits, positions, ...scalars }));
}

/** Pieces of a prompt, each padded to a power of two, so that few programs serve all lengths. */
function chunksOf(
  length: number,
): readonly { readonly from: number; readonly count: number; readonly padded: number }[] {
  const chunks: { from: number; count: number; padded: number }[] = [];
  for (let from = 0; from < length; from += prefillTokens) {
    const count = Math.min(prefillTokens, length - from);
    chunks.push({ from, count, padded: 2 ** Math.ceil(Math.log2(count)) });
  }
  return chunks;
}

/** The first new token, and how many of its logits are not finite: to be read with it. */
interface Start {
  readonly id: DeviceTensor;
  readonly bad: DeviceTensor;
}

/**
 * The prompt into the cache; where the new tokens start. What the padding leaves in the cache is behind every token's
 * sight until it is written over.
 */
async function prefill(
  session: Session,
  prompt: ArrayLike<number>,
  cache: Cache,
  position: DeviceTensor,
  choose: Choose,
  chunks: ReturnType<typeof chunksOf>,
): Promise<Start> {
  const { executor } = session.caller;
  let found: Start | null = null;
  for (const { from, count, padded } of chunks) {
    const ids = await executor.fill(
      "i32",
      [1, padded],
      Int32Array.from({ length: padded }, (_, at) => (at < count ? (prompt[from + at] ?? 0) : 0)),
      "prompt",
    );
    const positions = await executor.fill("i32", [1], Int32Array.of(from), "position");
    const x = await session.forward(ids, positions, cache);
    if (from + count === prompt.length) {
      const last = await executor.fill("i32", [1], Int32Array.of(count - 1), "pick");
      const logits = await session.logits(x, last);
      found = {
        id: await choose(logits, position),
        bad: first(await session.caller.call("not_finite", { w: logits })),
      };
      for (const tensor of [last, logits]) executor.release(tensor);
    }
    for (const tensor of [ids, positions, x]) executor.release(tensor);
    executor.flush();
  }
  if (found === null) throw new LlamaError("prompt-empty", "The prompt has no tokens.");
  return found;
}

/** One token through the model; the next. */
async function step(
  session: Session,
  id: DeviceTensor,
  position: DeviceTensor,
  cache: Cache,
  pick: DeviceTensor,
  choose: Choose,
): Promise<DeviceTensor> {
  const { executor } = session.caller;
  const x = await session.forward(id, position, cache);
  const logits = await session.logits(x, pick);
  const next = await choose(logits, position);
  for (const tensor of [x, logits]) executor.release(tensor);
  return next;
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
      `The prompt has ${prompt.length} tokens, but the model's context holds ${contextLength}, of which one is for the first new token.`,
    );
  }
  const rules: readonly (readonly [string, number, boolean, string])[] = [
    [
      "maxNewTokens",
      options.maxNewTokens,
      Number.isInteger(options.maxNewTokens) && options.maxNewTokens > 0,
      "a whole number above 0",
    ],
    ["temperature", options.temperature, options.temperature >= 0 && options.temperature < Infinity, "0 or more"],
    [
      "topK",
      options.topK ?? 0,
      Number.isInteger(options.topK ?? 0) && (options.topK ?? 0) >= 0,
      "a whole number, 0 or more",
    ],
    ["topP", options.topP ?? 1, (options.topP ?? 1) > 0 && (options.topP ?? 1) <= 1, "above 0, at most 1"],
    [
      "seed",
      options.seed ?? 0,
      Number.isInteger(options.seed ?? 0) && (options.seed ?? 0) >= 0 && (options.seed ?? 0) < 2 ** 32,
      "a whole number from 0 to 4294967295",
    ],
  ];
  for (const [name, value, holds, expected] of rules)
    if (!holds) throw new LlamaError("bad-option", `${name} should be ${expected}, found ${value}.`);
}
