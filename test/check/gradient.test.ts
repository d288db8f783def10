import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bound } from "../support/gradients.js";
import { evaluateReals, realZeros } from "../support/real-numbers.js";
import { checkText, codes, graphOf, linesOf, messages } from "./support.js";

const test = suite("gradient of y by x");

const fn = (body: string, head = "fn f(x: f32[T, K], w: f32[N, K]) -> f32[N, K]"): string => `${head} {\n${body}\n}\n`;

test("is made of equations, adjoints of products of products", () => {
  const source = fn(
    "  let y[t, n] = sum[k] x[t, k] * w[n, k]\n  let e[t] = sum[n] y[t, n]^2\n  return gradient of e by w",
  );
  assert.equal(linesOf(source, "f").slice(1), [
    "%2 y: f32[T, N] = map t, n: sum k in 0..K: %0[t, k] * %1[n, k]",
    "%3 d_e: f32[T] = map i0: 1.0",
    "%4 d_y: f32[T, N] = map i0, i1: %3[i0] * (2.0 * %2[i0, i1])",
    "%5 d_w: f32[N, K] = map i0, i1: sum t in 0..T: %4[t, i0] * %0[t, i1]",
    "return %5 result",
  ]);
});

test("keeps the pattern of what is masked: zeros have no slope, and their type says so", () => {
  const head = "fn f(x: f32[T, K], w: f32[N, K]) -> f32[N, K] is 2:4 along K where K % 4 == 0";
  const body = `  let keep = top 2 of 4 along K in w
  let s = w where keep
  let y[t] = sum[n, k] x[t, k] * s[n, k]
  return gradient of y by w`;
  assert.equal(codes(fn(body, head)), []);
});

test("goes through calls, several names, and an adjoint of its own", () => {
  const source = `fn twice(x: f32[N]) -> f32[N] {
  return y where y[n] = x[n] * x[n]
}
fn f(x: f32[N], z: f32[N], dy: f32[N]) -> f32[N], f32[N] {
  let a = twice(x)
  let y[n] = a[n] * z[n]
  let dx, dz = gradient of y by x, z with dy
  return dx, dz
}
`;
  const graph = bound(graphOf(source, "f"), { N: 2 });
  const tensor = (...data: number[]) => ({ ...realZeros([2]), data: Float64Array.from(data) });
  const found = evaluateReals(
    graph,
    new Map([
      ["x", tensor(3, 5)],
      ["z", tensor(7, 2)],
      ["dy", tensor(1, 10)],
    ]),
  );
  assert.equal([...(found.get("dx")?.data ?? [])], [2 * 3 * 7, 2 * 5 * 2 * 10]);
  assert.equal([...(found.get("dz")?.data ?? [])], [9, 250]);
});

test("of a gradient is a gradient", () => {
  const source = `fn f(x: f32[N]) -> f32[N] {
  let y[n] = x[n]^3
  let d = gradient of y by x
  return gradient of d by x
}
`;
  const graph = bound(graphOf(source, "f"), { N: 2 });
  const found = evaluateReals(graph, new Map([["x", { shape: [2], data: Float64Array.of(2, -3) }]]));
  assert.equal([...(found.get("result")?.data ?? [])], [12, -18]);
});

test("stop ends it, straight_through hands it on", () => {
  const source = `fn f(x: f32[N], z: f32[N]) -> f32[N], f32[N], f32[N] {
  let y[n] = x[n] * stop(x[n]) + straight_through(z[n], round(x[n] * x[n]))
  let dx, dz = gradient of y by x, z
  return y, dx, dz
}
`;
  const graph = bound(graphOf(source, "f"), { N: 1 });
  const one = (value: number) => ({ shape: [1], data: Float64Array.of(value) });
  const found = evaluateReals(
    graph,
    new Map([
      ["x", one(1.5)],
      ["z", one(100)],
    ]),
  );
  assert.equal(
    ["y", "dx", "dz"].map((name) => found.get(name)?.data[0]),
    [1.5 * 1.5 + 2, 1.5, 1],
  );
});

test("refuses what is no number, an adjoint of another shape or dtype, and a place in a step", () => {
  const ask = (result: string, more = ""): readonly string[] =>
    codes(fn(`  let y[t, n] = sum[k] x[t, k] * w[n, k]\n${more}  return ${result}`));
  assert.equal(ask("gradient of y by w"), []);
  assert.equal(ask("gradient of y by w with w"), ["E413"]);
  assert.equal(ask("gradient of y by m", "  let m[n, k] = w[n, k] > 0.0\n"), ["E304"]);
  assert.equal(ask("gradient of y by v"), ["E201"]);
  assert.equal(ask("gradient of y by w with h", "  let h[t, n] = f16(y[t, n])\n"), ["E301"]);
  const scan = fn(
    "  var v = w\n  scan k in 0 .. K {\n    let y[n] = v[n, k]^2\n    let d = gradient of y by v\n    v[n, k] = d[n, k]\n  }\n  return v",
    "fn f(w: f32[N, K]) -> f32[N, K]",
  );
  assert.equal(codes(scan), ["E702"]);
});

test("names every op that cuts the way", () => {
  const source = fn(
    "  let q[n, k] = floor(w[n, k])\n  let s[n, k] = sign(q[n, k]) * x[0, k]\n  return gradient of s by w",
  );
  assert.equal(messages(source), [
    "`s` depends on `w` only through `floor`, `sign`, and no gradient goes through them",
  ]);
});

test("a wrong form is told how it is written", () => {
  const help = (text: string): string | null | undefined =>
    checkText(fn(`  let y[t, n] = sum[k] x[t, k] * w[n, k]\n  return ${text}`)).diagnostics[0]?.help;
  for (const text of ["gradient y by w", "gradient of y", "gradient of y with w", "gradient(y, w)"])
    assert.match(help(text) ?? "", "gradient of loss by w", text);
});

test.run();
