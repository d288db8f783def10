/**
 * Memory that nobody wrote has no part in a result, whatever it holds: caches behind the last token, what lies before
 * or after the range of a sum, the rest of a buffer.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Simulated } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { targets } from "../support/targets.js";
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
    await agreeOnDevice(given, expected, machine);
  });

  test(`attention of ${T} tokens with a cache of ${C} in f16, by matrices and by tiles`, () => {
    const given = libraryCase("attention", { sizes, dtype: "f16" }, "half", { positions: [0] });
    const expected = expectedOf(given);
    for (const schedule of ["matrix", "tiled"] as const) {
      const stages = agreeSimulated(given, expected, { target: matrices, subgroupSize: 32 }, { schedule });
      assert.ok(taken(stages).includes(`mixed ${schedule}`));
    }
  });
}

test.run();
