/** Dispatches of more workgroups than a dimension holds: every schedule, along every axis. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileFunction } from "../../compiler/compile.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import { maxWorkgroups } from "../../compiler/kernel/verify.js";
import type { Target } from "../../compiler/target.js";
import { graphOf } from "../check/support.js";
import { agreeOnDevice, agreeSimulated, expectedOf } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { targets } from "../support/targets.js";
import { programCase } from "./language.js";
import { stagesOf, taken } from "./support.js";

const test = suite<{ machine: Machine }>("dispatches beyond a dimension");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const roomy = (target: Target): Target => ({ ...target, maxBinding: 2 ** 34 });
const cpu = roomy(targets["a CPU driver"]);
const gpu = roomy(targets["a GPU with subgroups of 32"]);
const half: Target = { ...gpu, name: "matrices", f16: true, matrices: true };

test("linear with 4,194,305 outputs, found by reading, and as many tokens or sequences", () => {
  const many = 4_194_305;
  for (const sizes of [
    { B: 1, T: 4, K: 8, N: many },
    { B: 1, T: many, K: 8, N: 8 },
    { B: many, T: 1, K: 8, N: 8 },
  ])
    for (const [target, schedule] of [
      [cpu, "quads"],
      [gpu, sizes.T * sizes.B < 16 ? "matvec" : "tiled"],
    ] as const)
      assert.equal(taken(stagesOf("linear", { sizes }, target)), [`y ${schedule}`], target.name);
});

const product = graphOf(
  "fn main(x: E[G, T, K], w: E[G, N, K]) -> f32[G, T, N] {\n  return y where y[g, t, n] = sum[k] f32(x[g, t, k]) * f32(w[g, n, k])\n}",
  "main",
);

// each axis of a product once: outputs, tokens, batch
for (const [name, sizes] of Object.entries({
  outputs: { G: 2, T: 32, N: 2 ** 24, K: 32 },
  tokens: { G: 2, T: 2 ** 24, N: 32, K: 32 },
  batch: { G: 2 ** 17, T: 32, N: 32, K: 32 },
})) {
  test(`every schedule of a product lowers with many ${name}`, () => {
    for (const target of [roomy(targets.baseline), gpu, cpu, half])
      for (const schedule of [null, ...schedules]) // the verifier of kernels holds each dimension
        compileFunction(product, { sizes, dtypes: { E: target.f16 ? "f16" : "f32" } }, target, { schedule });
  });
}

test("a grid that was spread computes what it should", async ({ machine }) => {
  const batch = maxWorkgroups + 2;
  const given = programCase(
    "fn main(x: f32[G, T, K], w: f32[G, N, K]) -> f32[G, T, N] {\n  return y where y[g, t, n] = sum[k] x[g, t, k] * w[g, n, k]\n}",
    { G: batch, T: 4, N: 1, K: 3 },
    "reduction",
  );
  const expected = expectedOf(given);
  const stages = agreeSimulated(given, expected, { target: cpu, subgroupSize: 4 }, { schedule: "quads" });
  assert.equal(
    stages.kernels.flat().map(({ origin, workgroups }) => [origin.schedule, ...workgroups]),
    [["quads", Math.ceil(batch / 2), 2, 1]],
  );
  await agreeOnDevice(given, expected, machine, { schedule: "quads" });
});

test.run();
