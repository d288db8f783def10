/** Many rows, and many elements: how they are divided among invocations, and that all of them are computed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { targets } from "../../support/targets.js";
import { programCase } from "../language.js";

const test = suite<{ machine: Machine }>("many rows and elements");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu: Target = targets["a GPU with subgroups of 32"];
const softmax = `fn main(x: f32[T, K], n: i32[T]) -> f32[T, K] {
  let most[t] = max[j in 0 .. min(n[t], K)] x[t, j]
  let total[t] = sum[j in 0 .. min(n[t], K)] exp(x[t, j] - most[t])
  return y where y[t, k] = select(k < min(n[t], K), exp(x[t, k] - most[t]) / total[t], 0.0)
}`;

const forms = (target: Target, source: string, sizes: Record<string, number>) => {
  const given = programCase(source, sizes, "reduction");
  const expected = expectedOf(given);
  const { kernels } = agreeSimulated(given, expected, { target, subgroupSize: 32 });
  return {
    given,
    expected,
    found: kernels
      .flat()
      .map(({ origin, workgroups, workgroupSize }) => [origin.schedule, workgroups, workgroupSize[0]]),
  };
};

test("many short rows are a subgroup's each; the last workgroup has fewer", async ({ machine }) => {
  const { given, expected, found } = forms(gpu, softmax, { T: 2050, K: 40 });
  assert.equal(found, [["rows", [257, 1, 1], 256]]);
  await agreeOnDevice(given, expected, machine);
});

test("few rows, long ones, and those that are to be as they are alone, are a workgroup's each", () => {
  const sum = "fn main(x: f32[T, K]) -> f32[T] {\n  return y where y[t] = sum[k] x[t, k]\n}";
  assert.equal(forms(gpu, sum, { T: 64, K: 40 }).found, [["rows", [64, 1, 1], 64]]);
  assert.equal(forms(gpu, sum, { T: 2048, K: 1100 }).found, [["rows", [2048, 1, 1], 256]]);
  assert.equal(forms({ ...gpu, alike: true }, sum, { T: 2050, K: 40 }).found, [["rows", [2050, 1, 1], 64]]);
});

test("what a subgroup has no operation for is a workgroup's", () => {
  const first = "fn main(x: f32[T, K]) -> i32[T] {\n  return y where y[t] = argmax[k] x[t, k]\n}";
  assert.equal(forms(gpu, first, { T: 2050, K: 40 }).found, [["rows", [2050, 1, 1], 64]]);
});

test("of very many elements an invocation computes four", () => {
  const source = "fn main(x: f32[T, K], b: f32[K]) -> f32[T, K] {\n  return y where y[t, k] = x[t, k] * 2.0 + b[k]\n}";
  assert.equal(forms(gpu, source, { T: 2 ** 12, K: 2 ** 10 }).found, [["loops", [4096, 1, 1], 256]]);
  // they do not divide
  assert.equal(forms(gpu, source, { T: 2 ** 12 + 1, K: 2 ** 10 + 1 }).found, [["loops", [16405, 1, 1], 256]]);
});

test.run();
