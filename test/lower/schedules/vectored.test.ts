/** Products of f32 in vectors of four: against the evaluator, at whole and awkward sizes, and taken only where they apply. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../../compiler/compile.js";
import type { VectorTile } from "../../../compiler/lower/schedules/vectored.js";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Simulated } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { targets } from "../../support/targets.js";
import { programCase } from "../language.js";

const test = suite<{ machine: Machine }>("products of f32 in vectors");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu: Simulated = { target: targets["a GPU with subgroups of 32"], subgroupSize: 32 };

const tile = (n: number, m: number, tm: number, tn: number, k: number): VectorTile => ({
  kind: "vectored",
  threads: [n, m],
  tm,
  tn,
  k,
});
const tiles = [tile(4, 2, 4, 8, 8), tile(2, 4, 8, 4, 16), tile(8, 8, 4, 4, 16)];

/** Programs whose products have their right side across: the left along k, across, computed. */
const programs: Readonly<Record<string, string>> = {
  "along k": "fn main(x: f32[M, K], w: f32[K, N]) -> f32[M, N] { return y where y[m, n] = sum[k] x[m, k] * w[k, n] }",
  across: "fn main(x: f32[K, M], w: f32[K, N]) -> f32[M, N] { return y where y[m, n] = sum[k] x[k, m] * w[k, n] }",
  computed:
    "fn main(x: f32[M, K], z: f32[M, K], w: f32[K, N]) -> f32[M, N] { return y where y[m, n] = sum[k] (x[m, k] - z[m, k]) * w[k, n] }",
  "with something after": `fn main(x: f32[M, K], w: f32[K, N], b: f32[N]) -> f32[M, N] {
    return y where y[m, n] = max(sum[k] x[m, k] * w[k, n], 0.0) + b[n]
  }`,
  "in a batch":
    "fn main(x: f32[3, M, K], w: f32[3, K, N]) -> f32[3, M, N] { return y where y[b, m, n] = sum[k] x[b, m, k] * w[b, k, n] }",
  "added up": `fn main(x: f32[M, K], w: f32[K, N], var total: f32[M, N]) {
    total[m, n] += sum[k] x[m, k] * w[k, n] for m in 0 .. M, n in 0 .. N
  }`,
};

/** Products whose results are symmetric: of square tiles those above the diagonal are left to those below. */
const symmetric: Readonly<Record<string, string>> = {
  "a gram": "fn main(x: f32[K, N]) -> f32[N, N] { return g where g[i, j] = sum[k] x[k, i] * x[k, j] }",
  "a gram that is scaled":
    "fn main(x: f32[K, N]) -> f32[N, N] { return g where g[i, j] = max(2.0 * (sum[k] x[k, i] * x[k, j]), 0.0) }",
  "a gram that is added to what need not be symmetric": `fn main(x: f32[K, N], var total: f32[N, N]) {
    total[i, j] += sum[k] x[k, i] * x[k, j] for i in 0 .. N, j in 0 .. N
  }`,
};

for (const [name, source] of Object.entries(symmetric))
  test(`${name}`, async ({ machine }) => {
    for (const [K, N] of [
      [16, 64],
      [32, 44],
    ] as const) {
      const given = programCase(source, { K, N }, "reduction");
      const expected = expectedOf(given);
      for (const schedule of [tile(4, 4, 4, 4, 8), tile(4, 2, 4, 8, 8), tile(2, 4, 8, 16, 16)])
        assert.equal(schedulesOf(agreeSimulated(given, expected, gpu, { schedule })), ["vectored"]);
      await agreeOnDevice(given, expected, machine, { schedule: tile(4, 4, 4, 4, 8) });
    }
  });

for (const [name, source] of Object.entries(programs))
  test(`${name}`, async ({ machine }) => {
    for (const [M, K, N] of [
      [32, 32, 64],
      [37, 48, 44],
      [4, 16, 4],
    ] as const) {
      const given = programCase(source, { M, K, N }, "reduction");
      const expected = expectedOf(given);
      for (const schedule of tiles)
        assert.equal(
          schedulesOf(agreeSimulated(given, expected, gpu, { schedule })),
          ["vectored"],
          `${JSON.stringify(schedule)} ${M} ${K} ${N}`,
        );
      if (M === 37) await agreeOnDevice(given, expected, machine, { schedule: tiles[0]! });
    }
  });

test("chosen for large products on a GPU, and where vectors lie as they must", () => {
  const chosen = (source: string, sizes: Readonly<Record<string, number>>): readonly string[] =>
    schedulesOf(lowerConcrete(programCase(source, sizes, "reduction").graph, gpu.target));
  const source = programs["along k"]!;
  assert.equal(chosen(source, { M: 64, K: 64, N: 64 }), ["vectored"]);
  // rows that begin between vectors, columns that no slice ends with, vectors that begin between them
  assert.equal(chosen(source, { M: 64, K: 64, N: 66 }), ["tiled"]);
  assert.equal(chosen(source, { M: 64, K: 60, N: 64 }), ["tiled"]);
  const shifted =
    "fn main(x: f32[M, K], w: f32[K, N + 4]) -> f32[M, N] { return y where y[m, n] = sum[k] x[m, k] * w[k, n + 1] for m in 0 .. M, n in 0 .. N }";
  assert.equal(chosen(shifted.replace("f32[M, K]", "f32[M, K], b: f32[N]"), { M: 64, K: 64, N: 64 }), ["tiled"]);
  const cpu = lowerConcrete(programCase(source, { M: 64, K: 64, N: 64 }, "reduction").graph, targets["a CPU driver"]);
  assert.equal(schedulesOf(cpu), ["quads"]);
});

test.run();
