/** Products of n:m weights whose activations are looked up, by every cut, at awkward sizes. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binary, buildGraph, cast, indexOf, integer, load, reduce } from "../../../compiler/graph/build.js";
import { lowerConcrete } from "../../../compiler/compile.js";
import { tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import { formatOfSpec } from "../../../compiler/formats/registry.js";
import { productOf } from "../../../compiler/graph/analysis/product.js";
import { roundF16 } from "../../../compiler/float.js";
import { lookupCuts, type LookupSchedule } from "../../../compiler/lower/schedules/lookup-candidates.js";
import type { Target } from "../../../compiler/target.js";
import type { Concrete } from "../../../compiler/types/type.js";
import {
  agreeOnDevice,
  agreeSimulated,
  expectedOf,
  schedulesOf,
  type Case,
  type Simulated,
} from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { packed } from "../../support/packed.js";
import { runs } from "../../support/runs.js";
import { simulated, simulatedHalf } from "../../support/simulated.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";

const test = suite<{ machine: Machine }>("products that look activations up");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

interface Shape {
  readonly tokens: number;
  readonly n: number;
  readonly k: number;
  readonly format: string;
  readonly dtype: "f32" | "f16";
  /** A second product of the same activations, and its format. */
  readonly pair?: string;
  /** Something that the activations are multiplied by on the way. */
  readonly scaled?: boolean;
}

function caseOf({ tokens, n, k, format, dtype, pair, scaled = false }: Shape): Case {
  const build = buildGraph<Concrete>("lookup");
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  const weight = (name: string, text: string, seed: number) => {
    const made = packed(text, n, k, seed);
    words.set(name, made.words);
    inputs.set(name, tensorValue("f32", [n, k], made.dense));
    return build.input(name, "f32", [n, k], { format: made.spec });
  };
  const values = Float32Array.from({ length: tokens * k }, (_, at) => roundF16(Math.sin(at * 12.9898 + 4.1)));
  inputs.set("x", tensorValue(dtype, [tokens, k], values));
  const x = build.input("x", dtype, [tokens, k]);
  const gain = scaled ? build.input("gain", "f32", [k]) : null;
  if (gain !== null)
    inputs.set(
      "gain",
      tensorValue(
        "f32",
        [k],
        Float32Array.from({ length: k }, (_, at) => 1 + at / k),
      ),
    );
  const weights = [weight("w", format, 5), ...(pair === undefined ? [] : [weight("u", pair, 6)])];
  const y = build.map("y", [tokens, n], (t, row) => {
    const sums = weights.map((w) => {
      const over = build.range("k", 0, integer(k));
      const one = cast(load(x, [t, indexOf(over)]), "f32");
      const left = gain === null ? one : binary("multiply", one, load(gain, [indexOf(over)]));
      return reduce("sum", [over], binary("multiply", left, load(w, [row, indexOf(over)])));
    });
    return binary(
      "add",
      sums.reduce((a, b) => binary("multiply", a, b)),
      cast(row, "f32"),
    );
  });
  build.output("y", y);
  return { graph: build.graph(), inputs, words, kind: "reduction" };
}

const gpus = simulated.filter(({ target }) => target.kind === "gpu");
/** GPUs that compute in f16, with subgroups of 32 and of others. */
const halves: readonly Simulated[] = [
  simulatedHalf,
  ...[8, 16].map((size) => ({
    target: { ...simulatedHalf.target, name: `f16, subgroups of ${size}`, subgroups: { min: size, max: size } },
    subgroupSize: size,
  })),
];

/** The cuts that are offered for a case on a target, and awkward ones: few teams, turns, rows, chunks, memories. */
function cutsOf(given: Case, target: Target): readonly LookupSchedule[] {
  const product = productOf(given.graph, given.graph.eqns[0]!);
  const offered = product === null ? [] : lookupCuts({ graph: given.graph, target }, product);
  const [first] = offered;
  if (first === undefined) return [];
  const small = { ...first, teams: Math.min(2, first.teams), workgroups: 3 };
  const all = Math.ceil(product!.terms[0]!.rows!.shape.columns / product!.terms[0]!.rows!.unit!.columns / first.lanes);
  const elements = [...new Set(offered.map(({ element }) => element))];
  return [
    first,
    ...elements.flatMap((element) => [
      { ...small, element, rows: 3, carried: 0 },
      { ...small, element, carried: 1 },
      { ...small, element, carried: 2, rows: 2 },
      { ...small, element, slots: 1, memories: 1, carried: 1 },
      { ...small, element, slots: 1, memories: 2, carried: 1 },
      { ...small, element, slots: 2, memories: 2, carried: 2, workgroups: 2 },
      { ...small, element, slots: 2, memories: Math.ceil(all / 2), carried: 2 },
      { ...small, element, slots: 1, memories: all, carried: 1, rows: 2 },
    ]),
  ];
}

const formats = [
  "nm(2, 4) of f16",
  "nm(2, 4) of f32",
  "nm(2, 4) of bf16",
  "nm(1, 4) of f16",
  "nm(4, 8) of f16",
  "nm(2, 4) of int4(64)",
  "nm(2, 4) of int4(32, asymmetric)",
  "nm(2, 4) of int8(channel)",
  "nm(3, 4) of f16",
  "nm(8, 16) of int4(64)",
  "nm(2, 4, positions: together) of int3(64)",
] as const;

for (const format of formats) {
  test(`${format} in the kernel evaluator, by each cut`, () => {
    const shapes: readonly Shape[] = [
      { tokens: 1, n: 13, k: 448, format, dtype: "f16" },
      { tokens: 2, n: 5, k: 192, format, dtype: "f32", pair: format },
      { tokens: 3, n: 7, k: 320, format, dtype: "f16", pair: "nm(2, 4) of f16", scaled: true },
    ];
    for (const shape of shapes) {
      const given = caseOf(shape);
      const expected = expectedOf(given);
      for (const device of shape.dtype === "f16" ? halves : gpus)
        for (const schedule of cutsOf(given, device.target))
          assert.equal(
            schedulesOf(agreeSimulated(given, expected, device, { schedule })),
            ["lookup"],
            JSON.stringify(schedule),
          );
    }
  });
}

test("the cut that is taken for rows of real lengths", () => {
  const target = { ...targets["a GPU with subgroups of 32"], f16: true, maxWorkgroupMemory: 49152 };
  for (const [k, dtype, chunks] of [
    [14336, "f16", 1],
    [14336, "f32", 3],
    [4096, "f16", 1],
  ] as const) {
    const given = caseOf({ tokens: 1, n: 6, k, format: "nm(2, 4) of f16", dtype });
    const [schedule] = cutsOf(given, target);
    assert.is(Math.ceil(k / 512 / schedule!.slots), chunks, `${k} ${dtype}`);
    const device = { target, subgroupSize: 32 };
    assert.equal(schedulesOf(agreeSimulated(given, expectedOf(given), device, { schedule: schedule! })), ["lookup"]);
  }
});

test("a token of many weights looks its activations up by itself; fewer weights, more tokens do not", () => {
  const target = { ...targets["a GPU with subgroups of 32"], f16: true };
  const taken = (shape: Shape): readonly string[] =>
    schedulesOf(agreeSimulated(caseOf(shape), expectedOf(caseOf(shape)), { target, subgroupSize: 32 }));
  const large = { n: 1024, k: 1024, format: "nm(2, 4) of f16", dtype: "f16" } as const;
  assert.equal(taken({ ...large, tokens: 1 }), ["lookup"]);
  assert.not.equal(taken({ ...large, tokens: 1, n: 512 }), ["lookup"]);
});

test("any cut of any such weights means the same", () => {
  const some = fc.record({
    format: fc.constantFrom(...formats),
    other: fc.constantFrom(undefined, ...formats),
    dtype: fc.constantFrom<"f32" | "f16">("f32", "f16"),
    device: fc.constantFrom(...halves),
    tokens: fc.integer({ min: 1, max: 4 }),
    n: fc.integer({ min: 1, max: 40 }),
    k: fc.integer({ min: 1, max: 9 }).map((times) => 64 * times),
    lanes: fc.constantFrom(1, 2, 4, 8, 32),
    teams: fc.integer({ min: 1, max: 5 }),
    rows: fc.integer({ min: 1, max: 3 }),
    workgroups: fc.integer({ min: 1, max: 6 }),
    slots: fc.integer({ min: 1, max: 5 }),
    memories: fc.integer({ min: 1, max: 4 }),
    carried: fc.integer({ min: 0, max: 4 }),
    element: fc.constantFrom<"f32" | "f16">("f32", "f16"),
  });
  let looked = 0;
  fc.assert(
    fc.property(some, ({ format, other, dtype, device, tokens, n, k, element, ...cut }) => {
      const pair = other === undefined || !sameUnits(format, other, k) ? {} : { pair: other };
      const given = caseOf({ tokens, n, k, format, dtype, ...pair });
      const schedule: LookupSchedule = {
        kind: "lookup",
        ...cut,
        lanes: Math.min(cut.lanes, device.subgroupSize),
        element: dtype === "f16" ? element : "f32",
      };
      // what has no room in workgroup memory is computed otherwise
      if (schedulesOf(agreeSimulated(given, expectedOf(given), device, { schedule }))[0] === "lookup") looked += 1;
    }),
    runs(40),
  );
  assert.ok(looked > 20, `${looked} of them`);
});

/** Whether rows of both formats are read in units of as many columns. */
function sameUnits(a: string, b: string, k: number): boolean {
  const [first, second] = [a, b].map((text) => {
    const { spec } = packed(text, 1, k, 1);
    return formatOfSpec(spec).unit(spec, { rows: 1, columns: k })?.columns;
  });
  return first !== undefined && first === second;
}

test("positions that no file should have read within the unit", () => {
  const device = simulatedHalf;
  for (const format of ["nm(2, 4, positions: together) of int3(64)", "nm(2, 4) of f16", "nm(8, 16) of int4(64)"]) {
    const given = caseOf({ tokens: 1, n: 4, k: 192, format, dtype: "f16" });
    const words = new Map([...given.words!].map(([name, all]) => [name, Uint32Array.from(all, () => 0x3bff3bff)]));
    for (const schedule of cutsOf(given, device.target)) {
      const stages = lowerConcrete(given.graph, device.target, { schedule });
      assert.equal(schedulesOf(stages), ["lookup"]);
      // the evaluator of kernels refuses what is outside of an array
      evaluateStages(stages, expectedOf(given).inputs, words, device.subgroupSize);
    }
  }
});

test("on the device, where it has what it takes", async ({ machine }) => {
  for (const shape of [
    { tokens: 1, n: 33, k: 448, format: "nm(2, 4) of f16", dtype: "f32", pair: "nm(2, 4) of f16" },
    { tokens: 2, n: 9, k: 192, format: "nm(2, 4) of int4(64)", dtype: "f32" },
  ] as const) {
    const given = caseOf(shape);
    await agreeOnDevice(given, expectedOf(given), machine, { schedule: "lookup" });
  }
});

test.run();
