/** Requests that share a model: each gets what it would get alone, whoever else is there, comes and goes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LlamaError } from "../../../runtime/llama/error.js";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { tokenLosses } from "../../../runtime/llama/inference/evaluate.js";
import { pageBytes } from "../../../runtime/llama/inference/pages.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import type { Scheduler, Submission, TextRequest, TextToken } from "../../../runtime/llama/serving/requests.js";
import { openScheduler } from "../../../runtime/llama/serving/scheduler.js";
import { withArena } from "../../../runtime/run/arena.js";
import type { Bound } from "../../../runtime/run/run.js";
import { openMachine } from "../machine.js";
import { tinyConfig, tinyModel } from "../tiny.js";

const test = suite("scheduler");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-scheduler-"));
const model = await tinyModel(join(folder, "model"));
const session = await openSession(caller, model, { dtype: "f32" });
const held = caller.executor.memory.live;

test.after.each(() => assert.is(caller.executor.memory.live, held, "all memory is given back"));
test.after(async () => {
  session.release();
  await model.close();
  await rm(folder, { recursive: true });
  close();
});

/** A prompt of so many tokens. */
const promptOf = (length: number, seed = 1): readonly number[] =>
  Array.from({ length }, (_, at) => (at * 7 * seed + seed * seed) % tinyConfig.vocab_size);

const request = (prompt: readonly number[], options: Partial<TextRequest> = {}): TextRequest => ({
  prompt,
  maxNewTokens: 6,
  stopTokens: [],
  sampling: { temperature: 0 },
  ...options,
});

/** What a request gives alone. */
async function alone({ prompt, maxNewTokens, stopTokens, sampling }: TextRequest): Promise<readonly number[]> {
  return (await generate(session, prompt, { maxNewTokens, eosTokens: stopTokens, ...sampling })).ids;
}

async function read({ tokens }: Submission): Promise<readonly TextToken[]> {
  const found: TextToken[] = [];
  for await (const token of tokens) found.push(token);
  return found;
}

const idsOf = async (submission: Submission): Promise<readonly number[]> =>
  (await read(submission)).map(({ id }) => id);

async function withScheduler(
  options: Parameters<typeof openScheduler>[1],
  work: (scheduler: Scheduler) => Promise<void>,
): Promise<void> {
  const scheduler = await openScheduler(session, options);
  try {
    await work(scheduler);
  } finally {
    await scheduler.close();
  }
}

test("among others of other lengths a request gets the tokens that it gets alone", async () => {
  const requests = [3, 17, 1, 40, 16, 33, 9].map((length, at) =>
    request(promptOf(length, at + 1), {
      maxNewTokens: 3 + at,
      sampling: at % 3 === 2 ? { temperature: 1, seed: at, topK: 20, topP: 0.9 } : { temperature: 0 },
    }),
  );
  const expected: (readonly number[])[] = [];
  for (const each of requests) expected.push(await alone(each));
  // four at once: the others join as these leave
  await withScheduler({ sequences: 4, prepared: true }, async (scheduler) => {
    assert.equal(await Promise.all(requests.map((each) => idsOf(scheduler.submit(each)))), expected);
    const { running, waiting, ended, newTokens, pages } = scheduler.state;
    assert.equal([running, waiting, ended, pages.used], [0, 0, 7, 0]);
    assert.is(newTokens, expected.flat().length);
  });
});

test("whatever tokens are chosen by, a request among others gets what it gets alone", async () => {
  const seeds = { temperature: 1, seed: 5 };
  const how: readonly TextRequest["sampling"][] = [
    { ...seeds, minP: 0.3 },
    { temperature: 0, repetitionPenalty: 1.5, presencePenalty: 0.5, frequencyPenalty: 0.25 },
    { temperature: 0 },
    { ...seeds, topK: 3, repetitionPenalty: 0.7 },
    { temperature: 0, logitBias: new Map([[7, 100]]) },
    seeds,
    { ...seeds, topP: 0.5, frequencyPenalty: -2 },
  ];
  const requests = how.map((sampling, at) => request(promptOf(5 + at, at + 1), { sampling, maxNewTokens: 8 }));
  const expected: (readonly number[])[] = [];
  for (const each of requests) expected.push(await alone(each));
  assert.equal(expected[4], new Array(8).fill(7));
  // three at once: places are used again by others, which are weighed otherwise or not at all
  await withScheduler({ sequences: 3 }, async (scheduler) => {
    for (const order of [requests, [...requests].reverse()]) {
      const found = await Promise.all(order.map((each) => idsOf(scheduler.submit(each))));
      assert.equal(
        found,
        order.map((each) => expected[requests.indexOf(each)]),
      );
    }
  });
});

test("a long prompt goes through the model in pieces, beside those that run", async () => {
  const config = { ...session.config, contextLength: 300 };
  const long: Session = { ...session, config };
  const requests = [200, 3, 130, 65, 64].map((length, at) => request(promptOf(length, at + 1), { maxNewTokens: 12 }));
  const expected: (readonly number[])[] = [];
  for (const { prompt, maxNewTokens } of requests)
    expected.push((await generate(long, prompt, { maxNewTokens, eosTokens: [], temperature: 0 })).ids);
  const scheduler = await openScheduler(long, { sequences: 4 });
  const first = requests.map((each) => idsOf(scheduler.submit(each)));
  assert.equal(await Promise.all(first), expected);
  assert.is(scheduler.state.computedPromptTokens, 200 + 3 + 130 + 65 + 64);
  // what was computed in pieces is there for those who begin alike
  const again = scheduler.submit(requests[0]!);
  assert.equal([await idsOf(again), (await again.end).sharedTokens], [expected[0], 192]);
  await scheduler.close();
});

test("the next pass is recorded before a token is known, and a token takes nothing new of the device", async () => {
  let replays = 0;
  const { executor } = caller;
  const replay = (bound: Bound): void => {
    replays++;
    executor.replay(bound);
  };
  const watched: Session = { ...session, caller: { ...caller, executor: { ...executor, replay } } };
  const { gpu } = executor.device;
  const group = gpu.createBindGroup.bind(gpu);
  let groups = 0;
  const scheduler = await openScheduler(watched, { sequences: 2 });
  const most = 40;
  const counts: { readonly passes: number; readonly groups: number; readonly live: number }[] = [];
  gpu.createBindGroup = (descriptor) => (groups++, group(descriptor));
  try {
    // three programs a pass: the blocks, the head, the choice
    for await (const _ of scheduler.submit(request(promptOf(3), { maxNewTokens: most })).tokens)
      counts.push({ passes: replays / 3, groups, live: executor.memory.live });
  } finally {
    gpu.createBindGroup = group;
    await scheduler.close();
  }
  assert.is(counts.length, most);
  counts.forEach(({ passes }, at) => assert.ok(passes >= Math.min(at + 2, most), `token ${at}: ${passes} passes`));
  assert.equal([counts[most - 1]!.groups, counts[most - 1]!.live], [counts[3]!.groups, counts[3]!.live]);
});

test("texts that begin alike are computed once, and later ones find what earlier ones left", async () => {
  const begin = promptOf(36);
  const others = [1, 2, 3].map((last) => request([...begin, last, 5]));
  const expected: (readonly number[])[] = [];
  for (const each of others) expected.push(await alone(each));
  await withScheduler({ sequences: 4 }, async (scheduler) => {
    const submissions = others.map((each) => scheduler.submit(each));
    assert.equal(await Promise.all(submissions.map(idsOf)), expected);
    // two pages of 16 tokens are whole before the 36th
    const ends = await Promise.all(submissions.map(({ end }) => end));
    assert.equal(
      ends.map(({ sharedTokens }) => sharedTokens),
      [0, 32, 32],
    );
    assert.is(scheduler.state.computedPromptTokens, 38 + 6 + 6);
    // the answer of one is the beginning of the next: all but the last token's keys are there
    const more = request([...begin, 1, 5, ...expected[0]!, 9, 9, 9, 9, 9]);
    const next = scheduler.submit(more);
    const wanted = await alone(more);
    assert.equal([await idsOf(next), (await next.end).sharedTokens], [wanted, 32]);
    assert.is(scheduler.state.pages.used, 0);
    assert.ok(scheduler.state.pages.kept > 0);
  });
});

test("where pages are few requests wait their turn, and all are served", async () => {
  const pages = 4;
  const memory = pages * pageBytes(model.config, "f32").all;
  const requests = [1, 2, 3, 4, 5].map((seed) => request(promptOf(20, seed), { maxNewTokens: 12 }));
  const expected: (readonly number[])[] = [];
  for (const each of requests) expected.push(await alone(each));
  await withScheduler({ sequences: 4, memory }, async (scheduler) => {
    assert.equal([scheduler.state.pages.total, scheduler.contextLength], [pages, 64]);
    const order: number[] = [];
    const found = requests.map(async (each, at) => {
      const ids = await idsOf(scheduler.submit(each));
      order.push(at);
      return ids;
    });
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, scheduler.state.pages.used)), 0);
    assert.equal(await Promise.all(found), expected);
    clearInterval(watch);
    // two pages each: two at once, in the order in which they came
    assert.ok(most <= pages);
    assert.equal(order, [0, 1, 2, 3, 4]);
    assert.is(scheduler.state.pages.used, 0);
  });
});

test("a request that is cancelled, or whose reader leaves, frees its place at once, whatever it was at", async () => {
  await withScheduler({ sequences: 4 }, async (scheduler) => {
    const long = (seed: number): TextRequest => request(promptOf(5, seed), { maxNewTokens: 50 });
    const [first, second, third] = [scheduler.submit(long(1)), scheduler.submit(long(2)), scheduler.submit(long(3))];
    const others = request(promptOf(7, 4));
    const last = idsOf(scheduler.submit(others));
    third.cancel();
    assert.equal((await third.end).ended, "cancelled");
    let seen = 0;
    for await (const _ of first.tokens) if (++seen === 3) break;
    second.cancel();
    const ends = await Promise.all([first.end, second.end]);
    assert.equal(
      ends.map(({ ended }) => ended),
      ["cancelled", "cancelled"],
    );
    assert.is(ends[0]!.newTokens < 50, true);
    assert.equal(await last, await alone(others));
    await scheduler.drain();
    assert.equal([scheduler.state.pages.used, scheduler.state.ended], [0, 4]);
    assert.throws(() => scheduler.submit(others), /takes no more requests/);
  });
});

test("a text ends at a stop token and with the context; closing ends what runs", async () => {
  const whole = await alone(request(promptOf(3)));
  const stop = whole[2]!;
  const scheduler = await openScheduler(session, { sequences: 4 });
  const ended = scheduler.submit(request(promptOf(3), { stopTokens: [stop], logprobs: 1 }));
  assert.equal(await idsOf(ended), whole.slice(0, whole.indexOf(stop)));
  const end = await ended.end;
  assert.is(end.ended, "stop");
  // what it was given is told too, though it is not one of the tokens: it is the likeliest
  assert.is(end.stop?.id, stop);
  assert.is(end.stop?.logprob, end.stop?.top?.[0]?.logprob);
  const full = scheduler.submit(request(promptOf(60), { maxNewTokens: 1000 }));
  assert.equal(await idsOf(full), await alone(request(promptOf(60), { maxNewTokens: 4 })));
  assert.equal(await full.end, { ended: "length", promptTokens: 60, sharedTokens: 0, newTokens: 4, stop: null });
  const left = scheduler.submit(request(promptOf(4), { maxNewTokens: 60 }));
  await scheduler.close();
  assert.is((await left.end).ended, "cancelled");
});

test("log-probabilities of new tokens and of the prompt are those of the model", async () => {
  const prompt = promptOf(21);
  await withScheduler({ sequences: 4 }, async (scheduler) => {
    const submission = scheduler.submit(request(prompt, { maxNewTokens: 3, logprobs: 2, promptLogprobs: 1 }));
    const found = await read(submission);
    for (const { id, logprob, top } of found) {
      // the likeliest is taken, and comes first
      assert.equal([top!.length, top![0]!.id, top![0]!.logprob], [2, id, logprob!]);
      assert.ok(top![1]!.logprob <= logprob! && logprob! < 0);
    }
    const scores = await submission.prompt;
    assert.equal(
      scores.map(({ id }) => id),
      prompt,
    );
    assert.is(scores[0]!.logprob, null);
    const text = [...prompt, ...found.map(({ id }) => id)];
    const losses = await lossesOf(text);
    const told = [...scores.slice(1).map(({ logprob }) => logprob!), ...found.map(({ logprob }) => logprob!)];
    told.forEach((logprob, at) =>
      assert.ok(Math.abs(logprob + losses[at]!) < 1e-4, `${at}: ${logprob}, ${losses[at]}`),
    );
    const none = scheduler.submit(request(prompt, { maxNewTokens: 0, promptLogprobs: 0 }));
    assert.equal([(await idsOf(none)).length, (await none.prompt).length], [0, 21]);
  });
});

/** The losses of a text's tokens but the first, all at once. */
async function lossesOf(text: readonly number[]): Promise<Float64Array> {
  const { executor } = caller;
  return withArena(executor, async (arena) => {
    const cache = await session.allocateCache(1, 64);
    arena.defer(() => session.releaseCache(cache));
    const fill = async (values: readonly number[], shape: readonly number[]) =>
      arena.own(await executor.fill("i32", shape, values));
    const count = text.length - 1;
    const x = arena.own(await session.forward(await fill(text.slice(0, -1), [1, count]), await fill([0], [1]), cache));
    return tokenLosses(session, x, await fill(text.slice(1), [1, count]));
  });
}

test("what is not finite ends the text that it is in, and no other", async () => {
  const bad = 13;
  const broken = await tinyModel(join(folder, "broken"), (name, words) => {
    if (name === "model.embed_tokens.weight") words[bad * tinyConfig.hidden_size + 2] = 0x7fc0;
  });
  const other = await openSession(caller, broken, { dtype: "f32" });
  const prompts = [
    [3, 5, 7],
    [3, bad, 7],
    [9, 1],
  ];
  const scheduler = await openScheduler(other, { sequences: 4 });
  const outcomes = await Promise.allSettled(prompts.map((prompt) => idsOf(scheduler.submit(request(prompt)))));
  assert.equal(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const [, failed] = outcomes;
  assert.match(String(failed?.status === "rejected" && failed.reason), /NaN or infinite: the embedding/);
  assert.is(scheduler.state.pages.used, 0);
  await scheduler.close();
  other.release();
  await broken.close();
});

test("requests that cannot be served are refused by name", async () => {
  await withScheduler({ sequences: 4, queue: 1 }, async (scheduler) => {
    for (const [wrong, message] of [
      [request([]), "The prompt has no tokens."],
      [request([3, 64]), "Token 2 of the prompt should be a whole number from 0 to 63, found 64."],
      [
        request(promptOf(64)),
        "The prompt has 64 tokens, but a text may have 64, of which one is for the first new token.",
      ],
      [request([1], { maxNewTokens: -1 }), `maxNewTokens should be a whole number from 0 to ${2 ** 53 - 1}, found -1.`],
      [request([1], { logprobs: 21 }), "logprobs should be a whole number from 0 to 20, found 21."],
      [request([1], { sampling: { temperature: NaN } }), "temperature should be 0 or more, found NaN."],
    ] as const)
      assert.throws(
        () => scheduler.submit(wrong),
        (error: unknown) => error instanceof LlamaError && error.message === message,
      );
    scheduler.submit(request([1]));
    assert.throws(() => scheduler.submit(request([1])), /^1 request waits already, as many as may/);
  });
  for (const [options, message] of [
    [{ sequences: 65 }, /^LlamaError: sequences should be a whole number from 1 to 64, found 65/],
    [{ memory: 100 }, /^LlamaError: A page of 16 tokens takes/],
  ] as const)
    assert.match(String(await openScheduler(session, options).catch((error: unknown) => error)), message);
});

test("a lost device ends all requests, and says so", async () => {
  const machine = await openMachine();
  const own = await openSession(machine.caller, model, { dtype: "f32" });
  const scheduler = await openScheduler(own, { sequences: 1 });
  const [runs, waits] = [1, 2].map((seed) => scheduler.submit(request(promptOf(4, seed), { maxNewTokens: 60 })));
  let seen = 0;
  const error = await (async () => {
    for await (const _ of runs!.tokens) if (++seen === 2) machine.caller.executor.device.gpu.destroy();
  })().catch((thrown: unknown) => thrown);
  assert.match(String(error), /^DeviceError: .*lost/);
  assert.is(await waits!.end.catch((thrown: unknown) => thrown), error);
  assert.throws(() => scheduler.submit(request([1])), /lost/);
  await scheduler.close();
  machine.close();
});

test.run();
