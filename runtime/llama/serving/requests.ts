/** What a scheduler is asked for and gives: requests to continue a prompt, which share a model. */
import type { Sampling } from "../inference/choice.js";
import type { Session } from "../inference/session.js";

/** A prompt to continue. */
export interface TextRequest {
  /** Ids of the prompt's tokens, at least one; with those that stand before every text. */
  readonly prompt: ArrayLike<number>;
  /** At most so many new tokens; 0 for one that only wants the scores of its prompt. A full context ends a text sooner. */
  readonly maxNewTokens: number;
  /** Tokens that end the text; the one that did is not given. */
  readonly stopTokens: readonly number[];
  readonly sampling: Sampling;
  /** Also tell the log-probability of each new token, and so many of the likeliest in its place, 0 to `mostTop`. */
  readonly logprobs?: number | undefined;
  /** The same of the prompt's tokens. */
  readonly promptLogprobs?: number | undefined;
}

/** The most alternatives to a token that are told. */
export const mostTop = 20;

/** A token and what the model gave it, of all it might have said: nats, before temperature and what is kept of it. */
export interface TokenScore {
  readonly id: number;
  readonly logprob: number;
}

/** A new token. */
export interface TextToken {
  readonly id: number;
  /** Where the request wants it. */
  readonly logprob?: number;
  /** The likeliest in its place, from the likeliest on. */
  readonly top?: readonly TokenScore[];
}

/** A token of the prompt; the first of all has nothing before it that would make it likely. */
export interface PromptToken {
  readonly id: number;
  readonly logprob: number | null;
  readonly top: readonly TokenScore[];
}

/** How a request ended. */
export interface TextEnd {
  /** A stop token; as many tokens as were asked for, or the context is full; `cancel`. */
  readonly ended: "stop" | "length" | "cancelled";
  readonly promptTokens: number;
  /** Those of the prompt that had been computed for another request. */
  readonly sharedTokens: number;
  /** Those that were given. */
  readonly newTokens: number;
  /** The token that ended it, which is none of those given; null where it ended otherwise. */
  readonly stop: TextToken | null;
}

/** A request that is under way. */
export interface Submission {
  /**
   * Its new tokens, once, as they come. A reader may be slow: they wait for it, and the model does not. Throws, as `end`,
   * LlamaError not-finite or closed, DeviceError.
   */
  readonly tokens: AsyncIterable<TextToken>;
  /** The prompt with its scores, where they were asked for (else without any), before the first new token. */
  readonly prompt: Promise<readonly PromptToken[]>;
  /** Settles when the last token is there to be read. May be left alone. */
  readonly end: Promise<TextEnd>;
  /** Ends it before its time and frees its place and its pages; harmless when it has ended. */
  cancel(): void;
}

/** How it stands with a scheduler. */
export interface SchedulerState {
  /** Requests that are given tokens, those whose turn has not come, and as many as may be at once of each. */
  readonly running: number;
  readonly waiting: number;
  readonly sequences: number;
  readonly queue: number;
  /** Pages of the cache: all, those of running requests, those kept in case another text begins alike. */
  readonly pages: { readonly total: number; readonly used: number; readonly kept: number; readonly tokens: number };
  /** Since it was opened. */
  readonly promptTokens: number;
  readonly computedPromptTokens: number;
  readonly newTokens: number;
  /** Requests that have ended, whatever way. */
  readonly ended: number;
}

/** Requests share a model: they join and leave at any token. */
export interface Scheduler {
  /** The longest text, prompt and new tokens together: the model's context, or what all pages hold if that is less. */
  readonly contextLength: number;
  /**
   * Begins a request, in its turn: first come, first served.
   * @throws LlamaError prompt-empty, prompt-too-long, bad-option; queue-full; closed
   */
  submit(request: TextRequest): Submission;
  readonly state: SchedulerState;
  /** Takes no more requests, and settles when those there are have ended. */
  drain(): Promise<void>;
  /** Cancels all, waits for the device, gives its memory back. */
  close(): Promise<void>;
}

/** How a scheduler is opened. */
export interface SchedulerOptions {
  /** Sequences that are given tokens at once; 16 by default, at most `mostSequences`. */
  readonly sequences?: number | undefined;
  /** Requests that may wait; 1024 by default. */
  readonly queue?: number | undefined;
  /** Bytes for keys and values; by default what all sequences at full length want, at most a share of the device's. */
  readonly memory?: number | undefined;
  /** The longest text; the model's context by default. */
  readonly contextLength?: number | undefined;
  /**
   * Make the programs for all numbers of texts before it opens, which takes seconds, and take for each number the one
   * that is found to be fastest; else each is made when it is first wanted, while all wait.
   */
  readonly prepared?: boolean | undefined;
}

/** The most sequences that are given tokens at once. */
export const mostSequences = 64;

/**
 * Opens a scheduler over a session, which stays the caller's and may serve nothing else meanwhile; all memory that it
 * will take is taken here.
 * @throws LlamaError bad-option, context-too-large; DeviceError
 */
export type OpenScheduler = (session: Session, options?: SchedulerOptions) => Promise<Scheduler>;
