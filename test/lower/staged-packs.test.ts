/** Activations that products of integers round for themselves: one kernel for a norm, its rounding and the product. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binary, buildGraph, constant, indexOf, integer, load, reduce, unary } from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { DotSchedule } from "../../compiler/lower/schedules/dot-candidates.js";
import type { Target } from "../../compiler/target.js";
import type { Concrete } from "../../compiler/types/type.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case, type Simulated } from "../support/agreement.js";
import { parseFormat } from "../support/format-text.js";
import { packed } from "../support/packed.js";
import { targets } from "../support/targets.js";

const test = suite("staged packs");

const gpu: Target = targets["a GPU with subgroups of 32"];
const device: Simulated = { target: gpu, subgroupSize: 32 };
/** With memory for a part of a row at a time. */
const chunked: Simulated = { target: { ...gpu, name: "of 24 KiB", maxWorkgroupMemory: 24576 }, subgroupSize: 32 };
const small: Simulated = { target: { ...gpu, name: "of 4 KiB", maxWorkgroupMemory: 4096 }, subgroupSize: 32 };

interface Shape {
  readonly tokens: number;
  readonly n: number;
  readonly k: number;
  readonly group: number;
  readonly format: string;
  /** Whether the activations are those of a norm; else an input. */
  readonly norm: boolean;
  /** Whether what is rounded is put out too. */
  readonly kept?: boolean;
  /** The one scale that is given for all; without, each group's is found. */
  readonly given?: number;
}

function caseOf({ tokens, n, k, group, format, norm, kept = false, given }: Shape): Case {
  const build = buildGraph<Concrete>("staged");
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  const values = Float32Array.from({ length: tokens * k }, (_, at) => Math.sin(at * 12.9898 + 4.1) * (1 + (at % 7)));
  inputs.set("x", tensorValue("f32", [tokens, k], values));
  const x = build.input("x", "f32", [tokens, k]);
  const weight = packed(format, n, k, 5);
  words.set("w", weight.words);
  inputs.set("w", tensorValue("f32", [n, k], weight.dense));
  const w = build.input("w", "f32", [n, k], { format: weight.spec });
  const normed = norm
    ? build.map("normed", [tokens, k], (t, c) => {
        const over = build.range("d", 0, integer(k));
        const one = load(x, [t, indexOf(over)]);
        return binary(
          "multiply",
          load(x, [t, c]),
          unary("rsqrt", reduce("mean", [over], binary("multiply", one, one))),
        );
      })
    : x;
  if (given !== undefined) inputs.set("s", tensorValue("f32", [], [given]));
  const stored = given === undefined ? null : build.input("s", "f32", []);
  const scale = build.map("scale", [tokens, k / group], (t, g) => {
    if (stored !== null) return load(stored, []);
    const over = build.range("j", 0, integer(group));
    const column = binary("add", binary("multiply", g, integer(group)), indexOf(over));
    return binary("divide", reduce("max", [over], unary("abs", load(normed, [t, column]))), constant(127, "f32"));
  });
  const q = build.pack("q", normed, parseFormat(`int8(${group}, scale: f32)`), { scale });
  const y = build.map("y", [tokens, n], (t, row) => {
    const over = build.range("k", 0, integer(k));
    return reduce("sum", [over], binary("multiply", load(q, [t, indexOf(over)]), load(w, [row, indexOf(over)])));
  });
  build.output("y", y);
  if (kept) build.output("normed", normed);
  return { graph: build.graph(), inputs, words, kind: "reduction" };
}

const shapes: readonly Shape[] = [
  { tokens: 1, n: 7, k: 192, group: 64, format: "int4(64)", norm: true },
  { tokens: 3, n: 5, k: 256, group: 32, format: "int4(32)", norm: true },
  { tokens: 2, n: 6, k: 2304, group: 128, format: "nm(2, 4) of int4(128)", norm: false },
  { tokens: 1, n: 9, k: 4608, group: 64, format: "nm(2, 4) of int4(64)", norm: true },
];

for (const shape of shapes)
  test(`${shape.tokens} x ${shape.k} by ${shape.format}, groups of ${shape.group}, as one kernel`, () => {
    const given = caseOf(shape);
    const expected = expectedOf(given);
    for (const each of [device, chunked]) {
      const stages = agreeSimulated(given, expected, each);
      assert.equal(schedulesOf(stages), ["dot"], each.target.name);
    }
  });

test("chunks in turns: those of the next are rounded and arranged while one is multiplied", () => {
  for (const shape of [
    { tokens: 1, n: 70, k: 4608, group: 64, format: "nm(2, 4) of int4(64)", norm: true },
    // as many columns in each chunk: after the last there are none
    { tokens: 1, n: 10, k: 6144, group: 64, format: "nm(2, 4) of int4(64)", norm: true },
    { tokens: 2, n: 6, k: 4480, group: 128, format: "int4(128)", norm: false },
  ]) {
    const given = caseOf(shape);
    const expected = expectedOf(given);
    for (const memories of [1, 2, 3])
      for (const ahead of [0, 1])
        for (const teams of [1, 4]) {
          const schedule: DotSchedule = {
            kind: "dot",
            lanes: 32,
            teams,
            rows: 2,
            workgroups: 9,
            slots: 1,
            early: 1,
            ahead,
            keeps: shape.norm ? "table_by_dots" : "workgroup",
            memories,
          };
          const room: Simulated = { target: { ...gpu, maxWorkgroupMemory: 2 ** 17 }, subgroupSize: 32 };
          const stages = agreeSimulated(given, expected, room, { schedule });
          assert.equal(schedulesOf(stages), ["dot"], JSON.stringify(schedule));
        }
  }
});

test("the first words of weights are on their way while a norm is computed", () => {
  const given = caseOf({ tokens: 1, n: 70, k: 2048, group: 64, format: "nm(2, 4) of int4(64)", norm: true });
  const { kernels } = agreeSimulated(given, expectedOf(given), device);
  const [kernel] = kernels.flat();
  const barrier = kernel!.body.findIndex(({ kind }) => kind === "barrier");
  const weights = kernel!.buffers.filter(({ tensor }) => tensor === "w").map(({ name }) => name);
  const before = JSON.stringify(kernel!.body.slice(0, barrier));
  assert.ok(barrier > 0 && weights.length > 0);
  for (const name of weights) assert.match(before, `"buffer":"${name}"`);
});

for (const shape of shapes)
  test(`${shape.tokens} x ${shape.k} by ${shape.format}, by one scale that is given, as one kernel`, () => {
    // small, so that the largest are cut off
    const given = caseOf({ ...shape, given: 0.011 });
    const expected = expectedOf(given);
    for (const each of [device, chunked]) {
      const stages = agreeSimulated(given, expected, each);
      assert.equal(schedulesOf(stages), ["dot"], each.target.name);
    }
  });

test("what others read, too, is computed by itself, and read from there", () => {
  const given = caseOf({ tokens: 1, n: 4, k: 128, group: 32, format: "int4(32)", norm: true, kept: true });
  const stages = agreeSimulated(given, expectedOf(given), device);
  assert.equal(schedulesOf(stages), ["rows", "dot"]);
});

test("where a device has no room for it, the pack is computed by itself", () => {
  const given = caseOf(shapes[3]!);
  const stages = agreeSimulated(given, expectedOf(given), small);
  assert.ok(schedulesOf(stages).includes("pack"));
});

test("a product that is cut otherwise reads what was packed", () => {
  const given = caseOf({ tokens: 1, n: 4, k: 128, group: 32, format: "int4(32)", norm: true });
  const stages = agreeSimulated(given, expectedOf(given), device, { schedule: "loops" });
  assert.ok(schedulesOf(stages).length > 3);
  assert.not.ok(schedulesOf(stages).includes("dot"));
});

test.run();
