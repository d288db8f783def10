/** Tests and intervals of paired answers, held against known values and formulas. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { discordance, exactProbability, recoveries, type Pair } from "../../../runtime/llama/tasks/paired.js";

const test = suite("tasks: paired");

/** Answers of which so many are both's, the first's, the second's and neither's. */
function pairs(both: number, one: number, other: number, neither: number): readonly Pair[] {
  const of = (count: number, pair: Pair): Pair[] => Array.from({ length: count }, () => pair);
  return [
    ...of(both, [true, true]),
    ...of(one, [true, false]),
    ...of(other, [false, true]),
    ...of(neither, [false, false]),
  ];
}

// sums of binomials as exact fractions
const known: readonly (readonly [number, number, number])[] = [
  [0, 0, 1],
  [7, 7, 1],
  [0, 5, 0.0625],
  [12, 3, 0.03515625],
  [5, 15, 0.04138946533203125],
  [59, 121, 4.434449263755176e-6],
  [400, 500, 0.0009564441369189461],
  [900, 1000, 0.02310884510890107],
];

test("McNemar's exact probability", () => {
  for (const [a, b, wanted] of known) {
    const found = exactProbability(a, b);
    assert.ok(Math.abs(found - wanted) < 1e-10 * wanted, `${a} and ${b}: ${found}`);
    assert.is(found, exactProbability(b, a));
  }
  assert.equal(discordance(pairs(4, 12, 3, 9)), { onlyOne: 12, onlyOther: 3, probability: exactProbability(12, 3) });
});

test("recovery is a ratio, its interval that of resampled pairs", () => {
  const [a, b] = [pairs(300, 60, 30, 210), pairs(500, 200, 250, 1050)];
  const found = recoveries([a, b]);
  assert.ok(Math.abs(found.tasks[0]!.value - 330 / 360) < 1e-15);
  assert.ok(Math.abs(found.mean.value - (330 / 600 + 750 / 2000) / (360 / 600 + 700 / 2000)) < 1e-15);
  // to first order the deviation of y / x is that of the mean of (y - r x) / x
  for (const [at, own] of [a, b].entries()) {
    const { value, interval } = found.tasks[at]!;
    const one = own.filter(([first]) => first).length / own.length;
    const variance = own.reduce((sum, [x, y]) => sum + ((Number(y) - value * Number(x)) / one) ** 2, 0) / own.length;
    const half = 1.96 * Math.sqrt(variance / own.length);
    for (const [end, wanted] of [
      [interval.low, value - half],
      [interval.high, value + half],
    ] as const)
      assert.ok(Math.abs(end - wanted) < 0.15 * half, `${end}, ${wanted} of ${half}`);
  }
  assert.ok(found.mean.interval.low < found.mean.value && found.mean.value < found.mean.interval.high);
});

test("the same answers give the same interval, another seed another", () => {
  const tasks = [pairs(20, 8, 3, 9)];
  assert.equal(recoveries(tasks), recoveries(tasks));
  assert.not.equal(recoveries(tasks, { seed: 2, times: 101 }), recoveries(tasks, { seed: 3, times: 101 }));
});

test("models that answer alike recover all of it; of nothing right nothing is known", () => {
  assert.equal(recoveries([pairs(5, 0, 0, 5)]).mean, { value: 1, interval: { low: 1, high: 1 } });
  const { value, interval } = recoveries([pairs(0, 0, 3, 4)]).mean;
  assert.ok([value, interval.low, interval.high].every(Number.isNaN));
});

test.run();
