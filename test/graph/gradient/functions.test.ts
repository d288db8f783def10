/** Gradients of functions, against difference quotients over reals. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { standardLibrary } from "../../../runtime/library.js";
import { graphOf } from "../../check/support.js";
import { bound, gradientError, gradientOf, sampleInputs } from "../../support/gradients.js";

const test = suite("gradients of functions");

interface Case {
  readonly source: string;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly integers?: Readonly<Record<string, readonly number[]>>;
  readonly by: readonly string[];
}

const cases: Readonly<Record<string, Case>> = {
  "a product": {
    source: "fn f(x: f32[T, K], w: f32[N, K]) -> f32[T, N] {\n  return y where y[t, n] = sum[k] x[t, k] * w[n, k]\n}",
    sizes: { T: 3, K: 5, N: 4 },
    by: ["x", "w"],
  },
  "a product with what is left of the input, twice the same": {
    source:
      "fn f(x: f32[T, K], w: f32[K, K]) -> f32[T, K] {\n  let y[t, n] = x[t, n] + sum[k] x[t, k] * w[n, k]\n  return z where z[t, n] = y[t, n] + sum[k] y[t, k] * w[k, n]\n}",
    sizes: { T: 3, K: 5 },
    by: ["x", "w"],
  },
  "every smooth op": {
    source: `fn f(a: f32[N], b: f32[N]) -> f32[N] {
  let p[n] = 1.5 + a[n]
  let q[n] = 2.0 + b[n]
  let s[n] = sin(p[n]) * cos(q[n]) + exp(p[n]) / q[n] - tanh(p[n]) + log(q[n]) + sqrt(p[n]) * rsqrt(q[n]) + abs(a[n])
  return y where y[n] = s[n] + min(p[n], q[n]) + max(p[n], q[n]) + p[n]^2 + p[n]^3 + p[n]^q[n] + p[n]^0.5 + (5.0 * p[n]) % q[n] + -p[n]
}`,
    sizes: { N: 7 },
    by: ["a", "b"],
  },
  "a norm": {
    source:
      "fn f(x: f32[T, K], g: f32[K]) -> f32[T, K] {\n  return y where y[t, k] = x[t, k] * rsqrt((mean[j] x[t, j]^2) + 0.1) * g[k]\n}",
    sizes: { T: 3, K: 6 },
    by: ["x", "g"],
  },
  "the largest, and a mean over what is left": {
    source:
      "fn f(x: f32[T, K]) -> f32[T] {\n  return y where y[t] = (max[k] x[t, k]) * (min[k] x[t, k]) + (mean[k in 1 .. K] x[t, k])^2\n}",
    sizes: { T: 3, K: 6 },
    by: ["x"],
  },
  "a logarithm of a sum of exponentials": {
    source:
      "fn f(x: f32[T, V]) -> f32[T] {\n  let m[t] = max[v] x[t, v]\n  return y where y[t] = m[t] + log(sum[v] exp(x[t, v] - m[t]))\n}",
    sizes: { T: 3, V: 6 },
    by: ["x"],
  },
  "a mean by softmax, whole": {
    source:
      "fn f(q: f32[T, H], k: f32[C, H], v: f32[C, R]) -> f32[T, R] {\n  return y where y[t, r] = softmax_mean[c in 0 .. min(t + 2, C)](sum[h] q[t, h] * k[c, h], v[c, r])\n}",
    sizes: { T: 3, C: 4, H: 2, R: 3 },
    by: ["q", "k", "v"],
  },
  "a mean by softmax in more, and one of one value": {
    source:
      "fn f(q: f32[T, H], k: f32[C, H], v: f32[C, R], u: f32[C]) -> f32[T, R] {\n  let m[t] = softmax_mean[c](q[t, 0] * u[c], u[c]^2)\n  return y where y[t, r] = q[t, 1] * m[t] + 2.0 * softmax_mean[c in 0 .. min(t + 2, C)](sum[h] q[t, h] * k[c, h], v[c, r])\n}",
    sizes: { T: 3, C: 4, H: 2, R: 3 },
    by: ["q", "k", "v", "u"],
  },
  "places: strides, quotients, remainders, turns": {
    source: `fn f(x: f32[T, A * H], s: f32[T, A], H: size) -> f32[T, A * H] where H % 2 == 0 {
  let r[t, a, h] = x[t, a * H + (h + H / 2) % H] * x[t, a * H + h] for a in 0 .. A, h in 0 .. H
  return y where y[t, n] = r[t, n / H, n % H] * s[t, n / H] for n in 0 .. A * H
}`,
    sizes: { T: 2, A: 3, H: 4 },
    by: ["x", "s"],
  },
  "places out of range give nothing": {
    source:
      "fn f(x: f32[T]) -> f32[T] {\n  return y where y[t] = x[t] * x[t - 1] + x[t + 2] * x[T - 1 - t] for t in 0 .. T\n}",
    sizes: { T: 6 },
    by: ["x"],
  },
  "rows that data chooses": {
    source: "fn f(ids: i32[T], table: f32[V, D]) -> f32[T, D] {\n  return y where y[t, d] = table[ids[t], d]^2\n}",
    sizes: { T: 5, V: 4, D: 3 },
    integers: { ids: [1, 3, 1, 1, 0] },
    by: ["table"],
  },
  "a sum up to what data says, in a condition": {
    source:
      "fn f(x: f32[T, C], n: i32[T]) -> f32[T] {\n  return y where y[t] = select(n[t] > 1, exp(sum[c in 0 .. min(n[t] + 1, C)] x[t, c] * x[t, c]), 0.5)\n}",
    sizes: { T: 4, C: 5 },
    integers: { n: [0, 2, 9, 3] },
    by: ["x"],
  },
  updates: {
    source: `fn f(x: f32[N], z: f32[M], p: i32[M]) -> f32[N] where N >= M {
  var y = x
  y[p[m]] = z[m] * z[m] for m in 0 .. M
  y[n] += y[n] * x[n] for n in 0 .. N
  y[p[m] + 1] += z[m] for m in 0 .. M
  return y
}`,
    sizes: { N: 6, M: 3 },
    integers: { p: [4, 0, 5] },
    by: ["x", "z"],
  },
  "an adjoint that is the same along an axis": {
    source:
      "fn f(x: f32[N], dy: f32[N, M]) -> f32[N] {\n  let y[n, m] = x[n] * dy[n, m]\n  let d[n] = sum[m] y[n, m]\n  return d\n}",
    sizes: { N: 3, M: 3 },
    by: ["x", "dy"],
  },
  "what is masked": {
    source:
      "fn f(x: f32[T, K], w: f32[N, K]) -> f32[T, N] where K % 4 == 0 {\n  let keep = top 2 of 4 along K in w\n  let s = w where keep\n  return y where y[t, n] = sum[k] x[t, k] * s[n, k]\n}",
    sizes: { T: 3, K: 8, N: 4 },
    by: ["x", "w"],
  },
  "a product in a product": {
    source:
      "fn f(x: f32[T, K], a: f32[R, K], b: f32[N, R]) -> f32[T, N] {\n  return y where y[t, n] = sum[r] b[n, r] * (sum[k] x[t, k] * a[r, k])\n}",
    sizes: { T: 3, K: 5, N: 4, R: 2 },
    by: ["x", "a", "b"],
  },
  "a reduction that lacks an index of the element": {
    source:
      "fn f(x: f32[T, N], w: f32[T, K]) -> f32[T, N] {\n  return y where y[t, n] = x[t, n] + (sum[k] w[t, k]^2) + x[t, n] * (mean[k] w[t, k])\n}",
    sizes: { T: 3, K: 5, N: 4 },
    by: ["x", "w"],
  },
};

for (const [name, { source, sizes = {}, integers = {}, by }] of Object.entries(cases))
  test(name, () => {
    const graph = graphOf(source, "f");
    const of = graph.outputs[0]?.name ?? "";
    const [whole, gradient] = [bound(graph, sizes), bound(gradientOf(graph, of, by), sizes)];
    const error = gradientError(whole, gradient, of, by, sampleInputs(whole, integers));
    assert.ok(error < 1e-6, `${error}`);
  });

test("the layer of the library", () => {
  const library = standardLibrary();
  const sizes = { B: 2, T: 3, A: 4, G: 2, H: 4, C: 5 };
  const attention = library.get("attention")!;
  const whole = bound(attention, sizes, { E: "f32" });
  const by = ["q", "keys", "values"];
  const gradient = bound(gradientOf(attention, "y", by), sizes, { E: "f32" });
  const error = gradientError(whole, gradient, "y", by, sampleInputs(whole, { positions: [0, 2] }));
  assert.ok(error < 1e-6, `${error}`);
});

test.run();
