/** Products with a weight of every format against the same weight dense, at awkward sizes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Schedule } from "../../../compiler/lower/schedules/choose.js";
import { programCase } from "../language.js";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Case } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { formatFault, weightFormats } from "../../support/packed.js";
import { productCase, type ProductShape } from "../../support/products.js";
import { simulated } from "../../support/simulated.js";
import { targets } from "../../support/targets.js";

const test = suite<{ machine: Machine }>("products of every format");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const plain: ProductShape = {
  batch: [],
  tokens: [3],
  n: 17,
  k: 64,
  interleaved: false,
  format: null,
  right: "rows",
  left: "plain",
  bound: "whole",
  pair: "none",
  after: "nothing",
};

/** Columns that a format can store: a few groups, and where possible a length that has no units. */
function columnsOf(format: string): readonly number[] {
  return [64, 96, 256, 36, 12, 13, 1].filter((k) => formatFault(format, 1, k) === null).slice(0, 4);
}

function make(format: string, shape: Partial<ProductShape>): Case {
  return productCase({ ...plain, format, ...shape });
}

for (const [turn, format] of weightFormats.entries()) {
  test(`${format} in the kernel evaluator, by each schedule`, () => {
    const [k = 256] = columnsOf(format);
    const forced: readonly (readonly [Schedule, number, number])[] = [
      ["matvec", 1, 5],
      ["matvec", 3, 5],
      ["tiled", 9, 33],
      ["quads", 5, 18],
      ["loops", 2, 3],
    ];
    forced.forEach(([schedule, tokens, n], place) => {
      const given = make(format, { tokens: [tokens], n, k });
      const expected = expectedOf(given);
      for (const device of simulated.filter(({ target }, at) =>
        schedule === "quads" ? target.kind === "cpu" : (at + place) % 3 === 0,
      )) {
        const schedules = schedulesOf(agreeSimulated(given, expected, device, { schedule }));
        // sparse units have no place in the registers of a quad, and small workgroups none for a tile
        if (schedule !== "quads" && schedule !== "tiled") assert.equal(schedules, [schedule], device.target.name);
      }
    });
  });

  test(`${format} after a norm, which a workgroup of a matvec computes for itself`, () => {
    for (const k of columnsOf(format)) {
      const given = make(format, { tokens: [2], n: 5, k, left: "normed", pair: "same", after: "gate" });
      const expected = expectedOf(given);
      for (const device of simulated.slice(1, 4)) agreeSimulated(given, expected, device);
    }
  });

  test(`${format} of every length in the kernel evaluator, as the device's`, () => {
    for (const k of columnsOf(format).slice(1, -1)) {
      const given = make(format, { tokens: [1], n: 33, k, after: "residual" });
      agreeSimulated(given, expectedOf(given), { target: targets["a CPU driver"], subgroupSize: 4 });
    }
  });

  test(`${format} on the device`, async ({ machine }) => {
    const columns = columnsOf(format);
    // each kernel takes the driver a while: the first length and the last, and of those between the kernel evaluator's
    const ends = [...new Set([columns[0] ?? 256, columns.at(-1) ?? 256])];
    const others: readonly Partial<ProductShape>[] = [
      { tokens: [40], n: 35, k: columns[0] ?? 256, after: "residual" },
      { tokens: [2], n: 17, k: columns.at(-1) ?? 256, pair: "same", after: "gate" },
    ];
    const cases: readonly Partial<ProductShape>[] = [
      ...ends.map((k): Partial<ProductShape> => ({ tokens: [1], n: 33, k, after: "residual" })),
      // by turns: how they are written out does not depend on the format
      ...others.filter((_, at) => at === turn % 2),
    ];
    for (const shape of cases) {
      const given = make(format, shape);
      await agreeOnDevice(given, expectedOf(given), machine);
    }
  });
}

const special: Readonly<Record<string, Partial<ProductShape>>> = {
  "a gate and its product of different formats' units": { pair: "same", after: "gate", n: 33, tokens: [9] },
  "sums over different left sides": { pair: "other", after: "residual", tokens: [5] },
  "a batch": { batch: [3], tokens: [4], n: 16 },
  "a batch around the tokens": { batch: [2, 3], interleaved: true, tokens: [5], n: 9, right: "columns" },
  "two axes of tokens": { tokens: [3, 4], n: 20, k: 128 },
  "no tokens": { tokens: [], n: 40 },
  "up to each token": { tokens: [17], n: 16, k: 32, bound: "token", right: "columns" },
  "up to each token, heads apart": {
    batch: [2, 3],
    interleaved: true,
    tokens: [9],
    n: 16,
    k: 32,
    bound: "token",
    right: "columns",
  },
  "up to a number that is data": { tokens: [16], n: 17, k: 24, bound: "data" },
  "up to a number that is data, past an axis that is no multiple of a vector": {
    tokens: [8],
    n: 8,
    k: 3,
    bound: "data",
    pair: "other",
  },
  "up to each output": { tokens: [8], n: 16, k: 16, bound: "output" },
  "from the second on": { tokens: [9], n: 17, k: 36, bound: "part" },
  "a shifted weight": { tokens: [9], n: 17, k: 36, right: "shifted", bound: "token" },
  "a weight with a column before the first": { tokens: [9], n: 17, k: 36, right: "guarded", bound: "part" },
  "activations backwards": { tokens: [9], n: 17, k: 16, left: "backwards", bound: "token" },
  "activations in heads": { tokens: [9], n: 17, k: 64, left: "regrouped" },
};

for (const [name, shape] of Object.entries(special)) {
  test(name, async ({ machine }) => {
    const given = productCase({ ...plain, ...shape });
    const expected = expectedOf(given);
    simulated.forEach((device, at) =>
      agreeSimulated(given, expected, device, { schedule: ([null, "tiled", "matvec"] as const)[at % 3] }),
    );
    // a tile takes the CPU driver seconds to compile, so one stands for all
    for (const schedule of name === "a batch around the tokens" ? ([null, "tiled"] as const) : [null])
      await agreeOnDevice(given, expected, machine, { schedule });
  });
}

// found by reading: a product took the tensor itself for what it was converted to
for (const weight of ["f32(i32(3.0 * w[n, k]))", "f32(w[n, k] > 0.25)"]) {
  test(`a conversion that loses something is done: ${weight}`, () => {
    for (const [tokens, schedule] of [
      [1, "matvec"],
      [9, "tiled"],
      [8, "quads"],
    ] as const) {
      const given = programCase(
        `fn main(x: f32[T, K], w: f32[N, K]) -> f32[T, N] { return y where y[t, n] = sum[k] x[t, k] * ${weight} }`,
        { T: tokens, N: 17, K: 64 },
        "reduction",
      );
      const expected = expectedOf(given);
      for (const device of simulated) agreeSimulated(given, expected, device, { schedule });
    }
  });
}

test("packed weights are one buffer each where buffers are few", () => {
  const given = make("bitmask of f16", { tokens: [5], n: 9, k: 13, left: "scaled", pair: "other", after: "masked" });
  const expected = expectedOf(given);
  for (const schedule of [null, "loops"] as const) {
    const stages = agreeSimulated(given, expected, { target: targets.baseline, subgroupSize: 1 }, { schedule });
    assert.ok(stages.kernels.flat().every(({ buffers }) => buffers.length <= targets.baseline.maxStorageBuffers));
  }
});

test.run();
