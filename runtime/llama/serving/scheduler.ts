/**
 * Continuous batching: requests join and leave at any token. A pass of the model takes one token of each text that runs
 * and, beside them, a bounded number of tokens of prompts, first come, first served. A pass is recorded before the tokens
 * of the one before are read, so that the device does not wait: what it computes for a text that has come to its end
 * is dropped.
 */
import { counted } from "../../../compiler/words.js";
import { building } from "../../run/arena.js";
import { mayBeLeft } from "../../run/outcomes.js";
import { LlamaError } from "../error.js";
import { checkSampling } from "../inference/choice.js";
import { notFinite } from "../inference/not-finite.js";
import { allocatePages, pageTokens, releasePages } from "../inference/pages.js";
import type { Session } from "../inference/session.js";
import { createEntry, type Entry } from "./entry.js";
import { createPageAccount } from "./page-account.js";
import { scorePrompt, type Scored } from "./prompt-scores.js";
import {
  mostTop,
  type OpenScheduler,
  type Scheduler,
  type SchedulerOptions,
  type Submission,
  type TextRequest,
} from "./requests.js";
import { roomFor } from "./room.js";
import { openRows, powerFor, type RowToken, type Step } from "./rows.js";
import { scoreToken } from "./scores.js";

/** Tokens that a pass has at most: of texts that run, and of prompts beside them. */
const tokensOfPass = { gpu: 256, cpu: 64 } as const;

/** What has been recorded and not been read: whose tokens these are, by their rows, and what they are. */
interface Reading {
  readonly entries: readonly (Entry | null)[];
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
    const piece = tokensOfPass[target.kind];
    const widest = Math.max(piece, 2 * room.rows);
    const pool = await allocatePages(session, room.pages);
    arena.defer(() => releasePages(session, pool));
    // beyond the last token stands the step that nobody asked for
    const pages = Math.ceil((contextLength + 1) / pageTokens);
    const rows = await openRows(arena, session, pool, { sequences: room.rows, widest, pages, piece });
    if (options.prepared === true) await rows.prepareAll();
    else await rows.prepare(1, 1);
    const account = createPageAccount(room.pages, pageTokens);

    const waiting: Entry[] = [];
    /** By their rows. */
    const running: (Entry | null)[] = [];
    const places = Array.from({ length: sequences }, (_, at) => sequences - 1 - at);
    let filling: Entry | null = null;
    let isRecording = false;
    /** Those that have come to their end while a pass was recorded. */
    const ended: Entry[] = [];
    let isOpen = true;
    let stops = false;
    let failure: { readonly error: unknown } | null = null;
    const told = { promptTokens: 0, computedPromptTokens: 0, newTokens: 0, ended: 0 };
    let wake = (): void => {};
    const idle: (() => void)[] = [];

    const runs = (): readonly Entry[] => running.filter((entry) => entry !== null);

    function finish(entry: Entry, how: Parameters<Entry["finish"]>[0]): void {
      if (entry.isOver) return;
      entry.finish(how);
      // others must not get pages that a pass under way still writes to
      if (isRecording) ended.push(entry);
      else entry.release();
      told.ended++;
      if (runs().length === 0 && waiting.length === 0 && filling === null) wake();
    }

    /** Takes a request out of its row, whose place is free then. */
    function leave(entry: Entry): void {
      const row = running.indexOf(entry);
      if (row < 0) return;
      running[row] = null;
      rows.clear(row);
      places.push(entry.place);
      while (running.length > 0 && running.at(-1) === null) running.pop();
    }

    /** Fills rows that were left where fewer make a smaller pass. */
    async function closeUp(): Promise<void> {
      const count = runs().length;
      while (count > 0 && powerFor(running.length) > powerFor(count)) {
        const [from, to] = [running.length - 1, running.indexOf(null)];
        await rows.move(from, to);
        running[to] = running[from]!;
        running[from] = null;
        while (running.at(-1) === null) running.pop();
      }
    }

    async function admit(): Promise<Entry | null> {
      const [next] = waiting;
      if (next === undefined || places.length === 0) return null;
      const { prompt, limit, request } = next;
      const lease = account.lease(prompt, prompt.length + limit, request.promptLogprobs === undefined);
      if (lease === null) return null;
      waiting.shift();
      const place = places.pop()!;
      next.begin(place, lease);
      await rows.open(place, lease.pages, prompt, request.sampling);
      told.promptTokens += prompt.length;
      return next;
    }

    /** Gives a request whose prompt is done, but for its last token, a row. */
    function seat(entry: Entry): void {
      const { prompt, place } = entry;
      const left = running.indexOf(null);
      const row = left < 0 ? running.length : left;
      running[row] = entry;
      const last = prompt.length - 1;
      rows.seat(row, { id: prompt[last]!, position: last, place });
      entry.advance(1);
      told.computedPromptTokens++;
    }

    /** What a pass has of prompts. */
    interface Filled {
      /** Whether a piece went through the model by itself. */
      readonly hasPiece: boolean;
      readonly tokens: RowToken[];
      /** Those whose scores are asked for; rows are counted from the first token on. */
      readonly scored: { readonly entry: Entry; readonly part: Scored }[];
      /** Those whose prompts are done. */
      readonly done: Entry[];
    }

    /** Takes tokens of prompts, as many as a pass has; a long one goes through the model in pieces of its own. */
    async function fill(): Promise<Filled> {
      const found: Filled = { hasPiece: false, tokens: [], scored: [], done: [] };
      for (let left = widest - room.rows; ; ) {
        filling ??= await admit();
        if (filling === null) return found;
        const entry = filling;
        const { prompt, rest, done: from, place, request } = entry;
        if (rest >= piece) {
          // what others fill in this pass may be the beginning of this one
          if (found.tokens.length > 0 || found.done.length > 0) return found;
          const x = await rows.prefill(prompt, from, place);
          entry.advance(piece);
          told.computedPromptTokens += piece;
          await score(entry, { ...x, shape: [piece, 1, config.hiddenSize] }, { from, count: piece, row: 0 });
          return { ...found, hasPiece: true };
        }
        const count = Math.min(rest, left);
        if (count > 0 && request.promptLogprobs !== undefined)
          found.scored.push({ entry, part: { from, count, row: found.tokens.length } });
        for (let at = from; at < from + count; at++) found.tokens.push({ id: prompt[at]!, position: at, place });
        entry.advance(count);
        told.computedPromptTokens += count;
        left -= count;
        if (count < rest) return found;
        filling = null;
        found.done.push(entry);
        if (entry.limit > 0) seat(entry);
      }
    }

    async function score(entry: Entry, x: Step["x"], part: Scored): Promise<void> {
      const { prompt, request, scores } = entry;
      if (request.promptLogprobs === undefined) return;
      scores.push(...(await scorePrompt(session, x, prompt, part, request.promptLogprobs)));
    }

    /** Records a pass: a token more of all that run, and tokens of prompts. Null where there is nothing to do. */
    async function record(): Promise<Reading | null> {
      const { hasPiece, tokens, scored, done } = await fill();
      await closeUp();
      const entries = [...running];
      const there = runs();
      const count = entries.length;
      const kind = {
        draws: there.some((entry) => entry.kind.draws),
        weighs: there.some((entry) => entry.kind.weighs),
      };
      const step = await rows.step(count, kind, tokens);
      const reading = step === null ? null : readingOf(step, entries);
      for (const { entry, part } of scored) await score(entry, step!.x, { ...part, row: count + part.row });
      for (const entry of done) {
        if (entry.request.promptLogprobs !== undefined && entry.scores.length === 0)
          entry.scores.push({ id: entry.prompt[0]!, logprob: null, top: [] });
        entry.promptDone();
        if (entry.limit > 0) continue;
        finish(entry, { ended: "length" });
        places.push(entry.place);
      }
      for (const entry of there) if (++entry.asked === entry.limit) leave(entry);
      // of a piece by itself nothing is read: it is waited for
      return (
        reading ?? (hasPiece ? { entries: [], logits: [], ids: mayBeLeft(executor.finish().then(() => [])) } : null)
      );
    }

    function readingOf({ logits, ids }: Step, entries: readonly (Entry | null)[]): Reading {
      const bytes = 4 * config.vocabSize;
      return {
        entries,
        logits: entries.map((entry, at) =>
          entry === null || entry.request.logprobs === undefined
            ? null
            : executor.values({ ...logits, shape: [config.vocabSize], offset: logits.offset + at * bytes, bytes }),
        ),
        ids: executor.values(ids),
      };
    }

    async function deliver({ entries, ids, logits }: Reading): Promise<void> {
      const found = await ids;
      for (const [at, entry] of entries.entries()) {
        if (entry === null) continue;
        const scores = await logits[at];
        if (entry.isOver) continue;
        const id = found[at] ?? -1;
        if (id < 0) {
          const after = counted(entry.ids.length, "new token");
          const what = entry.ids.length === 0 ? "a prompt" : `a text after ${after}`;
          finish(entry, { error: await notFinite(session, what) });
          continue;
        }
        const top = entry.request.logprobs ?? 0;
        const token = { id, ...(scores == null ? {} : scoreToken(scores, 0, config.vocabSize, id, top)) };
        if (entry.request.stopTokens.includes(id)) finish(entry, { ended: "stop", stop: token });
        else {
          entry.give(token);
          told.newTokens++;
          if (entry.ids.length === entry.limit) finish(entry, { ended: "length" });
        }
      }
    }

    /** Those that are over leave. */
    function withdraw(): void {
      for (let at = waiting.length - 1; at >= 0; at--) if (waiting[at]!.isOver) waiting.splice(at, 1);
      if (filling?.isOver === true) {
        places.push(filling.place);
        filling = null;
      }
      for (const entry of runs()) if (entry.isOver) leave(entry);
    }

    /** Requests that come together begin together: whoever begins before waits for what the others cost the host. */
    async function gather(): Promise<void> {
      for (let there = 0; there < waiting.length && waiting.length < sequences; ) {
        there = waiting.length;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }

    async function work(): Promise<void> {
      let reading: Reading | null = null;
      for (;;) {
        withdraw();
        isRecording = true;
        const recorded = await record().finally(() => {
          isRecording = false;
          for (const entry of ended.splice(0)) entry.release();
        });
        if (reading !== null) await deliver(reading);
        await rows.settle();
        reading = recorded;
        if (reading !== null) continue;
        withdraw();
        if (waiting.length > 0 || filling !== null) continue;
        for (const settle of idle.splice(0)) settle();
        if (stops) return;
        await new Promise<void>((resolve) => (wake = resolve));
        wake = () => {};
        await gather();
      }
    }

    function failAll(error: unknown): void {
      failure = { error };
      for (const entry of [...runs(), ...waiting.splice(0), ...(filling === null ? [] : [filling])])
        finish(entry, { error });
      running.length = 0;
      filling = null;
      for (const settle of idle.splice(0)) settle();
    }

    const working = work().catch(failAll);

    function submit(request: TextRequest): Submission {
      if (failure !== null) throw failure.error;
      if (!isOpen) throw new LlamaError("closed", "The scheduler takes no more requests: it is being closed.");
      const limit = checkRequest(request, contextLength, config);
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
          running: runs().length + (filling === null ? 0 : 1),
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
        for (const entry of [...runs(), ...waiting, ...(filling === null ? [] : [filling])])
          finish(entry, { ended: "cancelled" });
        wake();
        await working;
        if (failure === null) await executor.finish();
        arena.close();
      },
    };
  });
};

/** Checks a request; gives how many new tokens there may be. */
function checkRequest(request: TextRequest, contextLength: number, config: Session["config"]): number {
  const vocabulary = config.vocabSize;
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
  checkSampling(config, sampling);
  if (prompt.length + Math.min(1, maxNewTokens) > contextLength)
    throw new LlamaError(
      "prompt-too-long",
      `The prompt has ${counted(prompt.length, "token")}, but a text may have ${contextLength}${maxNewTokens > 0 ? ", of which one is for the first new token" : ""}.`,
    );
  return Math.min(maxNewTokens, contextLength - prompt.length);
}
