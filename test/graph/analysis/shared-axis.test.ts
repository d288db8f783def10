import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sharedAxes, type SharedAxis } from "../../../compiler/graph/analysis/shared-axis.js";
import { evaluate, tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../../compiler/graph/graph.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { blockGraph } from "../../../runtime/llama/blocks.js";
import { standardLibrary } from "../../../runtime/library.js";
import { graphOf } from "../../check/support.js";
import { difference } from "../../support/tolerance.js";

const test = suite("axes that change places together");

function bound(graph: SymbolicGraph, sizes: { readonly [name: string]: number }): ConcreteGraph {
  const found = specialize(
    graph,
    {
      sizes: new Map(Object.entries(sizes)),
      dtypes: new Map([["E", "f32"]]),
      formats: new Map(graph.parameters.formats.map((name) => [name, null])),
    },
    { f16: false },
  );
  if (!("graph" in found)) throw new Error(found.map(({ message }) => message).join("\n"));
  return found.graph;
}

const sizes = { B: 2, T: 3, D: 8, M: 12, heads: 4, groups: 2, head: 4 };
const whole = (name: string, more = {}): ConcreteGraph =>
  bound(blockGraph(standardLibrary(), name, { whole: true }), { ...sizes, ...more });

function shared(graph: ConcreteGraph, input: string, axis: number): string {
  const found = sharedAxes(graph, input, axis);
  if (found.kind === "fixed") return found.reason;
  const each = found.axes.map(
    ({ input: name, axis: at, channels, members }) => `${name}.${at} ${channels} x ${members}`,
  );
  return `${found.family.channels} x ${found.family.members}: ${each.join(", ")}`;
}

test("the channels of a feed-forward half, and those of values within the heads that share them", () => {
  const block = whole("block");
  assert.is(shared(block, "down", 1), "12 x 1: gate.0 12 x 1, up.0 12 x 1, down.1 12 x 1");
  assert.is(shared(block, "gate", 0), "12 x 1: gate.0 12 x 1, up.0 12 x 1, down.1 12 x 1");
  assert.is(shared(block, "wo", 1), "4 x 2: wv.0 4 x 1, wo.1 4 x 2");
  // heads that share nothing
  assert.is(shared(whole("block", { groups: 4 }), "wo", 1), "4 x 1: wv.0 4 x 1, wo.1 4 x 1");
});

test("biases follow", () => {
  const block = whole("block_biased");
  assert.match(shared(block, "down", 1), "gate_bias.0 12 x 1, up_bias.0 12 x 1");
  assert.match(shared(block, "wo", 1), "v_bias.0 4 x 1");
});

test("what is turned, joined with others or given on stays where it is", () => {
  const block = whole("block");
  assert.match(shared(block, "wq", 0), "in");
  assert.is(sharedAxes(block, "wq", 0).kind, "fixed");
  assert.is(sharedAxes(block, "wk", 0).kind, "fixed");
  assert.match(shared(block, "down", 0), "the result");
  assert.is(sharedAxes(whole("block_phi3"), "down", 1).kind, "fixed");
  assert.is(sharedAxes(block, "nothing", 0).kind, "fixed");
});

test("places that count are seen", () => {
  const of = (body: string): ReturnType<typeof sharedAxes> =>
    sharedAxes(bound(graphOf(`fn f(x: f32[K], w: f32[N, K]) -> f32[N] { ${body} }`, "f"), { N: 3, K: 8 }), "w", 1);
  assert.is(of("return y where y[n] = sum[k] w[n, k] * x[k]").kind, "shared");
  assert.is(of("return y where y[n] = max[k] w[n, k]").kind, "shared");
  assert.is(of("return y where y[n] = sum[k] w[n, k] * f32(k)").kind, "fixed");
  assert.is(of("return y where y[n] = f32(argmax[k] w[n, k])").kind, "fixed");
  assert.is(of("return y where y[n] = sum[k in 0 .. 4] w[n, k]").kind, "fixed");
  assert.is(of("return y where y[n] = w[n, 0] + sum[k] w[n, k]").kind, "fixed");
  assert.is(of("return y where y[n] = sum[k] w[n, k] * w[n, K - 1 - k]").kind, "fixed");
  assert.is(
    of("let s[n, k] = w[n, (k + 1) % K] for n in 0 .. N, k in 0 .. K\n return y where y[n] = sum[k] w[n, k] * s[n, k]")
      .kind,
    "fixed",
  );
});

/** The same tensor with the places of an axis exchanged: in each run of channels as its group says. */
function exchanged(
  given: TensorValue,
  shape: readonly number[],
  { axis, channels, members }: SharedAxis,
  orders: readonly (readonly number[])[],
): TensorValue {
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const size = shape[axis]!;
  const data = Array.from(given.data, (_, at) => {
    const place = Math.floor(at / inner) % size;
    const run = Math.floor(place / channels);
    const from = run * channels + orders[Math.floor(run / members) % orders.length]![place % channels]!;
    return given.data[at + (from - place) * inner]!;
  });
  return tensorValue(given.dtype, shape, data);
}

test("the block gives the same with channels exchanged, and something else where one tensor is left out", () => {
  const block = whole("block");
  const random = (
    (state) => () =>
      (state = (state * 48271) % 2147483647) / 2147483647 - 0.5
  )(7);
  const inputs = new Map(
    block.inputs.map(({ name, value }) => {
      const { dtype, shape } = block.values[value]!.type;
      const count = shape.reduce((product, size) => product * size, 1);
      return [
        name,
        tensorValue(
          dtype,
          shape,
          Array.from({ length: count }, () => (dtype === "i32" ? 0 : random())),
        ),
      ];
    }),
  );
  const result = (given: typeof inputs): readonly number[] =>
    [...evaluate(block, given).values()].flatMap(({ data }) => [...data]);
  const before = result(inputs);
  for (const [input, orders] of [
    ["down", [[3, 1, 7, 0, 11, 2, 4, 9, 5, 10, 6, 8]]],
    [
      "wo",
      [
        [2, 0, 3, 1],
        [1, 3, 0, 2],
      ],
    ],
  ] as const) {
    const found = sharedAxes(block, input, 1);
    if (found.kind === "fixed") throw new Error(found.reason);
    const shapeOf = (name: string) => block.values[block.inputs.find((each) => each.name === name)!.value]!.type.shape;
    const changed = (axes: readonly SharedAxis[]) =>
      new Map([
        ...inputs,
        ...axes.map(
          (axis) => [axis.input, exchanged(inputs.get(axis.input)!, shapeOf(axis.input), axis, orders)] as const,
        ),
      ]);
    assert.is(difference(result(changed(found.axes)), before, "chain"), null, input);
    for (const left of found.axes)
      assert.is.not(
        difference(result(changed(found.axes.filter((axis) => axis !== left))), before, "chain"),
        null,
        left.input,
      );
  }
});

test.run();
