import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scalePair } from "../../../compiler/graph/analysis/scale-pair.js";
import { evaluate, tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../../compiler/graph/graph.js";
import { blockGraph } from "../../../runtime/llama/blocks.js";
import { standardLibrary } from "../../../runtime/library.js";
import { graphOf } from "../../check/support.js";
import { boundTo } from "../../support/bound.js";
import { difference } from "../../support/tolerance.js";

const test = suite("scales that cancel");

const sizes = { B: 1, T: 3, D: 8, M: 6, heads: 4, groups: 2, head: 2 };
const whole = (name: string, more = {}): ConcreteGraph =>
  boundTo(blockGraph(standardLibrary(), name, { whole: true }), { ...sizes, ...more });
const weights = /^(w[a-z]+|gate|up|gate_up|down|[a-z_]+_(gain|bias))$/;
const pairOf = (graph: ConcreteGraph, names: readonly string[], through?: string): ReturnType<typeof scalePair> =>
  scalePair(
    graph,
    names,
    (input) => weights.test(input),
    (found) => through === undefined || found.includes(through),
  );

function told(graph: ConcreteGraph, names: readonly string[], through?: string): string {
  const pair = pairOf(graph, names, through);
  if (pair.kind === "none") return pair.ways.map(({ reason }) => reason).join("; ");
  const short = (channels: Int32Array): string => [...channels].map((each) => (each < 0 ? "-" : each)).join(" ");
  return `${short(pair.columns)}: ${pair.producers
    .map(({ input, axis, channels }) => `${input}.${axis} ${short(channels)}`)
    .join(", ")}`;
}

test("what takes the scale is found in the block: gains of norms, values, the linear half of a gate", () => {
  const block = whole("block");
  const whole8 = "0 1 2 3 4 5 6 7";
  assert.is(told(block, ["wq", "wk", "wv"]), `${whole8}: attention_gain.0 ${whole8}`);
  assert.is(told(block, ["gate", "up"]), `${whole8}: mlp_gain.0 ${whole8}`);
  assert.is(told(block, ["down"]), "0 1 2 3 4 5: up.0 0 1 2 3 4 5");
  // two heads read the values of one group: their columns have one scale
  assert.is(told(block, ["wo"]), "0 1 0 1 4 5 4 5: wv.0 0 1 4 5");
});

test("biases are divided too, and parts of fused weights alone", () => {
  const biased = whole("block_biased");
  assert.match(told(biased, ["down"]), /: up\.0 0 1 2 3 4 5, up_bias\.0 0 1 2 3 4 5$/);
  assert.match(told(biased, ["wo"]), /: wv\.0 0 1 4 5, v_bias\.0 0 1 4 5$/);
  const fused = whole("block_phi3");
  assert.match(told(fused, ["down"]), "gate_up.0 - - - - - - 0 1 2 3 4 5");
  assert.match(told(fused, ["wo"]), `wqkv.0 ${"- ".repeat(12)}0 1 4 5`);
});

test("what does not cancel is refused, with the reason", () => {
  const block = whole("block");
  assert.match(told(block, ["down"], "gate"), /an activation, and only what is linear takes a scale/);
  // another product reads the same
  assert.match(told(block, ["wq", "wk"]), /sums over channels that are scaled/);
  assert.match(told(block, ["gate"]), /sums over channels that are scaled/);
  const of = (body: string): string =>
    told(boundTo(graphOf(`fn f(x: f32[K], up: f32[K], w: f32[N, K]) -> f32[N] { ${body} }`, "f"), { N: 3, K: 4 }), [
      "w",
    ]);
  assert.match(of("let h[k] = x[k] * up[k]\n return y where y[n] = sum[k] h[k] * w[n, k]"), /up\.0 0 1 2 3/);
  assert.match(of("let h[k] = exp(up[k])\n return y where y[n] = sum[k] h[k] * w[n, k]"), /takes `exp`/);
  assert.match(of("let h[k] = x[k] + up[k]\n return y where y[n] = sum[k] h[k] * w[n, k]"), /is given to the block/);
  assert.match(of("return y where y[n] = up[0] * sum[k] x[k] * w[n, k]"), /is given to the block/);
  assert.match(
    of("let h[k] = x[k] * up[k]\n return y where y[n] = max[k] h[k] * w[n, k]"),
    /otherwise than in a product/,
  );
  assert.match(
    of("let h[k] = x[k] * up[k]\n return y where y[n] = h[0] + sum[k] h[k] * w[n, k]"),
    /adds what is scaled to what is scaled otherwise/,
  );
});

/** A tensor multiplied by the scale of each place's channel. */
function scaled(given: TensorValue, shape: readonly number[], axis: number, scales: readonly number[]): TensorValue {
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const data = Array.from(given.data, (value, at) => value * scales[Math.floor(at / inner) % shape[axis]!]!);
  return tensorValue(given.dtype, shape, data);
}

test("the dense evaluator gives what it gave", () => {
  for (const [name, consumers] of [
    ["block", [["wq", "wk", "wv"], ["wo"], ["gate", "up"], ["down"]]],
    ["block_phi3", [["wqkv"], ["wo"], ["gate_up"], ["down"]]],
    ["block_qwen3", [["wq", "wk", "wv"], ["wo"]]],
  ] as const) {
    const block = whole(name);
    const random = (
      (state) => () =>
        (state = (state * 48271) % 2147483647) / 2147483647 - 0.5
    )(7);
    const inputs = new Map(
      block.inputs.map(({ name: input, value }) => {
        const { dtype, shape } = block.values[value]!.type;
        const count = shape.reduce((product, size) => product * size, 1);
        return [
          input,
          tensorValue(
            dtype,
            shape,
            Array.from({ length: count }, () => (dtype === "i32" ? 0 : shape.length === 0 ? 1e-3 : random())),
          ),
        ];
      }),
    );
    const result = (given: typeof inputs): readonly number[] =>
      [...evaluate(block, given).values()].flatMap(({ data }) => [...data]);
    const before = result(inputs);
    assert.ok(before.every((value) => Number.isFinite(value)));
    for (const group of consumers) {
      const pair = pairOf(block, group);
      if (pair.kind === "none") throw new Error(`${name} ${group.join(" ")}: ${told(block, group)}`);
      const s = Array.from(pair.columns, (channel) => 0.5 + ((channel * 7) % 11) / 4);
      const shapeOf = (input: string): readonly number[] =>
        block.values[block.inputs.find((each) => each.name === input)!.value]!.type.shape;
      const apply = (given: typeof inputs, input: string, axis: number, scales: readonly number[]): typeof inputs =>
        new Map([...given, [input, scaled(given.get(input)!, shapeOf(input), axis, scales)]]);
      const half = group.reduce((given, input) => apply(given, input, 1, s), inputs);
      const both = pair.producers.reduce(
        (given, { input, axis, channels }) =>
          apply(
            given,
            input,
            axis,
            Array.from(channels, (channel) => (channel < 0 ? 1 : 1 / s[channel]!)),
          ),
        half,
      );
      assert.is(difference(result(both), before, "chain"), null, `${name} ${group.join(" ")}`);
      assert.is.not(difference(result(half), before, "chain"), null);
    }
  }
});

test.run();
