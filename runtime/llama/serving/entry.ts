/** A request on its way through a scheduler. */
import { LlamaError } from "../error.js";
import type { Lease } from "./page-account.js";
import type { PromptToken, Submission, TextEnd, TextRequest, TextToken } from "./requests.js";
import { kindOf, type ChoiceKind } from "../inference/choice.js";
import { createStream } from "./stream.js";

export interface Entry {
  readonly request: TextRequest;
  readonly submission: Submission;
  readonly prompt: Int32Array;
  /** New tokens at most. */
  readonly limit: number;
  readonly kind: ChoiceKind;
  /** New tokens that were given. */
  readonly ids: readonly number[];
  /** Of the prompt, so far. */
  readonly scores: PromptToken[];
  readonly isOver: boolean;
  /** Tokens that the device has been asked for. */
  asked: number;
  /** Where its pages are, from its turn on. */
  readonly place: number;
  /** Tokens of the prompt that have gone through the model, or lie in pages that others have filled. */
  readonly done: number;
  /** Those that have not, but for the last, which goes through it as the tokens after it do. */
  readonly rest: number;
  /** It has its place, its pages, and its turn. */
  begin(place: number, lease: Lease): void;
  /** So many tokens more of the prompt go through the model. */
  advance(tokens: number): void;
  /** All of the prompt has gone through the model. */
  promptDone(): void;
  give(token: TextToken): void;
  /** Tells how it ended; only the first counts. */
  finish(how: { readonly ended: TextEnd["ended"]; readonly stop?: TextToken } | { readonly error: unknown }): void;
  /** Gives its pages back. */
  release(): void;
}

/** Makes one that waits; `onCancel` hears when its reader wants no more. */
export function createEntry(request: TextRequest, limit: number, onCancel: (entry: Entry) => void): Entry {
  const prompt = Int32Array.from(request.prompt);
  const ids: number[] = [];
  const scores: PromptToken[] = [];
  const stream = createStream<TextToken>(() => onCancel(entry));
  const end = deferred<TextEnd>();
  const scored = deferred<readonly PromptToken[]>();
  let lease: Lease | null = null;
  let place = -1;
  let done = 0;
  let isOver = false;

  const entry: Entry = {
    request,
    prompt,
    limit,
    kind: kindOf(request.sampling),
    ids,
    scores,
    asked: 0,
    get isOver() {
      return isOver;
    },
    submission: { tokens: stream.values, prompt: scored.promise, end: end.promise, cancel: () => onCancel(entry) },
    get place() {
      return place;
    },
    get done() {
      return done;
    },
    get rest() {
      return Math.max(0, prompt.length - 1 - done);
    },
    begin(at, own) {
      place = at;
      lease = own;
      done = own.shared;
    },
    advance(tokens) {
      done += tokens;
      // what lies in whole pages others may share, in the very pass in which it goes through the model
      lease?.publish(prompt.subarray(0, done));
    },
    promptDone: () => scored.resolve(scores),
    give(token) {
      ids.push(token.id);
      stream.push(token);
    },
    finish(how) {
      if (isOver) return;
      isOver = true;
      // the keys of the last token asked for are those of no step yet
      if (lease !== null && entry.asked > 0)
        lease.publish([...prompt, ...ids.slice(0, Math.min(ids.length, entry.asked - 1))]);
      if ("error" in how) {
        stream.fail(how.error);
        scored.reject(how.error);
        end.reject(how.error);
        return;
      }
      stream.end();
      scored.reject(new LlamaError("closed", "The request was cancelled before its prompt was computed."));
      end.resolve({
        ended: how.ended,
        promptTokens: prompt.length,
        sharedTokens: lease?.shared ?? 0,
        newTokens: ids.length,
        stop: how.stop ?? null,
      });
    },
    release: () => lease?.release(),
  };
  return entry;
}

/** A promise that may be left alone, whatever comes of it. */
function deferred<T>(): {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
