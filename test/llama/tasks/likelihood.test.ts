/** Log-likelihoods held against those of whole logits, a token at a time. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCaller } from "../../../runtime/llama/call.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { logLikelihoods } from "../../../runtime/llama/tasks/likelihood.js";
import type { Sequence } from "../../../runtime/llama/tasks/sequences.js";
import { openMachine } from "../machine.js";
import { tinyConfig, tinyModel } from "../tiny.js";

const test = suite("tasks: likelihood");
const machine = await openMachine();
const { executor } = machine.caller;
const folder = await mkdtemp(join(tmpdir(), "espalier-likelihood-"));
const model = await tinyModel(join(folder, "model"));

test.after.each(() => assert.is(executor.memory.live, 0, "all memory is given back"));
test.after(async () => {
  await model.close();
  await rm(folder, { recursive: true });
  machine.close();
});

/** The same by the definition: the logits of each token before a scored one, their softmax in f64. */
async function byLogits(session: Session, { ids, scored }: Sequence): Promise<number> {
  const cache = await session.allocateCache(1, 32);
  let sum = 0;
  for (let at = 0; at + 1 < ids.length; at++) {
    const tensors = [
      await executor.fill("i32", [1, 1], [ids[at] ?? 0]),
      await executor.fill("i32", [1], [at]),
      await executor.fill("i32", [1], [0]),
    ] as const;
    const x = await session.forward(tensors[0], tensors[1], cache);
    const logits = await session.logits(x, tensors[2]);
    const values = [...(await executor.values(logits))];
    if (at + 1 >= ids.length - scored)
      sum += (values[ids[at + 1] ?? 0] ?? NaN) - Math.log(values.reduce((all, value) => all + Math.exp(value), 0));
    for (const tensor of [...tensors, x, logits]) executor.release(tensor);
  }
  session.releaseCache(cache);
  return sum;
}

function sequence(ids: readonly number[], scored: number): Sequence {
  return { ids: Int32Array.from(ids), scored };
}

const questions: readonly (readonly Sequence[])[] = [
  // a context that is shared, and continuations of several lengths
  [sequence([3, 9, 27, 17, 51, 1, 60], 3), sequence([3, 9, 27, 17, 8], 1), sequence([3, 9, 27, 17, 51, 2], 2)],
  // contexts that differ at their last token
  [sequence([5, 6, 7, 8, 40, 41], 2), sequence([5, 6, 7, 9, 40, 41], 2)],
  // nothing is shared
  [sequence([1, 2], 1), sequence([2, 3, 4], 1)],
];

test("batched, padded and shared they are those of whole logits, and the same bytes again", async () => {
  const session = await openSession(machine.caller, model, { dtype: "f32", weights: "f32" });
  const progress: number[] = [];
  const found = await logLikelihoods(session, questions, (done, total) => progress.push(done, total));
  for (const [at, sequences] of questions.entries())
    for (const [choice, each] of sequences.entries()) {
      const [value, wanted] = [found[at]?.[choice] ?? NaN, await byLogits(session, each)];
      assert.ok(
        Math.abs(value - wanted) < 1e-5 * Math.abs(wanted),
        `question ${at}, choice ${choice}: ${value}, ${wanted}`,
      );
    }
  assert.is(progress.at(-1), progress.at(-2), "all is told to be done at the end");
  assert.equal(await logLikelihoods(session, questions), found);
  session.release();
});

test("a few tokens at once where there is little room, and the vocabulary in parts", async () => {
  const session = await openSession(machine.caller, model, { dtype: "f32", weights: "f32" });
  const whole = await logLikelihoods(session, questions);
  session.release();
  // the head in two parts, and pieces of 8 tokens
  const maxBinding = 8 * 4 * 2 * tinyConfig.intermediate_size;
  const caller = createCaller(executor, { ...machine.caller.target, maxBinding }, machine.caller.functions);
  const narrow = await openSession(caller, model, { dtype: "f32", weights: "f32" });
  const found = await logLikelihoods(narrow, questions);
  assert.ok(narrow.frame.head.parts.length > 1);
  whole.flat().forEach((value, at) => assert.ok(Math.abs(value - (found.flat()[at] ?? NaN)) < 1e-5 * Math.abs(value)));
  narrow.release();
});

test("numbers that are none are refused", async () => {
  const broken = await tinyModel(join(folder, "broken"), (name, words) => {
    if (name === "model.norm.weight") words.fill(0x7fc0);
  });
  const session = await openSession(machine.caller, broken, { dtype: "f32", weights: "f32" });
  const error = await logLikelihoods(session, questions).then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LlamaError && error.code === "not-finite", String(error));
  assert.match(error.message, /on the questions is NaN or infinite: the last norm/);
  session.release();
  await broken.close();
});

test.run();
