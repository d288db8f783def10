/** Conditions that become bounds: what they become, and that values stay, whatever stands where nothing counts. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { shortenSums } from "../../../compiler/graph/passes/shorten-sums.js";
import { simplify } from "../../../compiler/graph/passes/simplify.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import { programCase } from "../../lower/language.js";
import { difference } from "../../support/tolerance.js";

const test = suite("conditions that become bounds");

/** What a reduction of x [5, 7] by the index i of its rows, and n [5] of data, becomes. */
function becomes(body: string): string {
  const source = `fn main(x: f32[N, K], n: i32[N]) -> f32[N] {\n  return y where y[i] = ${body} for i in 0 .. N\n}`;
  const x = Float32Array.from({ length: 35 }, (_, at) => (at % 7 > 4 ? NaN : (at % 5) - 2));
  const { graph, inputs } = programCase(source, { N: 5, K: 7 }, "exact", { x, n: [2, 5, -1, 0, 4] });
  const after = shortenSums(graph);
  assert.equal(verify(after), []);
  const [expected] = evaluate(graph, inputs).values();
  for (const each of [after, simplify(after)]) {
    const [found] = evaluate(each, inputs).values();
    assert.is(difference(found?.data ?? [], expected?.data ?? [], "exact"), null, printGraph(each));
  }
  const line = printGraph(simplify(after))
    .split("\n")
    .find((each) => each.includes(" = map"));
  return line?.replace(/^.*map i: /, "") ?? "";
}

const forms: Readonly<Record<string, string>> = {
  "sum[k] select(k < i + 1, x[i, k], 0.0)": "sum k in 0..i + 1: %0[i, k]",
  "sum[k] select(k < n[i], x[i, k], 0.0)": "sum k in 0..min(%1[i], 7): %0[i, k]",
  "sum[k] select(k >= i and k < 5 and x[i, k] > 0.0, x[i, k], 0.0)":
    "sum k in i..5: select(%0[i, k] > 0.0, %0[i, k], 0.0)",
  "sum[j in 0 .. 3, k in 0 .. K] select(k < j, x[i, k], 0.0)": "sum j in 0..3, k in 0..j: %0[i, k]",
  "sum[k in 0 .. K, j in 0 .. 3] select(k < j, x[i, k], 0.0)": "sum k in 0..7, j in 0..3: select(k < j, %0[i, k], 0.0)",
  "sum[k] select(k < n[min(k, 4)], x[i, k], 0.0)": "sum k in 0..7: select(k < %1[min(k, 4)], %0[i, k], 0.0)",
  "sum[k] select(k < i, x[i, k], 1.0)": "sum k in 0..7: select(k < i, %0[i, k], 1.0)",
  "mean[k in 0 .. 5] select(k < i, x[i, k], 0.0)": "mean k in 0..5: select(k < i, %0[i, k], 0.0)",
};

for (const [body, text] of Object.entries(forms)) test(body, () => assert.is(becomes(body), text));

test("a product with rows that end", () => {
  const source = `fn main(x: f32[T, C], n: i32[T], v: f32[C, H]) -> f32[T, H], f32[C, H], f32[H, T] {
  let p[t, c] = select(c < min(n[t] + 1, C), x[t, c], 0.0)
  let a[t, h] = sum[c] p[t, c] * v[c, h]
  let b[c, h] = sum[t] p[t, c] * v[c, h] for c in 0 .. C, h in 0 .. H
  let d[h, t] = sum[c] v[c, h] * p[t, c]
  return a, b, d
}`;
  const { graph, inputs } = programCase(source, { T: 5, C: 7, H: 3 }, "reduction", { n: [0, 2, -4, 9, 3] });
  const after = simplify(shortenSums(graph));
  const expected = evaluate(graph, inputs);
  for (const [name, found] of evaluate(after, inputs))
    assert.is(difference(found.data, expected.get(name)?.data ?? [], "reduction"), null, name);
  const lines = printGraph(after).split("\n");
  const [a, b, d] = ["a", "b", "d"].map((name) => lines.find((line) => line.includes(` ${name}: `)) ?? "");
  assert.ok(a?.endsWith("map t, h: sum c in 0..min(%1[t] + 1, 7): %3[t, c] * %2[c, h]"), a);
  // of these the end is another for each of what is summed, or for each output
  assert.ok(b?.includes("sum t in 0..5: "), b);
  assert.ok(d?.includes("sum c in 0..7: "), d);
});

test.run();
