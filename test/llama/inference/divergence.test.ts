/** How far two models are apart, held against whole logits of one token at a time. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCaller } from "../../../runtime/llama/call.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { checkVocabularies, divergence } from "../../../runtime/llama/inference/divergence.js";
import { evenly, perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { openMachine } from "../machine.js";
import { tinyConfig, tinyModel } from "../tiny.js";

const test = suite("divergence");
const machine = await openMachine();
const { executor } = machine.caller;
const folder = await mkdtemp(join(tmpdir(), "espalier-divergence-"));
const one = await tinyModel(join(folder, "one"));
const other = await tinyModel(join(folder, "other"), (name, words) => {
  // the sign of some weights
  if (/o_proj|down_proj/.test(name)) words.forEach((word, at) => (words[at] = at % 3 === 0 ? word ^ 0x8000 : word));
});

test.after.each(() => assert.is(executor.memory.live, 0, "all memory is given back"));
test.after(async () => {
  await one.close();
  await other.close();
  await rm(folder, { recursive: true });
  machine.close();
});

const text = Array.from({ length: 50 }, (_, at) => (at * at * 7 + 3 * at) % tinyConfig.vocab_size);
const window = 16;
const options = { window, bos: 5 };

/** Log-probabilities of what follows each token of a window, by whole logits of one token at a time. */
async function byLogits(session: Session, ids: readonly number[]): Promise<readonly (readonly number[])[]> {
  const cache = await session.allocateCache(1, window);
  const rows: (readonly number[])[] = [];
  for (const [at, id] of ids.entries()) {
    const tensors = [
      await executor.fill("i32", [1, 1], [id]),
      await executor.fill("i32", [1], [at]),
      await executor.fill("i32", [1], [0]),
    ] as const;
    const x = await session.forward(tensors[0], tensors[1], cache);
    const logits = await session.logits(x, tensors[2]);
    const values = [...(await executor.values(logits))];
    const total = Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
    rows.push(values.map((value) => value - total));
    for (const tensor of [...tensors, x, logits]) executor.release(tensor);
  }
  session.releaseCache(cache);
  return rows;
}

const near = (value: number, wanted: number): void =>
  assert.ok(Math.abs(value - wanted) < 1e-5 * Math.max(1, Math.abs(wanted)), `${value}, ${wanted}`);

test("divergence, equal choices and perplexities, at once and in pieces", async () => {
  const models = [
    await openSession(machine.caller, one, { dtype: "f32", weights: "f32" }),
    await openSession(machine.caller, other, { dtype: "f32", weights: "f32" }),
  ] as const;
  const byWindow: number[] = [];
  let same = 0;
  for (let start = 0; start + window <= text.length; start += window) {
    const ids = [options.bos, ...text.slice(start, start + window - 1)];
    const [p, q] = [await byLogits(models[0], ids), await byLogits(models[1], ids)];
    const kl = p.map((row, at) => row.reduce((sum, value, v) => sum + Math.exp(value) * (value - q[at]![v]!), 0));
    byWindow.push(kl.reduce((sum, value) => sum + value, 0) / window);
    same += p.filter((row, at) => row.indexOf(Math.max(...row)) === q[at]!.indexOf(Math.max(...q[at]!))).length;
  }
  const seen: number[] = [];
  const found = await divergence(models, text, { ...options, onProgress: (...now) => seen.push(...now) });
  assert.equal([found.windows, found.tokens], [3, 48]);
  assert.ok(
    byWindow.every((value) => value > 1e-3),
    "the models differ",
  );
  found.byWindow.forEach((value, at) => near(value, byWindow[at]!));
  near(found.divergence, byWindow.reduce((sum, value) => sum + value, 0) / 3);
  assert.is(found.sameNext, same / 48);
  for (const at of [0, 1] as const)
    near(found.perplexities[at], (await perplexity(models[at], text, options)).perplexity);
  assert.equal(seen, [3, 3, found.divergence]);
  for (const session of models) session.release();

  // the head in parts, two windows and then one, and a token at a time
  const maxBinding = (4 * tinyConfig.vocab_size * tinyConfig.hidden_size) / 2;
  const caller = createCaller(executor, { ...machine.caller.target, maxBinding }, machine.caller.functions);
  const narrow = [
    await openSession(caller, one, { dtype: "f32", weights: "f32" }),
    await openSession(caller, other, { dtype: "f32", weights: "f32" }),
  ] as const;
  assert.ok(narrow[0].frame.head.parts.length > 1);
  const pieces = await divergence(narrow, text, { ...options, batch: 2 });
  near(pieces.divergence, found.divergence);
  assert.is(pieces.sameNext, found.sameNext);
  pieces.perplexities.forEach((value, at) => near(value, found.perplexities[at]!));
  for (const session of narrow) session.release();
});

test("pieces are as few as there can be, and even", () => {
  assert.equal(
    [
      [16, 5],
      [128, 42],
      [511, 42],
      [7, 100],
      [7, 0],
    ].map(([length = 0, most = 0]) => evenly(length, most)),
    [4, 32, 40, 7, 1],
  );
});

test("a model is not apart from itself", async () => {
  const session = await openSession(machine.caller, one, { dtype: "f32", weights: "f32" });
  const found = await divergence([session, session], text, { ...options, limit: 1 });
  assert.equal([found.divergence, found.sameNext], [0, 1]);
  assert.is(found.perplexities[0], found.perplexities[1]);
  assert.throws(
    () => checkVocabularies([session.config, { ...session.config, vocabSize: 72 }]),
    (error: unknown) => error instanceof LlamaError && /logits for 64 and 72 tokens/.test(error.message),
  );
  session.release();
});

test.run();
