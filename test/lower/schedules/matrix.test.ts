/**
 * Products by the matrices of subgroups: at awkward sizes against the evaluator, and taken only where they are exact.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../../compiler/target.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { standardLibrary } from "../../../runtime/library.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case, type Simulated } from "../../support/agreement.js";
import { fiveEquations } from "../../support/five-equations.js";
import { numbers } from "../../support/packed.js";
import { targets } from "../../support/targets.js";
import { programCase } from "../language.js";
import { libraryCase, stagesOf, taken, type Bound } from "../support.js";

const test = suite("products by matrices");

const gpu: Target = {
  ...targets["a GPU with subgroups of 32"],
  name: "matrices",
  f16: true,
  matrices: true,
  maxBinding: 2 ** 31 - 4,
};
const simulated: Simulated = { target: gpu, subgroupSize: 32 };
const half = (sizes: Bound["sizes"], formats: Bound["formats"] = {}): Bound => ({ sizes, formats, dtype: "f16" });

const cases: readonly (readonly [string, Bound])[] = [
  ["linear", half({ B: 1, T: 33, K: 40, N: 34 }, { F: "f16" })],
  ["linear", half({ B: 2, T: 17, K: 96, N: 65 }, { F: "f16" })],
  ["add_linear", half({ B: 1, T: 64, K: 32, N: 128 }, { F: "f16" })],
  ["gated", half({ B: 1, T: 40, D: 72, M: 33 }, { P: "f16", U: "f16" })],
  ["gram", half({ T: 33, K: 72 })],
  ["gram", half({ T: 5, K: 136 })],
];

for (const [name, bound] of cases) {
  test(`${name} ${JSON.stringify(bound.sizes)}`, () => {
    const given = libraryCase(name, bound, "half");
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: "matrix" });
    assert.equal(schedulesOf(stages), ["matrix"]);
  });
}

test("a symmetric sum is added to a total that need not be", () => {
  const [T, K] = [35, 136];
  const symbolic = accumulating(standardLibrary().get("gram")!);
  const bound = specialize(
    symbolic,
    {
      sizes: new Map([
        ["T", T],
        ["K", K],
      ]),
      dtypes: new Map([["E", "f16" as const]]),
      formats: new Map(),
    },
    { f16: true },
  );
  if (!("graph" in bound)) throw new Error("gram cannot be bound");
  const given: Case = {
    graph: bound.graph,
    kind: "half",
    inputs: new Map([
      ["x", tensorValue("f16", [T, K], numbers(T * K, 1))],
      [totalName, tensorValue("f32", [K, K], numbers(K * K, 2))],
    ]),
  };
  const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: "matrix" });
  assert.equal(schedulesOf(stages), ["matrix"]);
  assert.is(stages.program.buffers.length, 2, "no tensor is made on the way");
});

test("heads are a batch, and several axes of tokens one", () => {
  const sizes = { B: 2, T: 9, A: 4, H: 8, C: 16, G: 2 };
  const given = programCase(fiveEquations, sizes, "half", { positions: [3, 0] }, true);
  const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: "matrix" });
  assert.equal(taken(stages), ["score matrix", "weight loops", "total loops", "mixed matrix", "y loops"]);
});

test("a sum ends where its token's range does", () => {
  for (const [T, C] of [
    [40, 48],
    [70, 136],
  ] as const) {
    const sizes = { B: 2, T, A: 2, H: 16, C, G: 1 };
    const given = programCase(fiveEquations, sizes, "half", { positions: [C - T, 1] }, true);
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: "matrix" });
    assert.is(taken(stages)[3], "mixed matrix");
  }
});

test("large products take them, where both sides are f16 and the device can", () => {
  const large = half({ B: 1, T: 2048, K: 4096, N: 4096 }, { F: "f16" });
  assert.equal(taken(stagesOf("linear", large, gpu)), ["y matrix"]);
  assert.equal(taken(stagesOf("gram", half({ T: 2048, K: 14336 }), gpu)), ["h matrix"]);
  assert.equal(taken(stagesOf("gated", half({ B: 1, T: 2048, D: 4096, M: 14336 }, { P: "f16", U: "f16" }), gpu)), [
    "h matrix",
  ]);
  // a product of other numbers is not exact in f16
  assert.equal(taken(stagesOf("linear", { ...large, dtype: "f32" }, gpu)), ["y tiled"]);
  assert.equal(taken(stagesOf("linear", { ...large, formats: { F: "bf16" } }, gpu)), ["y tiled"]);
  assert.equal(taken(stagesOf("linear", { ...large, formats: { F: "int4(128)" } }, gpu)), ["y tiled"]);
  assert.equal(taken(stagesOf("linear", large, { ...gpu, matrices: false })), ["y tiled"]);
  // few tokens are bound by memory
  assert.equal(taken(stagesOf("linear", half({ B: 1, T: 1, K: 4096, N: 4096 }, { F: "f16" }), gpu)), ["y matvec"]);
});

test("tiles above the diagonal of a symmetric product are left out", () => {
  const [kernel] = stagesOf("gram", half({ T: 256, K: 4096 }), gpu).kernels.flat();
  const [kernelOfAll] = stagesOf("linear", half({ B: 1, T: 4096, K: 256, N: 4096 }, { F: "f16" }), gpu).kernels.flat();
  const skips = (body: unknown): boolean => JSON.stringify(body).includes('"op":"less_equal"');
  assert.ok(skips(kernel!.body));
  assert.not.ok(skips(kernelOfAll!.body));
});

test.run();
