/** Two models' answers side by side. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TaskAnswers } from "../../../runtime/llama/tasks/accuracy.js";
import { compareAnswers } from "../../../runtime/llama/tasks/comparison.js";
import type { TokenizedTask } from "../../../runtime/llama/tasks/sequences.js";

const test = suite("tasks: comparison");

function task(name: string, ...choices: readonly number[]): TokenizedTask {
  const sequence = { ids: new Int32Array(2), scored: 1 };
  const questions = choices.map((count) => ({
    label: 0,
    characters: new Array<number>(count).fill(1),
    sequences: new Array<typeof sequence>(count).fill(sequence),
  }));
  return { name, available: 9, truncated: 2, questions };
}

function answers(plain: readonly number[], byLength: readonly number[]): TaskAnswers {
  return { name: "", available: 0, truncated: 0, plain: plain.map(Boolean), byLength: byLength.map(Boolean) };
}

test("accuracies, recoveries and chance, by task and on average", () => {
  const { tasks, mean } = compareAnswers(
    [task("a", 2, 2, 4, 4), task("b", 2, 2)],
    [
      [answers([1, 1, 1, 0], [1, 1, 1, 1]), answers([1, 1], [0, 0])],
      [answers([1, 0, 0, 1], [1, 1, 1, 1]), answers([1, 0], [0, 1])],
    ],
  );
  assert.equal(
    tasks.map(({ name, questions, available, truncated, chance }) => [name, questions, available, truncated, chance]),
    [
      ["a", 4, 9, 2, 0.375],
      ["b", 2, 9, 2, 0.5],
    ],
  );
  const [a, b] = tasks;
  assert.equal(a?.plain.accuracies, [0.75, 0.5]);
  assert.equal([a?.plain.onlyOne, a?.plain.onlyOther, a?.plain.probability], [2, 1, 1]);
  assert.is(a?.plain.standardErrors[1], Math.sqrt(0.25 / 3));
  assert.is(a?.plain.recovery.value, 2 / 3);
  assert.is(a?.byLength.recovery.value, 1);
  assert.ok(Number.isNaN(b?.byLength.recovery.value));
  assert.is(mean.chance, 0.4375);
  assert.equal(mean.plain.accuracies, [0.875, 0.5]);
  assert.is(mean.plain.recovery.value, 0.5 / 0.875);
  assert.is(mean.plain.recoveryAboveChance, 0.0625 / 0.4375);
  assert.is(mean.byLength.recovery.value, 1.5);
});

test.run();
