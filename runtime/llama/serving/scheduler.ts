/**
 * Continuous batching: requests join and leave at any token. Those that run are continued together, a token each a step;
 * a prompt goes through the model in pieces between steps. What the device chose is read while it computes the next.
 */
import { counted } from "../../../compiler/words.js";
import { building } from "../../run/arena.js";
import { LlamaError } from "../error.js";
import { checkSampling, chunksOf } from "../inference/generate.js";
import { notFinite } from "../inference/not-finite.js";
import { allocatePages, pageTokens, releasePages } from "../inference/pages.js";
import type { Session } from "../inference/session.js";
import { createEntry, type Entry } from "./entry.js";
import { createPageAccount } from "./page-account.js";
import { scorePrompt } from "./prompt-scores.js";
import {
  mostTop,
  type OpenScheduler,
  type Scheduler,
  type SchedulerOptions,
  type Submission,
  type TextRequest,
} from "./requests.js";
import { roomFor } from "./room.js";
import { openRows, type Step } from "./rows.js";
import { scoreToken } from "./scores.js";

/** Tokens of prompts that go through the model between two steps. */
const tokensBetween = { gpu: 256, cpu: 64 } as const;

/** The smallest piece of a prompt. */
const leastPiece = 16;

/** What has been recorded and not been read: whose tokens these are, and what they are. */
interface Reading {
  readonly entries: readonly Entry[];
  readonly ids: Promise<ArrayLike<number>>;
  /** Of those that want scores. */
  readonly logits: readonly (Promise<ArrayLike<number>> | null)[];
}

/** Opens a scheduler over a session; see `OpenScheduler`. */
export const openScheduler: OpenScheduler = (session: Session, options: SchedulerOptions = {}): Promise<Scheduler> => {
  const { caller, config } = session;
  const { executor, target } = caller;
  return building(executor, async (arena) => {
    const room = roomFor(session, options);
    const { sequences, queue, contextLength } = room;
    const most = Math.max(leastPiece, Math.min(tokensBetween[target.kind], contextLength));
    const pool = await allocatePages(session, room.pages);
    arena.defer(() => releasePages(session, pool));
    // beyond the last token stands what a prompt is padded with, and the step that nobody asked for
    const places = Math.ceil((contextLength + 2 * most) / pageTokens);
    const rows = await openRows(arena, session, pool, { rows: room.rows, pages: places });
    await rows.prepare(1, Math.min(most, 64));
    const account = createPageAccount(room.pages, pageTokens);

    const waiting: Entry[] = [];
    const running: Entry[] = [];
    let filling: Entry | null = null;
    let isOpen = true;
    let stops = false;
    let failure: { readonly error: unknown } | null = null;
    const told = { promptTokens: 0, computedPromptTokens: 0, newTokens: 0, ended: 0 };
    let wake = (): void => {};
    const idle: (() => void)[] = [];

    function finish(entry: Entry, how: Parameters<Entry["finish"]>[0]): void {
      if (entry.isOver) return;
      entry.finish(how);
      told.ended++;
      if (running.length === 0 && waiting.length === 0 && filling === null) wake();
    }

    /** Takes a request out of its row; the last row's sequence comes to stand there. */
    async function leave(entry: Entry): Promise<void> {
      const at = running.indexOf(entry);
      if (at < 0) return;
      const last = running.length - 1;
      if (at < last) {
        await rows.move(last, at);
        running[at] = running[last]!;
      }
      running.pop();
      await rows.clear(last);
    }

    function admit(): Entry | null {
      if (running.length >= sequences) return null;
      const [next] = waiting;
      if (next === undefined) return null;
      const { prompt, limit, request } = next;
      const lease = account.lease(prompt, prompt.length + limit, request.promptLogprobs === undefined);
      if (lease === null) return null;
      waiting.shift();
      next.begin(lease, piecesOf(prompt.length, lease.shared, most));
      told.promptTokens += prompt.length;
      return next;
    }

    function readingOf(step: Step, entries: readonly Entry[]): Reading {
      const { logits } = step;
      const bytes = 4 * config.vocabSize;
      return {
        entries,
        logits: entries.map(({ request }, at) =>
          request.logprobs === undefined
            ? null
            : executor.values({ ...logits, shape: [config.vocabSize], offset: logits.offset + at * bytes, bytes }),
        ),
        ids: executor.values(step.ids),
      };
    }

    /** Puts a piece of a prompt through the model; with the last its first token is chosen. */
    async function fill(entry: Entry): Promise<{ readonly tokens: number; readonly reading: Reading | null }> {
      const { piece, lease, prompt, request } = entry.next();
      const x = await rows.prefill(prompt, piece, lease.pages);
      told.computedPromptTokens += piece.count;
      const done = piece.from + piece.count;
      if (request.promptLogprobs !== undefined)
        entry.scores.push(...(await scorePrompt(session, x, prompt, piece, request.promptLogprobs)));
      lease.publish(prompt.subarray(0, done));
      if (done < prompt.length) return { tokens: piece.padded, reading: null };
      filling = null;
      entry.promptDone();
      if (entry.limit === 0) {
        finish(entry, { ended: "length" });
        return { tokens: piece.padded, reading: null };
      }
      const step = await rows.seat(running.length, done - 1, lease.pages, request.sampling);
      running.push(entry);
      const reading = readingOf(step, [entry]);
      entry.asked++;
      if (entry.asked === entry.limit) await leave(entry);
      return { tokens: piece.padded, reading };
    }

    async function step(): Promise<Reading> {
      const entries = [...running];
      const recorded = await rows.step(
        entries.length,
        entries.some(({ samples }) => samples),
      );
      const reading = readingOf(recorded, entries);
      for (const entry of entries) if (++entry.asked === entry.limit) await leave(entry);
      return reading;
    }

    async function deliver({ entries, ids, logits }: Reading): Promise<void> {
      const found = await ids;
      for (const [at, entry] of entries.entries()) {
        const scores = await logits[at];
        if (entry.isOver) continue;
        const id = found[at] ?? -1;
        if (id < 0) {
          const after = counted(entry.ids.length, "new token");
          const what = entry.ids.length === 0 ? "a prompt" : `a text after ${after}`;
          finish(entry, { error: await notFinite(session, what) });
        } else if (entry.request.stopTokens.includes(id)) finish(entry, { ended: "stop" });
        else {
          const top = entry.request.logprobs ?? 0;
          entry.give({ id, ...(scores == null ? {} : scoreToken(scores, 0, config.vocabSize, id, top)) });
          told.newTokens++;
          if (entry.ids.length === entry.limit) finish(entry, { ended: "length" });
        }
        if (entry.isOver) await leave(entry);
      }
    }

    function withdrawn(): void {
      for (let at = waiting.length - 1; at >= 0; at--) if (waiting[at]!.isOver) waiting.splice(at, 1);
      if (filling?.isOver === true) filling = null;
    }

    async function work(): Promise<void> {
      let readings: readonly Reading[] = [];
      for (;;) {
        withdrawn();
        for (const entry of running.filter(({ isOver }) => isOver)) await leave(entry);
        const recorded: Reading[] = [];
        for (let left: number = most; left > 0; ) {
          filling ??= admit();
          if (filling === null) break;
          const { tokens, reading } = await fill(filling);
          left -= tokens;
          if (reading !== null) recorded.push(reading);
        }
        if (running.length > 0) recorded.push(await step());
        executor.flush();
        for (const reading of readings) await deliver(reading);
        // a prompt of many pieces leaves nothing to wait for
        if (readings.length === 0) await new Promise((resolve) => setTimeout(resolve, 0));
        readings = recorded;
        if (readings.length > 0 || running.length > 0 || filling !== null) continue;
        withdrawn();
        if (waiting.length > 0) continue;
        for (const settle of idle.splice(0)) settle();
        if (stops) return;
        await new Promise<void>((resolve) => (wake = resolve));
        wake = () => {};
      }
    }

    function failAll(error: unknown): void {
      failure = { error };
      for (const entry of [...running.splice(0), ...waiting.splice(0), ...(filling === null ? [] : [filling])])
        finish(entry, { error });
      filling = null;
      for (const settle of idle.splice(0)) settle();
    }

    const working = work().catch(failAll);

    function submit(request: TextRequest): Submission {
      if (failure !== null) throw failure.error;
      if (!isOpen) throw new LlamaError("closed", "The scheduler takes no more requests: it is being closed.");
      const limit = checkRequest(request, contextLength, config.vocabSize);
      if (waiting.length >= queue)
        throw new LlamaError(
          "queue-full",
          `${counted(queue, "request")} ${queue === 1 ? "waits" : "wait"} already, as many as may. Try again later.`,
        );
      const entry = createEntry(request, limit, (own) => {
        finish(own, { ended: "cancelled" });
        wake();
      });
      waiting.push(entry);
      wake();
      return entry.submission;
    }

    const settled = (): Promise<void> =>
      new Promise((resolve) => {
        if (failure !== null) return resolve();
        idle.push(resolve);
        wake();
      });

    return {
      contextLength,
      submit,
      get state() {
        return {
          running: running.length + (filling === null ? 0 : 1),
          waiting: waiting.length,
          sequences,
          queue,
          pages: { total: account.total, used: account.used, kept: account.kept, tokens: pageTokens },
          ...told,
        };
      },
      async drain() {
        isOpen = false;
        await settled();
      },
      async close() {
        isOpen = false;
        stops = true;
        for (const entry of [...running, ...waiting, ...(filling === null ? [] : [filling])])
          finish(entry, { ended: "cancelled" });
        wake();
        await working;
        if (failure === null) await executor.finish();
        arena.close();
      },
    };
  });
};

/** Pieces of a prompt whose first tokens are shared, none smaller than a program that is worth it. */
function piecesOf(length: number, shared: number, most: number): ReturnType<typeof chunksOf> {
  return chunksOf(length - shared, most).map(({ from, count, padded }) => ({
    from: shared + from,
    count,
    padded: Math.max(padded, leastPiece),
  }));
}

/** Checks a request; gives how many new tokens there may be. */
function checkRequest(request: TextRequest, contextLength: number, vocabulary: number): number {
  const { prompt, maxNewTokens, sampling } = request;
  if (prompt.length === 0) throw new LlamaError("prompt-empty", "The prompt has no tokens.");
  for (let at = 0; at < prompt.length; at++) {
    const id = prompt[at]!;
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
      throw new LlamaError(
        "bad-option",
        `Token ${at + 1} of the prompt should be a whole number from 0 to ${vocabulary - 1}, found ${id}.`,
      );
  }
  const whole = (name: string, value: number | undefined, most: number): void => {
    if (value !== undefined && !(Number.isInteger(value) && value >= 0 && value <= most))
      throw new LlamaError("bad-option", `${name} should be a whole number from 0 to ${most}, found ${value}.`);
  };
  whole("maxNewTokens", maxNewTokens, Number.MAX_SAFE_INTEGER);
  whole("logprobs", request.logprobs, mostTop);
  whole("promptLogprobs", request.promptLogprobs, mostTop);
  checkSampling(sampling);
  if (prompt.length + Math.min(1, maxNewTokens) > contextLength)
    throw new LlamaError(
      "prompt-too-long",
      `The prompt has ${counted(prompt.length, "token")}, but a text may have ${contextLength}${maxNewTokens > 0 ? ", of which one is for the first new token" : ""}.`,
    );
  return Math.min(maxNewTokens, contextLength - prompt.length);
}
