/** How a prompt is cut: all of it, in order, with little padding. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { chunksOf } from "../../../runtime/llama/inference/generate.js";

const test = suite("chunks of a prompt");

test("pieces follow one another to the end, and few programs serve all lengths", () => {
  const programs = new Set<number>();
  for (let length = 1; length <= 1200; length++) {
    const chunks = chunksOf(length, 512);
    let at = 0;
    for (const { from, count, padded } of chunks) {
      assert.is(from, at);
      assert.ok(count >= 1 && count <= padded && padded <= 512);
      programs.add(padded);
      at += count;
    }
    assert.is(at, length);
    const computed = chunks.reduce((sum, { padded }) => sum + padded, 0);
    assert.ok(computed <= Math.max(length + 64, (4 / 3) * length), `${length} tokens are computed as ${computed}`);
  }
  assert.equal(
    [...programs].sort((a, b) => a - b),
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  );
});

test("what nearly fills a piece is one", () => {
  assert.equal(chunksOf(400, 512), [{ from: 0, count: 400, padded: 512 }]);
  assert.equal(chunksOf(300, 512), [
    { from: 0, count: 256, padded: 256 },
    { from: 256, count: 44, padded: 64 },
  ]);
  assert.equal(chunksOf(20, 512), [{ from: 0, count: 20, padded: 32 }]);
});

test.run();
