/** Rates, draws and the loop of a training, with losses that are made up. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import { baselineTarget } from "../../../compiler/target.js";
import type { LlamaConfig } from "../../../runtime/model/config.js";
import {
  fittingWindows,
  rowsOfHead,
  windowsOfPass,
  type TrainingMemory,
} from "../../../runtime/llama/training/room.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { createDraw, holdOut } from "../../../runtime/llama/training/draw.js";
import { trainingLoop, type Learner, type TrainingOutcome } from "../../../runtime/llama/training/loop.js";
import { rateOf, stepsFor } from "../../../runtime/llama/training/settings.js";
import { batchOf, countScored } from "../../../runtime/llama/training/text.js";

const test = suite("training, without a device");

const settings: TrainSettings = {
  steps: 40,
  epochs: null,
  rate: 0.5,
  warmup: 4,
  batch: 2,
  clip: 1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  decay: 0,
  final: 0.1,
  seed: 0,
  norms: true,
  held_out: 0.25,
  watch: 10,
  dense_inputs: false,
};

test("the rate grows, and follows a cosine down to its end", () => {
  const rates = Array.from({ length: 40 }, (_, step) => rateOf(settings, 40, step));
  assert.ok(Math.abs(rates[0]! - 0.125) < 1e-3 && Math.abs(rates[3]! - 0.5) < 0.01);
  assert.ok(rates.slice(4).every((rate, at) => at === 0 || rate < rates[at + 3]!));
  assert.ok(Math.abs(rateOf(settings, 40, 40) - 0.05) < 1e-9);
  assert.is(rateOf({ ...settings, warmup: 0 }, 40, 0), 0.5);
  assert.equal([stepsFor(settings, 9), stepsFor({ ...settings, steps: null, epochs: 3 }, 9)], [40, 14]);
});

const firsts = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

test("windows are held out evenly, and each pass over the others has an order of its own", () => {
  assert.equal(holdOut(firsts(8), 0.25, 9), { train: [0, 1, 3, 4, 5, 7], held: [2, 6] });
  assert.equal(holdOut(firsts(8), 0.25, 1).held, [4]);
  assert.equal(holdOut(firsts(3), 0, 9), { train: [0, 1, 2], held: [] });
  assert.equal(holdOut(firsts(1), 0.5, 9), { train: [0], held: [] });
  const { train } = holdOut(firsts(8), 0.25, 9);
  const draw = createDraw(train, 4, 7);
  const drawn = [0, 1, 2].flatMap((step) => [...draw(step)]);
  const [first, second] = [drawn.slice(0, 6), drawn.slice(6)];
  for (const pass of [first, second]) assert.equal([...pass].sort(), train);
  assert.not.equal(first, second);
  // whoever goes on at a step draws the same
  assert.equal(createDraw(train, 4, 7)(2), draw(2));
  assert.not.equal(
    [0, 1, 2].flatMap((step) => [...createDraw(train, 4, 8)(step)]),
    drawn,
  );
});

test("what is padded, and what has nothing after it, does not count", () => {
  const windows = { count: 2, tokens: 3, ids: Int32Array.of(1, 2, 3, 4, 5, 6), scored: null };
  const found = batchOf(windows, [1], 2, true);
  assert.equal([...found.ids], [4, 5, 6, 0, 0, 0]);
  assert.equal([...found.next].slice(0, 2), [5, 6]);
  assert.equal([...found.scored], [1, 1, 0, 0, 0, 0]);
  assert.equal([...batchOf(windows, [1], 1, false).scored], [1, 1, 1]);
  assert.is(countScored({ ...windows, scored: Uint8Array.of(0, 1, 1, 1, 0, 0) }, [0, 1], true), 2);
});

test("what a training takes is held against the memory of a machine whose CPU computes", () => {
  const config = { heads: 8, intermediateSize: 768, hiddenSize: 256, vocabSize: 2048 } as LlamaConfig;
  const memoryAt = (windows: number): TrainingMemory => ({
    state: 2 ** 30,
    dense: 2 ** 29,
    activations: windows * 2 ** 28,
  });
  const cpu = { ...baselineTarget, kind: "cpu" } as const;
  const places = (limit: number | null, target: typeof baselineTarget = cpu): number =>
    fittingWindows(target, config, { tokens: 256, batch: 8 }, memoryAt, limit, () => "Take less.").places;
  assert.is(places(2 ** 33), 8);
  assert.is(places(null, baselineTarget), 8);
  // fewer at once, in equal parts
  assert.is(places(2.6 * 2 ** 30), 4);
  assert.is(places(1.8 * 2 ** 30), 1);
  for (const [target, words] of [
    [cpu, "This machine"],
    [baselineTarget, baselineTarget.name],
  ] as const)
    assert.throws(
      () => places(2 ** 30, target),
      (error: unknown) =>
        error instanceof LlamaError &&
        error.message.includes("takes at least 1.75 GiB") &&
        error.message.includes(`${words} has 1 GiB in all. Take less.`),
    );
});

test("windows and rows are as many as bindings hold, in equal parts", () => {
  const config = { heads: 8, intermediateSize: 768, hiddenSize: 256, vocabSize: 2048 } as LlamaConfig;
  const target = { ...baselineTarget, maxBinding: 2 ** 24 };
  // 8 x 256 x 256 scores of f32 a window: eight fit, 20 go in three parts
  assert.is(windowsOfPass(target, config, 256, 20), 7);
  assert.is(windowsOfPass(target, config, 256, 8), 8);
  assert.is(rowsOfHead(target, config, 8192), 2048);
  assert.throws(
    () => windowsOfPass(target, config, 1024, 1),
    (error: unknown) => error instanceof LlamaError && /--window/.test(error.message),
  );
});

/** A learner whose weights are the number of steps that it has made. */
function fakeLearner(loss: (weights: number) => number, held: (weights: number) => number, skipped = 0) {
  const state = { weights: 0, best: -1, rates: [] as number[] };
  const learner: Learner = {
    step(_, rate) {
      state.rates.push(rate);
      const report = { loss: loss(state.weights), norm: 1, scale: 1, skipped: skipped * (state.weights + 1) };
      state.weights++;
      return Promise.resolve({ report: Promise.resolve(report) });
    },
    watch: () => Promise.resolve(held(state.weights)),
    keep: () => (state.best = state.weights),
    restore: () => (state.weights = state.best),
    refresh: () => {},
    tensors: new Map(),
  };
  return { learner, state };
}

const loop = (learner: Learner, more: Partial<Parameters<typeof trainingLoop>[1]> = {}): Promise<TrainingOutcome> =>
  trainingLoop(learner, {
    settings,
    what: "the model",
    steps: 40,
    split: { train: [0, 1], held: [2] },
    draw: () => [0, 1],
    onStep: () => {},
    ...more,
  });

test("the best by what is held out is what stays", async () => {
  const { learner, state } = fakeLearner(
    (weights) => 2 - weights / 40,
    (weights) => Math.abs(weights - 20),
  );
  const outcome = await loop(learner);
  assert.is(state.weights, 20);
  assert.equal(outcome.best, { step: 20, loss: 0 });
  assert.equal(
    outcome.watched.map(({ step }) => step),
    [0, 10, 20, 30, 40],
  );
  assert.equal([outcome.steps, outcome.stopped, outcome.losses.length], [40, null, 40]);
  assert.equal(outcome.losses[0], { step: 1, loss: 2 });
});

test("a loss that grows or is not finite ends it: with the best that there was, or in an error", async () => {
  for (const [late, why] of [
    [50, /grown from 1.000 to/],
    [NaN, /not finite at step 2/],
  ] as const) {
    const good = fakeLearner(
      (weights) => (weights < 20 ? 1 : late),
      (weights) => 1 - weights / 100,
    );
    const outcome = await loop(good.learner);
    assert.match(outcome.stopped ?? "", why);
    assert.ok(outcome.steps < 40);
    assert.is(good.state.weights, outcome.best!.step);
    assert.ok(outcome.best!.step >= 10);
    const bad = fakeLearner(
      () => late,
      () => 1,
    );
    const error = await loop(bad.learner).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof LlamaError && error.code === "diverged", String(error));
    assert.match(error.message, /no step has made anything better. Give it a smaller rate than 0.5/);
    const later = fakeLearner(
      (weights) => (weights < 5 ? 1 : late),
      () => 1,
    );
    const blind = await loop(later.learner, { split: { train: [0, 1], held: [] } }).catch((thrown: unknown) => thrown);
    assert.match(String(blind), /nothing is held out by which an earlier state would have been kept/);
  }
  const skipping = fakeLearner(
    () => 1,
    () => 1,
    1,
  );
  const error = await loop(skipping.learner, { steps: 100 }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.match(String(error), /gradients were not finite in 41 of 41 steps/);
});

test("what goes on goes on where it was", async () => {
  const settled: number[] = [];
  const { learner, state } = fakeLearner(
    () => 1,
    () => 1,
  );
  state.best = 0;
  const record = { losses: [{ step: 1, loss: 3 }], watched: [], best: { step: 0, loss: 0.5 }, skipped: 0 };
  const outcome = await loop(learner, {
    from: { step: 30, record },
    onSettled: (step) => Promise.resolve(void settled.push(step)),
  });
  assert.equal(
    state.rates,
    Array.from({ length: 10 }, (_, at) => rateOf(settings, 40, 30 + at)),
  );
  assert.is(outcome.losses.length, 11);
  assert.equal(outcome.best, record.best);
  assert.is(state.weights, 0);
  await loop(learner, { onSettled: (step) => Promise.resolve(void settled.push(step)) });
  assert.equal(settled, [10, 20, 30]);
});

test.run();
