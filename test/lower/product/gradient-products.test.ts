/** Products of gradients by the fast schedules: as the evaluator has them, and which schedule they take. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Simulated } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { gradientProducts } from "../../support/gradient-products.js";
import { simulated } from "../../support/simulated.js";
import { targets } from "../../support/targets.js";
import { programCase } from "../language.js";

const test = suite<{ machine: Machine }>("products of gradients");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu: Target = { ...targets["a GPU with subgroups of 32"], name: "matrices", f16: true, matrices: true };
const half: Simulated = { target: gpu, subgroupSize: 32 };

for (const [name, { source, sizes }] of Object.entries(gradientProducts)) {
  test(`${name}: by matrices`, () => {
    const given = programCase(source, sizes, "half", {}, true);
    const expected = expectedOf(given);
    for (const schedule of [
      "matrix",
      { kind: "matrix", tokens: 16, rows: 16, subgroups: [1, 1, 2], slice: 32, ahead: 2, parts: 1 },
    ] as const)
      assert.equal(schedulesOf(agreeSimulated(given, expected, half, { schedule })), ["matrix"]);
  });

  test(`${name}: by tiles, in f32`, () => {
    const given = programCase(source, sizes, "half");
    const expected = expectedOf(given);
    for (const device of [simulated[0], simulated[3]].flatMap((each) => each ?? []))
      assert.equal(schedulesOf(agreeSimulated(given, expected, device, { schedule: "tiled" })), ["tiled"]);
  });

  test(`${name}: on the device`, async ({ machine }) => {
    const given = programCase(source, sizes, "half");
    await agreeOnDevice(given, expectedOf(given), machine);
  });
}

test.run();
