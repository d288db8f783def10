import { suite } from "uvu";
import * as assert from "uvu/assert";
import { removal, selections } from "../../../compiler/graph/analysis/removal.js";
import { evaluate, tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { standardLibrary } from "../../../runtime/library.js";
import { blockGraph } from "../../../runtime/llama/blocks.js";
import { selected } from "../../../runtime/llama/compression/retain.js";
import { graphOf } from "../../check/support.js";
import { boundTo } from "../../support/bound.js";
import { close } from "../../support/tolerance.js";

const test = suite("parts that are taken out");

type Sizes = { readonly [name: string]: number };
const sizes: Sizes = { B: 1, T: 2, D: 4, M: 6, heads: 6, groups: 3, head: 2 };

/** The first output of a graph at these sizes. */
function result(graph: SymbolicGraph, own: Sizes, inputs: ReadonlyMap<string, TensorValue>): readonly number[] {
  return [...(evaluate(boundTo(graph, own), inputs).values().next().value?.data ?? [])];
}

/** Numbers for all inputs at these sizes. */
function inputsOf(graph: SymbolicGraph, own: Sizes): Map<string, TensorValue> {
  const bound = boundTo(graph, own);
  let state = 7;
  const next = (): number => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
  return new Map(
    bound.inputs.map(({ name, value }) => {
      const { dtype, shape } = bound.values[value]!.type;
      const count = shape.reduce((all, each) => all * each, 1);
      const values = Array.from({ length: count }, next);
      return [
        name,
        tensorValue(dtype, shape, dtype === "i32" ? values.map(() => 0) : shape.length === 0 ? [0.1] : values),
      ];
    }),
  );
}

const cases: readonly { readonly weight: string; readonly after: Sizes; readonly kept: readonly number[] }[] = [
  { weight: "down", after: { M: 4 }, kept: [0, 2, 3, 5] },
  { weight: "wo", after: { heads: 4, groups: 2 }, kept: [0, 2] },
  { weight: "wo", after: { heads: 2, groups: 1 }, kept: [1] },
];
for (const name of ["block", "block_biased", "block_qwen2", "block_qwen3", "block_phi3"])
  for (const { weight, after, kept } of cases)
    test(`${name}: what is left without parts ${weight} is what zeros in their place give, ${kept.length} left`, () => {
      const graph = blockGraph(standardLibrary(), name, { whole: true });
      const proven = removal(graph, weight, sizes, { ...sizes, ...after });
      if ("because" in proven) throw new Error(proven.because);
      const whole = inputsOf(graph, sizes);
      const less = new Map(whole);
      for (const { parameter, ...cut } of selections(proven, kept)) {
        const { shape, data } = whole.get(parameter)!;
        const bytes = selected(new Uint8Array(Float32Array.from(data).buffer), shape, 4, cut);
        const left = shape.map((length, axis) => (axis === cut.axis ? cut.from.length : length));
        less.set(parameter, tensorValue("f32", left, new Float32Array(bytes.buffer)));
      }
      const { shape, data } = whole.get(weight)!;
      const { parts } = proven.before.values.get(proven.before.sum.load.tensor)!;
      const columns = shape[1]!;
      const zeroed = Float32Array.from(data, (value, at) => (kept.includes(parts[at % columns]!) ? value : 0));
      const expected = result(graph, sizes, new Map([...whole, [weight, tensorValue("f32", shape, zeroed)]]));
      const found = result(graph, { ...sizes, ...after }, less);
      close(found, expected, "model", weight);
      assert.not.equal(expected, result(graph, sizes, whole));
    });

/** Why the columns of `down` in a function cannot be taken out. */
function refused(body: string): string {
  const graph = graphOf(
    `fn f(x: f32[T, D], up: f32[M, D], gain: f32[M], down: f32[D, M]) -> f32[T, D] {
  let h[t, m] = sum[d] x[t, d] * up[m, d]
${body}
}`,
    "f",
  );
  const found = removal(graph, "down", { D: 3, M: 4 }, { D: 3, M: 3 });
  return "because" in found ? found.because : "proven";
}

const refusals: readonly (readonly [string, string, string])[] = [
  [
    "element by element",
    "let g[t, m] = h[t, m] * gain[m]\n  return y where y[t, d] = sum[m] g[t, m] * down[d, m]",
    "proven",
  ],
  [
    "a norm over the channels",
    "let s[t] = mean[m] h[t, m]^2\n  let g[t, m] = h[t, m] * rsqrt(s[t])\n  return y where y[t, d] = sum[m] g[t, m] * down[d, m] * gain[m]",
    "`h` is read by `s`, which is not of the same part",
  ],
  [
    "the number of a channel",
    "let g[t, m] = h[t, m] * f32(m) * gain[m]\n  return y where y[t, d] = sum[m] g[t, m] * down[d, m]",
    "`g` depends on which part it is",
  ],
  [
    "how many there are",
    "let g[t, m] = h[t, m] * gain[m]\n  return y where y[t, d] = (sum[m] g[t, m] * down[d, m]) / f32(M)",
    "`y` depends on how many parts there are",
  ],
  [
    "neighbours",
    "let g[t, m] = h[t, m] * h[t, (m + 1) % M] * gain[m]\n  return y where y[t, d] = sum[m] g[t, m] * down[d, m]",
    "all of it hangs together",
  ],
  [
    "a sum with what is not a factor",
    "return y where y[t, d] = sum[m] (h[t, m] * down[d, m] + gain[m])",
    "`down` is read in other ways",
  ],
  [
    "another reader",
    "let s[t] = max[m] h[t, m]\n  return y where y[t, d] = s[t] + (sum[m] h[t, m] * gain[m] * down[d, m])",
    "is read by `s`, which is not of the same part",
  ],
];
for (const [title, body, reason] of refusals)
  test(title, () => {
    const found = refused(body);
    assert.ok(found.includes(reason), found);
  });

test.run();
