/** A request on its way through a scheduler. */
import { LlamaError } from "../error.js";
import type { Lease } from "./page-account.js";
import type { PromptToken, Submission, TextEnd, TextRequest, TextToken } from "./requests.js";
import type { Piece } from "./rows.js";
import { createStream } from "./stream.js";

export interface Entry {
  readonly request: TextRequest;
  readonly submission: Submission;
  readonly prompt: Int32Array;
  /** New tokens at most. */
  readonly limit: number;
  /** Whether its tokens are drawn. */
  readonly samples: boolean;
  /** New tokens that were given. */
  readonly ids: readonly number[];
  /** Of the prompt, so far. */
  readonly scores: PromptToken[];
  readonly isOver: boolean;
  /** Tokens that the device has been asked for. */
  asked: number;
  /** It has its pages, and its turn. */
  begin(lease: Lease, pieces: readonly Piece[]): void;
  /** The next piece of its prompt. */
  next(): { readonly piece: Piece; readonly lease: Lease; readonly prompt: Int32Array; readonly request: TextRequest };
  /** All of the prompt has gone through the model. */
  promptDone(): void;
  give(token: TextToken): void;
  /** Gives its pages back and tells how it ended; only the first counts. */
  finish(how: { readonly ended: TextEnd["ended"] } | { readonly error: unknown }): void;
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
  let pieces: readonly Piece[] = [];
  let done = 0;
  let isOver = false;

  const entry: Entry = {
    request,
    prompt,
    limit,
    samples: request.sampling.temperature > 0,
    ids,
    scores,
    asked: 0,
    get isOver() {
      return isOver;
    },
    submission: { tokens: stream.values, prompt: scored.promise, end: end.promise, cancel: () => onCancel(entry) },
    begin(own, all) {
      lease = own;
      pieces = all;
    },
    next() {
      const piece = pieces[done++];
      if (piece === undefined || lease === null) throw new Error("a request was continued that has no pages");
      return { piece, lease, prompt, request };
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
      lease?.release();
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
      });
    },
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
