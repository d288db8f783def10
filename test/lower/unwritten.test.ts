/**
 * Memory that nobody wrote has no part in a result, whatever it holds: caches behind the last token, what lies before
 * or after the range of a sum, the rest of a buffer.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Simulated } from "../support/agreement.js";
import { fiveEquations } from "../support/five-equations.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { targets } from "../support/targets.js";
import { programCase } from "./language.js";
import { libraryCase, taken } from "./support.js";

const test = suite<{ machine: Machine }>("memory that nobody wrote");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const matrices: Target = { ...targets["a GPU with subgroups of 32"], name: "matrices", f16: true, matrices: true };
const f32: readonly Simulated[] = [
  { target: targets.baseline, subgroupSize: 1 },
  { target: targets["a GPU with subgroups of 32"], subgroupSize: 32 },
  { target: targets["a CPU driver"], subgroupSize: 4 },
];

for (const [T, C] of [
  [8, 64],
  [16, 64],
  [40, 64],
  [64, 128],
] as const) {
  const sizes = { B: 1, T, A: 2, H: 16, C, G: 1 };

  test(`attention of ${T} tokens with a cache of ${C}`, async ({ machine }) => {
    const given = libraryCase("attention", { sizes }, "chain", { positions: [0] });
    const expected = expectedOf(given);
    const { keys, values } = Object.fromEntries(expected.inputs);
    for (const cache of [keys!, values!])
      assert.equal(
        [...cache.data].map((value) => Number.isNaN(value)),
        Array.from({ length: C * 16 }, (_, at) => at >= T * 16),
      );
    assert.not.ok([...expected.outputs.get("y")!.data].some(Number.isNaN));
    for (const device of f32) agreeSimulated(given, expected, device);
    // the driver's schedule is the same for all
    if (T === 40) await agreeOnDevice(given, expected, machine);
  });

  test(`attention of ${T} tokens with a cache of ${C} in f16, by matrices and by tiles`, () => {
    const given = programCase(fiveEquations, sizes, "half", { positions: [0] }, true);
    const expected = expectedOf(given);
    for (const schedule of ["matrix", "tiled"] as const) {
      const stages = agreeSimulated(given, expected, { target: matrices, subgroupSize: 32 }, { schedule });
      assert.ok(taken(stages).includes(`mixed ${schedule}`));
    }
  });
}

// the farthest token is the last, the first, any; the nearest one starts late; two axes of tokens
const sums: { readonly [range: string]: string } = {
  "0 .. 2 * t + 3": "y[t, n] = sum[k in 0 .. 2 * t + 3] x[t, k] * w[n, k]",
  "0 .. 2 * (T - t)": "y[t, n] = sum[k in 0 .. 2 * (T - t)] x[t, k] * w[n, k]",
  "0 .. ends[t]": "y[t, n] = sum[k in 0 .. ends[t]] x[t, k] * w[n, k]",
  "ends[t] .. K": "y[t, n] = sum[k in ends[t] .. K] x[t, k] * w[n, k]",
  "11 + t .. ends[t] + 30": "y[t, n] = sum[k in 11 + t .. ends[t] + 30] x[t, k] * w[n, k]",
  "20 .. 41": "y[t, n] = sum[k in 20 .. 41] x[t, k] * w[n, k]",
  "0 .. ends[0]": "y[t, n] = sum[k in 0 .. ends[0]] x[t, k] * w[n, k]",
};

for (const [name, equation] of Object.entries(sums)) {
  test(`a sum over ${name}`, async ({ machine }) => {
    const given = programCase(
      `fn main(x: f32[T, K], w: f32[N, K], ends: i32[T]) -> f32[T, N] {\n  return y where ${equation} for t in 0 .. T, n in 0 .. N\n}`,
      { T: 19, N: 33, K: 61 },
      "reduction",
      { ends: Array.from({ length: 19 }, (_, at) => 5 + ((at * 7) % 19)) },
    );
    const expected = expectedOf(given);
    assert.ok([...expected.inputs.get("w")!.data].some(Number.isNaN));
    for (const device of f32)
      for (const schedule of [null, "tiled", "loops"] as const) agreeSimulated(given, expected, device, { schedule });
    await agreeOnDevice(given, expected, machine);
  });
}

test.run();
