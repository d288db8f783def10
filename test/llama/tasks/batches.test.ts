/** What goes through a model together: all that is scored, once, within its cache. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { batchesOf, groupsOf, paddedLength, suffixOf } from "../../../runtime/llama/tasks/batches.js";
import type { Sequence } from "../../../runtime/llama/tasks/sequences.js";

const test = suite("tasks: batches");

function sequence(ids: readonly number[], scored: number): Sequence {
  return { ids: Int32Array.from(ids), scored };
}

const shapeOf = (question: readonly Sequence[]): readonly (readonly [number, readonly number[]])[] =>
  groupsOf(0, question).map(({ shared, branches }) => [shared, branches.map(({ choice }) => choice)]);

test("a context is shared up to the token that predicts the first one scored, the longest choice first", () => {
  assert.equal(shapeOf([sequence([1, 2, 3, 4, 5], 2), sequence([1, 2, 3, 6, 7, 8], 3)]), [[2, [1, 0]]]);
  // the continuations begin alike, but that is scored
  assert.equal(shapeOf([sequence([1, 2, 3, 4, 5], 2), sequence([1, 2, 3, 4, 6], 2)]), [[2, [0, 1]]]);
});

test("contexts that differ late share what is before; those that differ early go alone", () => {
  assert.equal(shapeOf([sequence([1, 2, 3, 4, 5, 9, 9], 2), sequence([1, 2, 3, 4, 6, 9, 9], 2)]), [[4, [0, 1]]]);
  assert.equal(shapeOf([sequence([1, 2, 3, 4, 5, 9], 1), sequence([1, 7, 3, 4, 5, 9], 1)]), [
    [4, [0]],
    [4, [1]],
  ]);
  assert.equal(shapeOf([sequence([1, 2], 1), sequence([1, 3], 1)]), [
    [0, [0]],
    [0, [1]],
  ]);
});

test("batches hold each branch once, within their rows and caches", () => {
  let state = 1;
  const random = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  const questions = Array.from({ length: 90 }, () => {
    const context = Array.from({ length: 1 + random(70) }, () => random(50));
    return Array.from({ length: 2 + random(3) }, () => {
      const scored = 1 + random(40);
      return sequence([...context, ...Array.from({ length: scored }, () => random(50))], scored);
    });
  });
  const groups = questions.flatMap((sequences, at) => groupsOf(at, sequences));
  const batches = batchesOf(groups, (tokens) => Math.floor(300 / tokens));
  const seen = new Set<string>();
  for (const { rows, shared, capacity, groups: own } of batches) {
    assert.ok(own.length <= rows && rows < 2 * own.length, `${own.length} of ${rows} rows`);
    assert.ok(rows === 1 || (rows * capacity) / 2 <= 300);
    for (const group of own) {
      assert.ok(group.shared <= shared);
      for (const branch of group.branches) {
        // what is padded is written behind the shared tokens
        assert.ok(group.shared + paddedLength(suffixOf(group, branch)) <= capacity);
        assert.ok(branch.scored <= suffixOf(group, branch));
        seen.add(`${branch.question} ${branch.choice}`);
      }
    }
  }
  assert.is(seen.size, questions.flat().length);
  assert.is(batches.flatMap((batch) => batch.groups).length, groups.length);
});

test("lengths are padded to powers of two", () => {
  assert.equal([1, 16, 17, 32, 33, 100].map(paddedLength), [16, 16, 32, 32, 64, 128]);
});

test.run();
