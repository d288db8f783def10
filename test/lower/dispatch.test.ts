/** Dispatches of more workgroups than a dimension holds: every schedule, along every axis. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileFunction, compileStages } from "../../compiler/compile.js";
import * as k from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import { renamed } from "../../compiler/kernel/rename.js";
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

test("elements beyond a dimension of workgroups are all computed, where an invocation has several", () => {
  const source = "fn main(x: f32[R, C]) -> f32[R, C] {\n  return y where y[r, c] = x[r, c] + 1\n}";
  for (const R of [65_600, 65_601]) {
    const stages = compileStages(graphOf(source, "main"), { sizes: { R, C: 1024 } }, gpu);
    if ("diagnostics" in stages) throw new Error("it does not compile");
    const { fused, storage, kernels } = stages;
    const [kernel] = kernels.flat();
    const [across, down] = kernel!.workgroups;
    assert.is(down, 2);
    const [x, y] = [fused.inputs[0]!.value, fused.outputs[0]!.value].map((value) => storage[value]!.name);
    const memory = new Map([x!, y!].map((name) => [name, new ArrayBuffer(4 * 1024 * R)]));
    const written = new Float32Array(memory.get(y!)!);
    // a workgroup of the second row, the last that there is, and what the grid has beyond it
    for (const at of [across + 7, R - 1, ...(2 * across > R ? [R] : [])]) {
      const ids: { readonly [name: string]: number } = { "workgroup_id.x": at % across, "workgroup_id.y": 1 };
      const body = renamed(kernel!.body, {
        local: (name) => name,
        memory: (name) => name,
        builtin: (name) => (name in ids ? k.u32(ids[name]!) : k.builtin(name)),
      });
      evaluateKernel({ ...kernel!, workgroups: [1, 1, 1], body }, memory, {});
      const own = written.subarray(at * 1024, (at + 1) * 1024);
      assert.ok(own.every((value) => value === 1));
      own.fill(0);
    }
    assert.ok(written.every((value) => value === 0));
  }
});

test.run();
