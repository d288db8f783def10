/** Products of integers, by every cut, at awkward sizes: activations packed as int8, weights of every integer format. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binary, buildGraph, cast, indexOf, integer, load, reduce } from "../../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import { formatOfSpec } from "../../../compiler/formats/registry.js";
import { productOf } from "../../../compiler/graph/analysis/product.js";
import { dotSides } from "../../../compiler/lower/product/dot-sides.js";
import { dotCandidates, type DotSchedule } from "../../../compiler/lower/schedules/dot-candidates.js";
import type { Target } from "../../../compiler/target.js";
import type { Concrete } from "../../../compiler/types/type.js";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Case } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { packed } from "../../support/packed.js";
import { simulated } from "../../support/simulated.js";

const test = suite<{ machine: Machine }>("products of integers");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

interface Shape {
  readonly tokens: number;
  readonly n: number;
  readonly k: number;
  readonly format: string;
  /** Columns that share a scale of the activations. */
  readonly group: number;
  /** A second product of the same activations, and what becomes of the two. */
  readonly pair: boolean;
}

function caseOf({ tokens, n, k, format, group, pair }: Shape): Case {
  const build = buildGraph<Concrete>("dot");
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  const input = (name: string, text: string, rows: number, seed: number) => {
    const made = packed(text, rows, k, seed);
    words.set(name, made.words);
    inputs.set(name, tensorValue("f32", [rows, k], made.dense));
    return build.input(name, "f32", [rows, k], { format: made.spec });
  };
  const x = input("x", `int8(${group}, scale: f32)`, tokens, 3);
  const weights = ["w", "u"].slice(0, pair ? 2 : 1).map((name, at) => input(name, format, n, 5 + at));
  const y = build.map("y", [tokens, n], (t, row) => {
    const sums = weights.map((w) => {
      const over = build.range("k", 0, integer(k));
      return reduce("sum", [over], binary("multiply", load(x, [t, indexOf(over)]), load(w, [row, indexOf(over)])));
    });
    const all = sums.reduce((a, b) => binary("multiply", a, b));
    return binary("add", all, cast(row, "f32"));
  });
  build.output("y", y);
  return { graph: build.graph(), inputs, words, kind: "reduction" };
}

/** The cut that is taken for a case on a target, and others that are awkward: several turns, rows and chunks. */
function cutsOf(given: Case, target: Target): readonly DotSchedule[] {
  const product = productOf(given.graph, given.graph.eqns[0]!);
  const sides = product === null ? null : dotSides(product, target);
  if (product === null || sides === null) return [];
  const [first] = dotCandidates(product, sides, target);
  if (first === undefined) return [];
  const inMemory = first.keeps === "lanes" ? "workgroup" : first.keeps;
  const small = { ...first, teams: Math.min(2, first.teams), workgroups: 3 };
  return [
    first,
    { ...small, rows: 3, early: 0, ahead: 2 },
    { ...small, ahead: 0 },
    { ...small, slots: 1, workgroups: 8, keeps: inMemory },
    ...(sides.units <= first.lanes
      ? []
      : ([0, 2] as const).map((ahead) => ({
          ...small,
          rows: 2,
          slots: 1,
          memories: 2 as const,
          ahead,
          keeps: inMemory,
        }))),
    ...(sides.layout.dense
      ? []
      : [
          { ...small, keeps: "workgroup" as const },
          { ...small, keeps: "table" as const },
          { ...small, keeps: "table_by_dots" as const },
        ]),
  ];
}

const formats = [
  "int4(32)",
  "int4(channel)",
  "int4(32, asymmetric)",
  "int4(32, asymmetric, scale: int8)",
  "int8(16)",
  "int8(channel, asymmetric)",
  "nm(2, 4) of int4(64)",
  "nm(2, 4) of int4(64, scale: int8)",
  "nm(2, 4) of int4(32, asymmetric)",
  "nm(2, 4) of int8(channel)",
  "nm(2, 4) of int8(32, asymmetric)",
  "q4_0",
  "q8_0",
] as const;

for (const format of formats) {
  test(`${format} in the kernel evaluator, by each cut`, () => {
    const shapes: readonly Shape[] = [
      { tokens: 1, n: 7, k: 192, format, group: 64, pair: false },
      { tokens: 3, n: 5, k: 64, format, group: 64, pair: true },
    ];
    for (const [turn, shape] of shapes.entries()) {
      const given = caseOf(shape);
      const expected = expectedOf(given);
      for (const device of simulated.filter((_, at) => at % 3 === turn)) {
        const cuts = cutsOf(given, device.target);
        const fixed = device.target.subgroups !== null && device.target.subgroups.min === device.target.subgroups.max;
        assert.is(cuts.length > 0, fixed, device.target.name);
        for (const schedule of cuts)
          assert.equal(
            schedulesOf(agreeSimulated(given, expected, device, { schedule })),
            ["dot"],
            JSON.stringify(schedule),
          );
      }
    }
  });

  test(`${format} on the device`, async ({ machine }) => {
    for (const shape of [
      { tokens: 1, n: 33, k: 256, format, group: 64, pair: true },
      { tokens: 3, n: 9, k: 192, format, group: 64, pair: false },
    ]) {
      const given = caseOf(shape);
      assert.equal(schedulesOf(await agreeOnDevice(given, expectedOf(given), machine)), ["dot"]);
    }
  });
}

test("codes and activations at the ends of their ranges", async ({ machine }) => {
  const shape = { tokens: 1, n: 6, k: 128, format: "nm(2, 4) of int4(64)", group: 64, pair: false } as const;
  const given = caseOf(shape);
  const words = new Map(given.words);
  const inputs = new Map(given.inputs);
  const put = (
    name: string,
    format: string,
    rows: number,
    scale: number,
    value: (row: number, at: number) => number,
  ) => {
    const { spec } = packed(format, rows, shape.k, 1);
    const size = { rows, columns: shape.k };
    const dense = Float32Array.from({ length: rows * shape.k }, (_, at) =>
      value(Math.floor(at / shape.k), at % shape.k),
    );
    const scales = new Float32Array((rows * shape.k) / 64).fill(scale);
    const made = formatOfSpec(spec).encode(spec, size, dense, { scale: scales, zero: null });
    words.set(name, made);
    inputs.set(name, tensorValue("f32", [rows, shape.k], formatOfSpec(spec).decode(spec, size, made)));
  };
  // each of the six pairs of places has a row
  const places = ["0011", "0101", "1001", "0110", "1010", "1100"];
  for (const [activation, code] of [
    [127, -8],
    [-127, -8],
    [127, 7],
    [-127, 7],
  ] as const) {
    put("x", "int8(64, scale: f32)", 1, 1, () => activation);
    put("w", shape.format, shape.n, 1, (row, at) => (places[row]![at % 4] === "1" ? code : 0));
    const made = { ...given, words, inputs };
    const expected = expectedOf(made);
    assert.equal(schedulesOf(await agreeOnDevice(made, expected, machine)), ["dot"]);
    for (const device of simulated)
      for (const schedule of cutsOf(made, device.target).slice(0, 1))
        agreeSimulated(made, expected, device, { schedule });
  }
});

test("units that lie in two groups of the activations are no product of integers", () => {
  const given = caseOf({ tokens: 1, n: 4, k: 128, format: "nm(2, 4) of int4(64)", group: 32, pair: false });
  for (const { target } of simulated) assert.equal(cutsOf(given, target), []);
});

test.run();
