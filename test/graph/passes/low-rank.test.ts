/** Products with a correction of low rank: three ways, and what they are made of. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { splitLowRank } from "../../../compiler/graph/passes/low-rank.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { productOf } from "../../../compiler/graph/analysis/product.js";
import { scalarLoads } from "../../../compiler/graph/scalar.js";
import { eqnScalars } from "../../../compiler/graph/eqn.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { numbers } from "../../support/packed.js";
import { simulated } from "../../support/simulated.js";
import { graphOf } from "../../check/support.js";
import { correctedWords, corrected } from "../../support/low-rank.js";
import type { FormatSpec } from "../../../compiler/types/type.js";

const test = suite<{ machine: Machine }>("corrections of low rank");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

/** `main` with its parameter w, f32[N, K] as F, in this format. */
function given(source: string, sizes: Readonly<Record<string, number>>, format: FormatSpec): Case {
  const bound = specialize(
    graphOf(source, "main"),
    { sizes: new Map(Object.entries(sizes)), dtypes: new Map(), formats: new Map([["F", format]]) },
    { f16: true },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  const words = new Map<string, Uint32Array>();
  const inputs = new Map(
    bound.graph.inputs.map(({ name, value }, at) => {
      const { dtype, shape, format: own } = bound.graph.values[value]!.type;
      if (own === null) return [name, tensorValue(dtype, shape, numbers(elementCount(shape), at + 1))] as const;
      const made = correctedWords(own, shape as [number, number], at + 1);
      words.set(name, made.words);
      return [name, tensorValue(dtype, shape, made.dense)] as const;
    }),
  );
  return { graph: bound.graph, inputs, words, kind: "reduction" };
}

const int4 = { name: "int4", args: { group: 8, symmetric: true }, of: null };
const sparse = { name: "nm", args: { n: 2, m: 4 }, of: int4 };
const f16 = { name: "f16", args: {}, of: null };

const programs = {
  product: `fn main(x: f32[T, K], w: f32[N, K] as F) -> f32[T, N] {
    return y where y[t, n] = sum[k] x[t, k] * w[n, k]
  }`,
  back: `fn main(dy: f32[T, N], w: f32[N, K] as F) -> f32[T, K] {
    return dx where dx[t, k] = sum[n] dy[t, n] * w[n, k]
  }`,
  gate: `fn main(x: f32[T, K], w: f32[N, K] as F, v: f32[N, K] as F) -> f32[T, N] {
    return y where y[t, n] = max(sum[k] x[t, k] * w[n, k], 0.0) * (sum[k] x[t, k] * v[n, k])
  }`,
  residual: `fn main(x: f32[T, N], h: f32[T, K], w: f32[N, K] as F) -> f32[T, N] {
    return y where y[t, n] = x[t, n] + (sum[k] h[t, k] * w[n, k])
  }`,
  elements: `fn main(w: f32[N, K] as F, v: f32[N, K]) -> f32[N], f32[N, K] {
    let error[n] = sum[k] (w[n, k] - v[n, k])^2
    return error, unpack w
  }`,
  rows: `fn main(ids: i32[T], w: f32[N, K] as F) -> f32[T, K] {
    return y where y[t, k] = w[ids[t], k]
  }`,
};

for (const [name, source] of Object.entries(programs))
  test(`${name}: three ways agree, for one token and many`, async ({ machine }) => {
    for (const [T, N, K, rank, of] of [
      [1, 20, 32, 3, sparse],
      [9, 12, 16, 8, sparse],
      [3, 9, 10, 1, f16],
    ] as const) {
      const sizes: Readonly<Record<string, number>> = name === "elements" ? { N, K } : { T, N, K };
      const one = given(source, sizes, corrected(of, rank));
      const expected = expectedOf(one);
      for (const device of simulated) agreeSimulated(one, expected, device);
      if (of === sparse) await agreeOnDevice(one, expected, machine);
    }
  });

test("a product becomes one with the packed weight and two small ones, and reads nothing else", () => {
  const { graph } = given(programs.gate, { T: 4, N: 16, K: 32 }, corrected(sparse, 2));
  const split = splitLowRank(graph);
  assert.is(split.eqns.length, 5);
  for (const eqn of split.eqns) {
    assert.ok(productOf(split, eqn) !== null, "a product");
    for (const scalar of eqnScalars(eqn))
      for (const { tensor } of scalarLoads(scalar)) assert.is.not(split.values[tensor]!.type.format?.name, "lowrank");
  }
  const rows = productOf(split, split.eqns.at(-1)!)!.terms.map(({ rows }) => rows?.format.name);
  assert.equal(rows, ["nm", "nm"]);
});

test("what has no correction stays the same object", () => {
  const { graph } = given(programs.product, { T: 2, N: 8, K: 8 }, f16);
  assert.is(splitLowRank(graph), graph);
});

test("a correction is put beside what is packed, on the device", async ({ machine }) => {
  const source = `fn main(x: f32[N, K], s: f32[N, K / 8], a: f32[N, R], b: f32[R, K], v: f32[T, K])
      -> f32[N, K] as lowrank(R) of int4(8), f32[T, N] where K % 8 == 0, N >= R, K >= R {
    let w = pack x as int4(8) with scale s plus lowrank(a, b)
    return w, y where y[t, n] = sum[k] v[t, k] * w[n, k]
  }`;
  for (const sizes of [
    { T: 1, N: 6, K: 16, R: 2 },
    { T: 7, N: 33, K: 40, R: 5 },
  ]) {
    const bound = specialize(
      graphOf(source, "main"),
      { sizes: new Map(Object.entries(sizes)), dtypes: new Map(), formats: new Map() },
      { f16: true },
    );
    if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
    const inputs = new Map(
      bound.graph.inputs.map(({ name, value }, at) => {
        const { dtype, shape } = bound.graph.values[value]!.type;
        const data = numbers(elementCount(shape), at + 1);
        return [
          name,
          tensorValue(dtype, shape, name === "s" ? data.map((s) => Math.abs(s) / 8 + 0.05) : data),
        ] as const;
      }),
    );
    const one: Case = { graph: bound.graph, inputs, kind: "reduction" };
    const expected = expectedOf(one);
    for (const device of simulated) agreeSimulated(one, expected, device);
    await agreeOnDevice(one, expected, machine);
  }
});

test.run();
