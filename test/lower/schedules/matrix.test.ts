/**
 * Products by the matrices of subgroups: at awkward sizes against the evaluator, and taken only where they are exact.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../../compiler/compile.js";
import type { MatrixTile } from "../../../compiler/lower/schedules/matrix-tile.js";
import type { Target } from "../../../compiler/target.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { standardLibrary } from "../../../runtime/library.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case, type Simulated } from "../../support/agreement.js";
import { fiveEquations } from "../../support/five-equations.js";
import { evaluateStages } from "../../support/stages.js";
import { formatFault, numbers, weightFormats } from "../../support/packed.js";
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

const tile = (
  tokens: number,
  rows: number,
  subgroups: MatrixTile["subgroups"],
  slice: number,
  ahead: MatrixTile["ahead"] = 0,
  parts = 1,
): MatrixTile => ({ kind: "matrix", tokens, rows, subgroups, slice, ahead, parts });

for (const format of weightFormats) {
  test(`weights in ${format} are rounded to f16 on the way`, () => {
    const text = format.replace("bitmask", "bitmask(nonzeros: 2500)");
    const K = formatFault(text, 18, 192) === null ? 192 : 256;
    const given = libraryCase("linear", half({ B: 1, T: 9, K, N: 18 }, { F: text }), "half");
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: tile(16, 16, [1, 1, 2], 128, 2) });
    // what is written in f32 stays f32, and positions of three bits have no units in groups of 32
    const left = format.endsWith("f32") || format === "nm(4, 8) of int4(32)";
    assert.equal(schedulesOf(stages), [left ? "loops" : "matrix"]);
  });
}

test("a weight that is rounded adds 2^-11 of each term, and no more", () => {
  for (const format of ["bf16", "int4(32)", "nm(2, 4) of int4(32)", "q8_0"]) {
    const [T, K, N] = [4, 128, 16];
    const given = libraryCase("linear", half({ B: 1, T, K, N }, { F: format }), "half");
    const stages = lowerConcrete(given.graph, gpu, { schedule: "matrix" });
    assert.equal(schedulesOf(stages), ["matrix"]);
    const found = evaluateStages(stages, given.inputs, given.words, 32).get("y")!.data;
    const [x, w] = [given.inputs.get("x")!.data, given.inputs.get("w")!.data];
    for (let at = 0; at < T * N; at++) {
      const terms = Array.from({ length: K }, (_, k) => x[Math.floor(at / N) * K + k]! * w[(at % N) * K + k]!);
      const size = terms.reduce((sum, term) => sum + Math.abs(term), 0);
      const exact = terms.reduce((sum, term) => sum + term, 0);
      // weights, sums in f32, and the result in f16
      const bound = size * (2 ** -11 + K * 2 ** -24) + Math.abs(exact) * 2 ** -11 + 2 ** -24;
      assert.ok(Math.abs(found[at]! - exact) <= bound, `${format}: ${found[at]} for ${exact}, allowed ${bound}`);
    }
  }
});

test("two packed sides of a pair, and tiles of every shape", () => {
  const formats = { P: "nm(2, 4) of int4(32)", U: "bf16" };
  const given = libraryCase("gated", half({ B: 1, T: 17, D: 160, M: 18 }, formats), "half");
  for (const schedule of [
    tile(16, 16, [1, 1, 4], 128),
    tile(32, 32, [2, 1, 2], 64, 2),
    tile(64, 32, [2, 2, 1], 64),
    tile(32, 16, [1, 1, 4], 64, 1),
  ]) {
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
    assert.equal(schedulesOf(stages), ["matrix"], JSON.stringify(schedule));
  }
});

test("slices on their way in registers, and columns that workgroups divide", () => {
  const sizes = { B: 1, T: 17, K: 320, N: 34 };
  for (const F of ["f16", "int4(32)", "nm(2, 4) of int4(64)", "nm(2, 4) of f16"]) {
    const given = libraryCase("add_linear", half(sizes, { F }), "half");
    const expected = expectedOf(given);
    for (const schedule of [
      tile(16, 32, [1, 2, 1], 64, 3),
      tile(16, 16, [1, 1, 2], 64, 4),
      tile(32, 16, [1, 1, 1], 128, 0, 2),
      tile(16, 16, [1, 1, 4], 64, 3, 3),
      tile(16, 16, [1, 1, 1], 64, 4, 5),
    ]) {
      const stages = agreeSimulated(given, expected, simulated, { schedule });
      const kernels = schedule.parts === 1 ? ["matrix"] : ["matrix", "matrix"];
      assert.equal(schedulesOf(stages), kernels, `${F} ${JSON.stringify(schedule)}`);
    }
    // a part without a slice would have no columns
    const tooMany = agreeSimulated(given, expected, simulated, { schedule: tile(16, 16, [1, 1, 1], 64, 3, 6) });
    assert.equal(schedulesOf(tooMany), ["loops"]);
  }
  const pair = libraryCase("gated", half({ B: 1, T: 9, D: 256, M: 18 }, { P: "int4(32)", U: "int4(64)" }), "half");
  const stages = agreeSimulated(pair, expectedOf(pair), simulated, { schedule: tile(16, 16, [1, 1, 2], 64, 3, 2) });
  assert.equal(schedulesOf(stages), ["matrix", "matrix"]);
});

test("words of a trip of columns, unpacked a slice at a time", () => {
  const trips = (of: MatrixTile, trip: number, left?: "memory"): MatrixTile => ({
    ...of,
    trip,
    ...(left === undefined ? {} : { left }),
  });
  const schedules = [
    trips(tile(16, 16, [1, 1, 2], 32), 128),
    trips(tile(16, 32, [1, 2, 2], 64, 3), 256),
    trips(tile(32, 16, [2, 1, 1], 64, 2), 128),
    trips(tile(16, 16, [1, 1, 4], 64, 2, 2), 128),
  ];
  const inMemory = [
    trips(tile(32, 16, [1, 1, 2], 32, 3), 128, "memory"),
    { ...trips(tile(16, 32, [1, 1, 4], 64, 2), 256, "memory"), strip: "narrow" as const },
    trips(tile(32, 32, [2, 2, 1], 64, 0, 2), 128, "memory"),
  ];
  for (const F of ["int4(32)", "nm(2, 4) of int4(64)", "q4_0", "nm(2, 4) of f16", "bf16"]) {
    for (const T of [17, 48]) {
      const given = libraryCase("add_linear", half({ B: 1, T, K: T === 17 ? 320 : 256, N: 34 }, { F }), "half");
      const expected = expectedOf(given);
      const all = T === 17 ? schedules : inMemory;
      for (const schedule of F.includes("int4(") ? all : all.slice(1, 2)) {
        const stages = agreeSimulated(given, expected, simulated, { schedule });
        const kernels = schedule.parts === 1 ? ["matrix"] : ["matrix", "matrix"];
        assert.equal(schedulesOf(stages), kernels, `${F} ${JSON.stringify(schedule)}`);
      }
    }
    // tokens that fill no matrix, and columns that fill no trip, cannot be read as they lie
    for (const sizes of [
      { B: 1, T: 17, K: 256, N: 34 },
      { B: 1, T: 48, K: 320, N: 34 },
    ]) {
      const few = stagesOf("linear", half(sizes, { F }), gpu, { schedule: inMemory[0]! });
      assert.equal(schedulesOf(few), ["loops"]);
    }
  }
  const pair = libraryCase("gated", half({ B: 1, T: 32, D: 256, M: 18 }, { P: "int4(32)", U: "int4(64)" }), "half");
  for (const schedule of [schedules[1]!, inMemory[0]!]) {
    const stages = agreeSimulated(pair, expectedOf(pair), simulated, { schedule });
    assert.equal(schedulesOf(stages), ["matrix"]);
  }
});

test("activations as they lie, beside weights that are staged", () => {
  for (const F of ["f16", "bf16", "q4_0"]) {
    const given = libraryCase("add_linear", half({ B: 1, T: 48, K: 192, N: 34 }, { F }), "half");
    const expected = expectedOf(given);
    for (const of of [tile(32, 32, [2, 1, 2], 64), tile(16, 32, [1, 2, 2], 32, 3), tile(64, 16, [2, 1, 1], 32, 1)]) {
      const stages = agreeSimulated(given, expected, simulated, { schedule: { ...of, left: "memory" } });
      assert.equal(schedulesOf(stages), ["matrix"], `${F} ${JSON.stringify(of)}`);
    }
  }
});

test("for very many tokens packed weights are decoded to f16 once", () => {
  for (const F of [
    "int4(32)",
    "int8(16, asymmetric)",
    "nm(2, 4) of int4(64)",
    "nm(2, 4) of f16",
    "q4_0",
    "nm(2, 4) of f32",
  ]) {
    const left = F.endsWith("f32");
    // of 64 rows neighbours can swap what they store
    const N = F === "nm(2, 4) of int4(64)" ? 64 : 3;
    const given = libraryCase("linear", half({ B: 2, T: 512, K: 64, N }, { F }), "half");
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule: "unpacked" });
    assert.equal(schedulesOf(stages), left ? ["loops"] : ["unpacked", "loops"], F);
  }
  const pair = { P: "int4(32)", U: "nm(2, 4) of int4(64)" };
  const sizes = { B: 1, T: 512, D: 4096, M: 256 };
  const taken = (more: Partial<Bound>): readonly string[] =>
    schedulesOf(stagesOf("gated", { ...half(sizes, pair), ...more }, gpu));
  // both weights are decoded by one dispatch
  assert.equal(taken({}), ["unpacked", "matrix"]);
  // few elements go one by one
  assert.equal(taken({ sizes: { ...sizes, M: 128 } }), ["loops", "matrix"]);
  assert.equal(taken({ sizes: { ...sizes, T: 511 } }), ["matrix"]);
  assert.equal(taken({ formats: { P: "bf16", U: "int4(32)" } }), ["matrix"]);
  assert.equal(taken({ dtype: "f32" }).includes("unpacked"), false);
});

const inVectors = (of: MatrixTile): MatrixTile => ({ ...of, store: "vectors" });
const sums: readonly (readonly [number, number, "matrix" | MatrixTile])[] = [
  [35, 136, "matrix"],
  [35, 136, inVectors(tile(32, 32, [1, 2, 2], 64))],
  [32, 64, inVectors(tile(32, 32, [2, 1, 2], 32))],
  [32, 64, inVectors(tile(32, 32, [1, 1, 1], 16))],
];
for (const [T, K, schedule] of sums)
  test(`a symmetric sum is added to a total that need not be, ${T} x ${K}, ${JSON.stringify(schedule)}`, () => {
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
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
    assert.equal(schedulesOf(stages), ["matrix"]);
    assert.is(stages.program.buffers.length, 2, "no tensor is made on the way");
  });

test("results are stored in vectors, f16 too, or one by one where they do not lie so", () => {
  for (const [name, bound, vectors] of [
    ["add_linear", half({ B: 1, T: 40, K: 32, N: 64 }, { F: "f16" }), true],
    ["linear", half({ B: 2, T: 33, K: 64, N: 36 }, { F: "f16" }), true],
    ["gated", half({ B: 1, T: 32, D: 32, M: 64 }, { P: "f16", U: "f16" }), true],
    ["linear", half({ B: 1, T: 33, K: 64, N: 34 }, { F: "f16" }), false],
  ] as const) {
    const given = libraryCase(name, bound, "half");
    const schedule = inVectors(tile(32, 32, [2, 1, 1], 32));
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
    assert.equal(schedulesOf(stages), ["matrix"]);
    const written = stages.kernels.flat()[0]!.buffers.find(({ access }) => access === "read_write");
    assert.is(written?.element, vectors ? "vec4<f16>" : "f16", `${name} ${JSON.stringify(bound.sizes)}`);
  }
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
    // also where slices are on their way that lie past that end
    for (const schedule of ["matrix", tile(16, 16, [1, 1, 1], 16, 1), tile(16, 16, [1, 1, 1], 16, 2)] as const) {
      const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
      assert.is(taken(stages)[3], "mixed matrix");
    }
  }
});

test("large products take them, where both sides are f16 and the device can", () => {
  const large = half({ B: 1, T: 2048, K: 4096, N: 4096 }, { F: "f16" });
  assert.equal(taken(stagesOf("linear", large, gpu)), ["y matrix"]);
  assert.equal(taken(stagesOf("gram", half({ T: 2048, K: 14336 }), gpu)), ["h matrix"]);
  assert.equal(taken(stagesOf("gated", half({ B: 1, T: 2048, D: 4096, M: 14336 }, { P: "f16", U: "f16" }), gpu)), [
    "h matrix",
  ]);
  // activations and weights of f32 stay so; others may be rounded to f16, once the activations are
  assert.equal(taken(stagesOf("linear", { ...large, dtype: "f32" }, gpu)), ["y tiled"]);
  assert.equal(taken(stagesOf("linear", { ...large, formats: { F: "f32" } }, gpu)), ["y tiled"]);
  assert.equal(taken(stagesOf("linear", { ...large, formats: { F: "nm(2, 4) of f32" } }, gpu)), ["y tiled"]);
  for (const F of ["bf16", "int4(128)", "nm(2, 4) of int4(128)", "q4_0"])
    assert.equal(
      taken(stagesOf("linear", { ...large, formats: { F } }, gpu)),
      F === "bf16" ? ["y matrix"] : ["w_dense unpacked", "y matrix"],
    );
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
