/** Functions with an adjoint of their own. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate, tensorValue } from "../../compiler/graph/evaluate.js";
import { verify } from "../../compiler/graph/verify.js";
import { print } from "../../compiler/syntax/print.js";
import { parse } from "../../compiler/syntax/parse.js";
import { bound, gradientError, gradientOf, sampleInputs } from "../support/gradients.js";
import { evaluateReals } from "../support/real-numbers.js";
import { runs } from "../support/runs.js";
import { codes, graphOf, linesOf } from "./support.js";

const test = suite("an adjoint of one's own");

/** The logarithm of a sum of exponentials, whose adjoint is `by` over the softmax. */
const total = (factor: string): string => `fn total(x: f32[T, V]) -> f32[T] gradient by total_adjoint {
  let m[t] = max[v] x[t, v]
  return y where y[t] = m[t] + log(sum[v] exp(x[t, v] - m[t]))
}

fn total_adjoint(x: f32[T, V], y: f32[T], dy: f32[T]) -> f32[T, V] {
  return dx where dx[t, v] = ${factor}dy[t] * exp(x[t, v] - y[t])
}

fn loss(x: f32[T, V], w: f32[V, V]) -> f32[T] {
  let z[t, v] = sum[k] x[t, k] * w[v, k]
  let y = total(z)
  return e where e[t] = y[t]^2
}
`;
const sizes = { T: 3, V: 5 };

test("is used: a right one gives the slope, a doubled one twice that", () => {
  for (const [factor, times] of [
    ["", 1],
    ["2.0 * ", 2],
  ] as const) {
    const graph = graphOf(total(factor), "loss");
    const [whole, gradient] = [bound(graph, sizes), bound(gradientOf(graph, "e", ["x", "w"]), sizes)];
    const error = gradientError(whole, gradient, "e", ["x", "w"], sampleInputs(whole));
    if (times === 1) assert.ok(error < 1e-6, `${error}`);
    else assert.ok(error > 0.1, "the adjoint was not used");
    // the function alone, as a loss of a training is
    const own = graphOf(total(factor), "total");
    const inputs = new Map([
      ...sampleInputs(bound(own, sizes)),
      ["d_y", { shape: [3], data: Float64Array.of(1, 1, 1) }],
    ]);
    const slope = evaluateReals(bound(gradientOf(own, "y", ["x"]), sizes), inputs).get("d_x");
    const row = [...(slope?.data ?? [])].slice(0, 5).reduce((sum, each) => sum + each, 0);
    assert.ok(Math.abs(row - times) < 1e-12, `${row}`);
  }
});

test("a gradient of the gradient is that of the adjoint", () => {
  const source = `${total("")}
fn slope(x: f32[T, V]) -> f32[T, V] {
  let y = total(x)
  return gradient of y by x
}
`;
  const graph = graphOf(source, "slope");
  const [whole, second] = [bound(graph, sizes), bound(gradientOf(graph, "result", ["x"]), sizes)];
  const error = gradientError(whole, second, "result", ["x"], sampleInputs(whole));
  assert.ok(error < 1e-6, `${error}`);
});

test("lets a gradient past a factorisation", () => {
  const source = `fn determinant_log(a: f32[K, K]) -> f32[K] gradient by determinant_adjoint {
  let l = cholesky(a)
  return y where y[k] = 2.0 * log(l[k, k])
}

/// Of the sum of the result, and so of equal adjoints: the inverse.
fn determinant_adjoint(a: f32[K, K], dy: f32[K]) -> f32[K, K] {
  let inverse = inverse_lower(cholesky(a))
  return da where da[i, j] = dy[0] * (sum[k] inverse[k, i] * inverse[k, j])
}

fn slope(a: f32[K, K]) -> f32[K, K] {
  let y = determinant_log(a)
  return gradient of y by a
}
`;
  const graph = bound(graphOf(source, "slope"), { K: 2 });
  const slope = evaluate(graph, new Map([["a", tensorValue("f32", [2, 2], [4, 1, 1, 3])]])).get("result");
  for (const [at, want] of [3 / 11, -1 / 11, -1 / 11, 4 / 11].entries())
    assert.ok(Math.abs((slope?.data[at] ?? 0) - want) < 1e-6, `${[...(slope?.data ?? [])]}`);
});

test("is printed with the graph, and leaves what is run as it is", () => {
  const lines = linesOf(total(""), "total");
  assert.ok(lines.includes("its adjoint %4 d_y: f32[T]:"), lines.join("\n"));
  assert.ok(lines.includes("gives %0 %5"), lines.join("\n"));
  const plain = total("").replace(" gradient by total_adjoint", "");
  const value = (source: string): readonly number[] => {
    const graph = bound(graphOf(source, "loss"), sizes);
    return [...(evaluateReals(graph, sampleInputs(graph)).get("e")?.data ?? [])];
  };
  assert.equal(value(total("")), value(plain));
});

test("an adjoint that is the derived one gives the same numbers, whatever the function", () => {
  const bodies = ["x[n, k] * w[k]", "x[n, k]^2 + w[k]", "exp(x[n, k]) * w[K - 1 - k]", "x[n, k - 1] / (2.0 + w[k]^2)"];
  fc.assert(
    fc.property(fc.constantFrom(...bodies), fc.constantFrom(...bodies), fc.integer({ min: 1, max: 6 }), (a, b, k) => {
      const source = (own: string): string => `fn f(x: f32[N, K], w: f32[K]) -> f32[N, K]${own} {
  let y[n, k] = ${a} for n in 0 .. N, k in 0 .. K
  return z where z[n, k] = y[n, k] + ${b} for n in 0 .. N, k in 0 .. K
}

fn same(x: f32[N, K], w: f32[K]) -> f32[N, K] {
  let y[n, k] = ${a} for n in 0 .. N, k in 0 .. K
  return z where z[n, k] = y[n, k] + ${b} for n in 0 .. N, k in 0 .. K
}

fn f_adjoint(x: f32[N, K], w: f32[K], dz: f32[N, K]) -> f32[N, K], f32[K] {
  let z = same(x, w)
  let dx, dw = gradient of z by x, w with dz
  return dx, dw
}

fn twice(x: f32[N, K], w: f32[K]) -> f32[N, K] {
  return f(f(x, w), w)
}
`;
      const slopes = (own: string): readonly number[] => {
        const graph = graphOf(source(own), "twice");
        const at = { N: 2, K: k };
        const gradient = bound(gradientOf(graph, "result", ["x", "w"]), at);
        assert.equal(verify(gradient), []);
        const found = evaluateReals(gradient, sampleInputs(gradient));
        return ["d_x", "d_w"].flatMap((name) => [...(found.get(name)?.data ?? [])]);
      };
      const [plain, owned] = [slopes(""), slopes(" gradient by f_adjoint")];
      for (const [at, each] of plain.entries()) assert.ok(Math.abs(each - owned[at]!) < 1e-9, `${plain}\n${owned}`);
    }),
    runs(10),
  );
});

test("is laid out, and needs no word of its own", () => {
  const { value } = parse(total(""), "main.esp");
  assert.is(value === null ? "" : print(value), total(""));
});

test("is held to the function that it belongs to", () => {
  const head = "fn f(x: f32[N], s: f32) -> f32[N] gradient by g {\n  return y where y[n] = s * x[n]\n}\n";
  const of = (text: string): readonly string[] => codes(`${head}\n${text}`);
  const g = (params: string, result: string, body: string): string => `fn g(${params}) -> ${result} {\n  ${body}\n}\n`;
  assert.equal(of(g("x: f32[N], s: f32, dy: f32[N]", "f32[N]", "return d where d[n] = s * dy[n] + 0.0 * x[n]")), []);
  assert.equal(of(""), ["E202"]);
  assert.equal(of(g("x: f32[N], dy: f32[N]", "f32[N]", "return d where d[n] = x[n] * dy[n]")), ["E704"]);
  assert.equal(of(g("x: f32[N], s: f32, dy: f32[N, N]", "f32[N]", "return d where d[n] = s * dy[n, 0] * x[n]")), [
    "E303",
  ]);
  assert.equal(of(g("x: f32[N], s: f32, dy: f16[N]", "f32[N]", "return d where d[n] = s * f32(dy[n]) * x[n]")), [
    "E301",
  ]);
  assert.equal(of(g("x: f32[N], s: f32, dy: f32[N]", "f32", "return sum[n] s * dy[n] * x[n]")), ["E704"]);
  assert.equal(
    of(g("x: f32[N], s: f32, dy: f32[N]", "f32[N]", "let y = f(x, s)\n  return d where d[n] = y[n] * dy[n]")),
    ["E205"],
  );
  assert.equal(
    of(
      g(
        "x: f32[N], s: f32, dy: f32[N]",
        "f32[N]",
        "var d = dy\n  scan k in 0 .. N {\n    d[k] = s * x[k]\n  }\n  return d",
      ),
    ),
    ["E704"],
  );
  const faulty = (text: string): readonly string[] =>
    codes(`${text}\nfn g(x: f32[N], dy: f32[N]) -> f32[N] {\n  return d where d[n] = x[n] * dy[n]\n}\n`);
  assert.equal(faulty("fn f(x: f32[N]) -> f32 gradient by g {\n  return sum[n] x[n]\n}\n"), ["E704"]);
  assert.equal(faulty("fn f(x: i32[N]) -> f32[N] gradient by g {\n  return y where y[n] = f32(x[n])\n}\n"), ["E704"]);
  assert.equal(faulty("fn f(x: f32[N]) -> mask[N] gradient by g {\n  return y where y[n] = x[n] > 0.0\n}\n"), ["E704"]);
});

test.run();
