import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileFunction, lowerConcrete } from "../../compiler/compile.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { memoryOf } from "../support/program-memory.js";
import type { Program, Step } from "../../compiler/plan/program.js";
import type { RecipeStep, Treatment } from "../../compiler/recipe/recipe.js";
import { standardLibrary } from "../../runtime/library.js";
import { partsOf } from "../../runtime/llama/compression/shared.js";
import { exampleRecipe } from "../llama/recipes.js";
import { programCase } from "../lower/language.js";
import { targets } from "../support/targets.js";

const test = suite("memory");

/**
 * A program of these buffers, the first an input, whose steps are the allocations (a number) and the ends (a number
 * below zero) given.
 */
function programOf(bytes: readonly number[], uses: readonly number[]): Program {
  const steps = uses.map((use): Step => (use > 0 ? { kind: "alloc", buffer: use } : { kind: "free", buffer: -use }));
  const input = { name: "x", dtype: "f32", shape: [4], format: null, buffer: 0, mutable: false } as const;
  return {
    version: 1,
    name: "p",
    features: [],
    parameters: [],
    buffers: bytes.map((each, id) => ({ id, bytes: each, role: "temporary" })),
    inputs: [input],
    outputs: [],
    kernels: [],
    steps,
  };
}

test("what lives at once, and what memory that takes", () => {
  assert.equal(memoryOf(programOf([16, 32, 32], [1, -1, 2, -2])), { inputs: 16, live: 32, taken: 32 });
  assert.equal(memoryOf(programOf([16, 32, 48], [1, -1, 2, -2])), { inputs: 16, live: 48, taken: 80 });
  assert.equal(memoryOf(programOf([16, 32, 32], [1, 2, -1, -2])), { inputs: 16, live: 64, taken: 64 });
});

test("memory is taken before it is used first, and free for others only when it has been used last", () => {
  const { graph } = programCase(
    `fn main(x: f32[N]) -> f32[N] {
  let a[n] = sum[m in 0 .. N] x[m] * x[n]
  let b[n] = sum[m in 0 .. N] a[m] * x[n]
  let c[n] = sum[m in 0 .. N] b[m] * a[n]
  return y where y[n] = sum[m in 0 .. N] c[m] * b[n]
}`,
    { N: 70 },
    "chain",
  );
  const { inputs, steps, buffers } = lowerConcrete(graph, targets.baseline).program;
  const held = new Set(inputs.map(({ buffer }) => buffer));
  for (const step of steps) {
    if (step.kind === "alloc") held.add(step.buffer);
    else if (step.kind === "free") held.delete(step.buffer);
    else if (step.kind === "dispatch") for (const buffer of step.buffers) assert.ok(held.has(buffer), `${buffer}`);
  }
  assert.equal(
    buffers.filter(({ id, role }) => role === "temporary" && held.has(id)),
    [],
  );
  assert.is(buffers.filter(({ role }) => role === "temporary").length, 3);
});

const gpu = { ...targets["a GPU with subgroups of 32"], f16: true, maxBinding: 2 ** 32 - 4 };
/** [N, K] of Llama 3.1 8B's linear layers. */
const layers = [
  [4096, 4096],
  [1024, 4096],
  [14336, 4096],
  [4096, 14336],
] as const;
const most = 6e9;

function treatments(steps: readonly RecipeStep[]): readonly Treatment[] {
  return steps.flatMap((step) =>
    step.kind === "blocks"
      ? treatments(step.body)
      : step.kind === "linears"
        ? step.treatments.filter(({ stores }) => stores !== null)
        : [],
  );
}

function bytesOf(graph: SymbolicGraph, sizes: Readonly<Record<string, number>>): number {
  const { inputs, taken } = memoryOf(compileFunction(graph, { sizes }, gpu));
  return inputs + taken;
}

for (const file of ["one-shot.esp", "sparsegpt-gptq.esp", "gptq-int4-ordered.esp"]) {
  test(`${file} takes less than 6 GB for a layer of Llama 3.1 8B`, () => {
    for (const { graph, inputs } of treatments(exampleRecipe(file).recipe.steps)) {
      const { shared, rest } = partsOf(graph, inputs);
      for (const [N, K] of layers) {
        for (const part of [shared!.graph, rest.graph]) {
          const bytes = bytesOf(part, { N, K });
          assert.ok(bytes < most, `${part.name} takes ${(bytes / 1e9).toFixed(2)} GB at N = ${N}, K = ${K}`);
          // what a layer's statistic and weight alone take: less would mean that something is not counted
          assert.ok(bytes > 4 * K * K + (part === rest.graph ? 4 * N * K : 0));
        }
      }
    }
  });
}

test("a layer's error takes two products beside its weights and X^T X", () => {
  const formats = {
    F: { name: "nm", args: { n: 2, m: 4 }, of: { name: "int4", args: { group: 128 }, of: null } },
    O: { name: "f32", args: {}, of: null },
  };
  for (const [N, K] of layers) {
    const { taken } = memoryOf(
      compileFunction(standardLibrary().get("output_error")!, { sizes: { N, K }, formats }, gpu),
    );
    assert.ok(taken <= 2 * 4 * N * K + 1e6, `${taken} bytes at N = ${N}, K = ${K}`);
  }
});

test.run();
