/** Which choice is a model's, and what shares of right ones are worth. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { answersOf, likeliest, meanScore, scoreOf, standardError } from "../../../runtime/llama/tasks/accuracy.js";
import type { TokenizedQuestion } from "../../../runtime/llama/tasks/sequences.js";

const test = suite("tasks: accuracy");

function question(label: number, ...characters: readonly number[]): TokenizedQuestion {
  return { label, characters, sequences: [] };
}

test("the likeliest choice, plain and by length", () => {
  const questions = [question(0, 1, 1), question(1, 2, 8), question(0, 2, 8)];
  const answers = answersOf({ name: "t", available: 5, truncated: 1, questions }, [
    [-1, -2],
    [-3, -4], // by length -1.5 and -0.5
    [-3, -4],
  ]);
  assert.equal(answers, {
    name: "t",
    available: 5,
    truncated: 1,
    plain: [true, false, true],
    byLength: [true, true, false],
  });
  assert.is(likeliest([-2, -1, -1]), 1, "the first of those that are equal");
  const score = scoreOf(answers);
  assert.equal([score.questions, score.accuracy, score.accuracyByLength, score.available], [3, 2 / 3, 2 / 3, 5]);
});

test("standard errors are the sample's deviation over the root of how many", () => {
  const values = [true, true, false, true, false];
  const mean = 3 / 5;
  const variance = values.reduce((sum, value) => sum + (Number(value) - mean) ** 2, 0) / (values.length - 1);
  assert.ok(Math.abs(standardError(values) - Math.sqrt(variance / values.length)) < 1e-15);
  assert.is(standardError([true, true]), 0);
  assert.ok(Number.isNaN(standardError([true])));
});

test("the mean of tasks counts each once", () => {
  const base = { available: 0, truncated: 0 };
  const mean = meanScore([
    {
      ...base,
      name: "a",
      questions: 10,
      accuracy: 0.5,
      accuracyByLength: 0.4,
      standardError: 0.03,
      standardErrorByLength: 0,
    },
    {
      ...base,
      name: "b",
      questions: 90,
      accuracy: 0.7,
      accuracyByLength: 0.8,
      standardError: 0.04,
      standardErrorByLength: 0.02,
    },
  ]);
  assert.is(mean.questions, 100);
  assert.ok(Math.abs(mean.accuracy - 0.6) < 1e-15 && Math.abs(mean.accuracyByLength - 0.6) < 1e-15);
  assert.ok(Math.abs(mean.standardError - 0.025) < 1e-15 && Math.abs(mean.standardErrorByLength - 0.01) < 1e-15);
});

test.run();
