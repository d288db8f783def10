/** Tables of cuts: whichever of its candidates a product or an attention is cut by, it means the same. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, tunables, type Tunable } from "../../../compiler/compile.js";
import { written, type ScheduleChoices } from "../../../compiler/lower/schedules/choices.js";
import type { Target } from "../../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case, type Simulated } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { productCases } from "../../support/products.js";
import { runs } from "../../support/runs.js";
import { simulated } from "../../support/simulated.js";
import { targets } from "../../support/targets.js";
import { libraryCase, stagesOf } from "../support.js";

const test = suite<{ machine: Machine }>("choices of schedules");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu = targets["a GPU with subgroups of 32"];
const matrices: Simulated = {
  target: { ...gpu, name: "matrices", f16: true, matrices: true, maxWorkgroupMemory: 32768 },
  subgroupSize: 32,
};
const devices: readonly Simulated[] = [
  { target: targets.baseline, subgroupSize: 1 },
  { target: gpu, subgroupSize: 32 },
  { target: targets["a CPU driver"], subgroupSize: 4 },
];

const tunablesOf = (given: Case, target: Target): readonly Tunable[] =>
  tunables(lowerConcrete(given.graph, target), target);

/** Tables of one choice each: every cut of every key. */
function tablesOf(found: readonly Tunable[]): readonly ScheduleChoices[] {
  return found.flatMap(({ key, cuts }) => cuts.map((cut) => ({ [key.text]: written(cut) })));
}

const sizes = { B: 1, K: 64, N: 9 };
const formats = { F: "int4(32)" };
const cases: readonly (readonly [string, Case])[] = [
  ["one token", libraryCase("linear", { sizes: { ...sizes, T: 1 }, formats }, "reduction")],
  [
    "five tokens of sparse weights",
    libraryCase("linear", { sizes: { ...sizes, T: 5 }, formats: { F: "nm(2, 4) of f32" } }, "reduction"),
  ],
  ["eighteen tokens", libraryCase("linear", { sizes: { ...sizes, T: 18, N: 17 }, formats }, "reduction")],
  [
    "a pair",
    libraryCase("gated", { sizes: { B: 1, T: 3, D: 32, M: 7 }, formats: { P: "int4(32)", U: "f32" } }, "chain"),
  ],
  ["integers", libraryCase("linear_int8", { sizes: { ...sizes, T: 2, group: 32 }, formats }, "chain")],
  [
    "attention",
    libraryCase("attention", { sizes: { B: 1, T: 2, A: 2, H: 8, C: 300, G: 1 } }, "chain", { positions: [290] }),
  ],
];

for (const [name, given] of cases) {
  test(`${name}: every cut in the kernel evaluator`, () => {
    const expected = expectedOf(given);
    let tried = 0;
    for (const device of devices) {
      const plain = lowerConcrete(given.graph, device.target);
      const found = tunables(plain, device.target);
      for (const { key, cuts } of found) {
        const first = lowerConcrete(given.graph, device.target, { choices: { [key.text]: written(cuts[0]!) } });
        assert.equal(first.program, plain.program, `${device.target.name}: ${key.text}`);
      }
      for (const choices of tablesOf(found)) {
        const stages = agreeSimulated(given, expected, device, { choices });
        if (JSON.stringify(stages.program) !== JSON.stringify(plain.program)) tried++;
      }
    }
    assert.ok(tried >= 4, `${tried} programs differ from what is taken by itself`);
  });
}

test("by matrices: every cut in the kernel evaluator", () => {
  const given = libraryCase("linear", { sizes: { ...sizes, T: 17, K: 32, N: 242 }, formats, dtype: "f16" }, "half");
  const expected = expectedOf(given);
  const tables = tablesOf(tunablesOf(given, matrices.target));
  assert.ok(tables.length > 2);
  for (const choices of tables) agreeSimulated(given, expected, matrices, { choices });
});

test("any product by any of its cuts", () => {
  fc.assert(
    fc.property(productCases(), fc.nat(), (given, turn) => {
      const device = simulated[turn % simulated.length]!;
      const tables = tablesOf(tunablesOf(given, device.target));
      const choices = tables[turn % Math.max(1, tables.length)];
      if (choices !== undefined) agreeSimulated(given, expectedOf(given), device, { choices });
    }),
    runs(30),
  );
});

test("on the device, some cut of each", async ({ machine }) => {
  for (const [at, [, given]] of cases.slice(0, 5).entries()) {
    const tables = tablesOf(tunablesOf(given, machine.target));
    await agreeOnDevice(given, expectedOf(given), machine, { choices: tables[(1 + 2 * at) % tables.length]! });
  }
});

test("what is none of the candidates is left", () => {
  const bound = { sizes: { B: 1, T: 1, K: 4096, N: 4096 }, formats: { F: "int4(128)" } };
  const plain = stagesOf("linear", bound, gpu);
  const [found] = tunables(plain, gpu);
  const { text } = found!.key;
  const cut = written(found!.cuts[1]!);
  assert.not.equal(stagesOf("linear", bound, gpu, { choices: { [text]: cut } }).program, plain.program);
  const spoilt: readonly unknown[] = [
    { ...cut, teams: 3 },
    { ...cut, rows: 1e9 },
    { ...cut, lanes: "32" },
    { ...cut, kind: "matrix" },
    { kind: cut.kind },
    { ...cut, unroll: [1] },
    [],
    "matvec",
    7,
    null,
  ];
  for (const choice of spoilt) {
    const choices = { [text]: choice } as ScheduleChoices;
    assert.equal(stagesOf("linear", bound, gpu, { choices }).program, plain.program, JSON.stringify(choice));
  }
  // a product of other sizes has another key
  const other = stagesOf("linear", { ...bound, sizes: { ...bound.sizes, N: 1024 } }, gpu);
  assert.equal(
    stagesOf("linear", { ...bound, sizes: { ...bound.sizes, N: 1024 } }, gpu, { choices: { [text]: cut } }).program,
    other.program,
  );
});

test.run();
