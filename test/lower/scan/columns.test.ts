/** Where the columns of a step lie, seen from its group. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inGroup, inOwnGroup, leastMultiple } from "../../../compiler/lower/scan/columns.js";

const test = suite("columns of a scan");

test("columns seen from a larger group are all that the steps of it have, and no more", () => {
  for (const group of [1, 2, 4])
    for (const larger of [group, 2 * group, 12])
      for (const [low, high] of [
        [0, 0],
        [0, group - 1],
        [-1, 2],
      ] as const) {
        const steps = Array.from({ length: larger }, (_, k) => Math.floor(k / group) * group);
        assert.equal(inGroup({ group, low, high }, larger), {
          group: larger,
          low: Math.min(...steps) + low,
          high: Math.max(...steps) + high,
        });
      }
});

test("a group that reaches past its end is not its own", () => {
  assert.ok(inOwnGroup({ group: 4, low: 0, high: 3 }));
  assert.not.ok(inOwnGroup({ group: 4, low: 0, high: 4 }));
  assert.not.ok(inOwnGroup({ group: 4, low: -1, high: 3 }));
  assert.is(leastMultiple(4, 6), 12);
});

test.run();
