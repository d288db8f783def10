import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printPattern } from "../../compiler/check/pattern.js";
import { checkText, codes, graphOf, linesOf, messages } from "./support.js";

const test = suite("scan and factorisations");

/** A function whose body has `w0`, `u`, `s` (one for each row) and `keep` (2:4). */
const inside = (
  body: string,
): string => `fn f(w0: f32[N, K], u: f32[K, K], s: f32[N], score: f32[N, K]) -> f32[N, K] where K % 4 == 0 {
  let keep = top 2 of 4 along k in score
  ${body}
}`;

/** The pattern of the result of such a function. */
function patternOf(body: string): string {
  const graph = graphOf(inside(body), "f");
  return printPattern(graph.values[graph.outputs[0]?.value ?? 0]?.type.pattern ?? { kind: "full" });
}

test("what the body changes becomes a state, the step may bound ranges, and the trailing update is an `add`", () => {
  assert.equal(
    linesOf(
      `fn gptq(w0: f32[N, K], u: f32[K, K], s: f32[N]) -> f32[N, K] {
    var w = w0
    var unchanged = u
    scan k in 0 .. K {
      let d = u[k, k]
      let q[n] = round(w[n, k] / s[n]) * s[n]
      let e[n] = (w[n, k] - q[n]) / d
      w[n, j] -= e[n] * unchanged[k, j] for j in k .. K
      w[n, k] = q[n]
    }
    return w
  }`,
      "gptq",
    ),
    [
      "graph gptq[N, K](%0 w0: f32[N, K], %1 u: f32[K, K], %2 s: f32[N])",
      "%8 w: f32[N, K] = scan k in 0..K from %3 = %0:",
      "%4 q: f32[N] = map n: round(%3[n, k] / %2[n]) * %2[n]",
      "%5 e: f32[N] = map n: (%3[n, k] - %4[n]) / %1[k, k]",
      "%6 w: f32[N, K] = update %3[n, j] += -(%5[n] * %1[k, j]) for n in 0..N, j in k..K",
      "%7 w: f32[N, K] = update %6[n, k] = %4[n] for n in 0..N",
      "next %7",
      "return %8 w",
    ],
  );
});

test("a window opens where the step is a multiple; what a row has is a map", () => {
  const lines = linesOf(
    `fn f(w0: f32[N, K], group: size) -> f32[N, K] where K % group == 0 {
    var w = w0
    scan k in 0 .. K {
      let end = select(k % group == 0, k + group, k)
      let largest[n] = max[j in k .. end] abs(w[n, j])
      w[n, j] = min(w[n, j], largest[n]) for j in k .. end
    }
    return w
  }`,
    "f",
  );
  assert.ok(
    lines.includes("%2 largest: f32[N] = map n: max j in k..select(k % group == 0, k + group, k): abs(%1[n, j]?)"),
    lines.join("\n"),
  );
  assert.ok(
    lines.some((line) => line.includes("for n in 0..N, j in k..select(k % group == 0, k + group, k)")),
    lines.join("\n"),
  );
});

test("scans in functions are inlined, loops in a step unrolled, and a step may have its own `var`", () => {
  const source = `fn inner(x: f32[K]) -> f32[K] {
    var y = x
    scan k in 1 .. K { y[k] += y[k - 1] }
    return y
  }
  fn outer(x: f32[K]) -> f32[K] {
    var y = inner(x)
    scan k in 0 .. K {
      let zero[i] = 0.0 for i in 0 .. 1
      var part = zero
      for i in 0 .. 3 { part[j] += y[k - i] for j in 0 .. 1 }
      y[k] = part[0]
    }
    return y
  }`;
  const text = linesOf(source, "outer").join("\n");
  assert.is(text.match(/ = scan /g)?.length, 2, text);
  assert.match(text, /update %\d+\[j\] \+= %\d+\[k - 2\]\? for j in 0..1/);
});

const kept = [
  "var w = w0 where keep  scan k in 0 .. K { let q[n] = round(w[n, k]) where keep[n, k]  w[n, k] = q[n] }  return w",
  "var w = w0 where keep  scan k in 0 .. K { let e[n] = w[n, k] / u[k, k]  w[n, j] -= (e[n] * u[k, j] where keep[n, j]) for j in k .. K }  return w",
  "var w = w0 where keep  scan k in 0 .. K { w[n, k] = w[n, k] * s[n] }  return w",
  "var w = w0 where keep  scan k in 0 .. K { w[n, k] = 0 }  return w",
  "var w = w0 where keep  var v = w0  scan k in 0 .. K { v[n, k] = w[n, k] }  return w",
  "var w = w0 where keep  var v = w  scan k in 0 .. K { v[n, k] += w[n, k] * s[n]  w[n, k] = v[n, k] }  return w",
  "var w = w0  scan k in 0 .. K { w[n, j] -= s[n] * u[k, j] for j in k .. K }  return w where keep",
];
const lost = [
  "var w = w0 where keep  scan k in 0 .. K { w[n, j] -= s[n] * u[k, j] for j in k .. K }  return w",
  "var w = w0 where keep  scan k in 0 .. K { let q[n] = round(w[n, k]) + 1  w[n, k] = q[n] }  return w",
  "var w = w0 where keep  scan k in 0 .. K { w[n, k] = w[n, k - 1] }  return w",
  "var w = w0 where keep  var v = w0  scan k in 0 .. K { w[n, k] = v[n, k]  v[n, k] = w[n, k] }  return w",
  "var w = w0 where keep  var v = w  scan k in 0 .. K { v[n, k] += s[n]  w[n, k] = v[n, k] }  return w",
];
for (const body of kept) test(`keeps the pattern: ${body}`, () => assert.is(patternOf(body), "2:4"));
for (const body of lost) test(`loses the pattern: ${body}`, () => assert.is(patternOf(body), "full"));

test("patterns are settled anew where a function with a scan is called", () => {
  const called = (update: string): string => `fn step(w0: f32[N, K], keep: mask[N, K]) -> f32[N, K] {
    var w = w0
    scan k in 0 .. K { w[n, j] -= ${update} for j in k .. K }
    return w
  }
  fn f(w0: f32[N, K]) -> f32[N, K] is 2:4 along K where K % 4 == 0 {
    let keep = top 2 of 4 along k in w0
    return step(w0 where keep, keep)
  }`;
  assert.equal(codes(called("w[n, k] where keep[n, j]")), []);
  assert.equal(codes(called("w[n, k]")), ["E505"]);
});

test("packing what the walk has refilled does not compile, and the update is named", () => {
  const source = inside(`var w = w0 where keep
  scan k in 0 .. K {
    let e[n] = (w[n, k] - round(w[n, k])) / u[k, k]
    w[n, j] -= e[n] * u[k, j] for j in k .. K
  }
  return pack w as nm(2, 4) of f16`).replace("-> f32[N, K]", "-> f32[N, K] as nm(2, 4) of f16");
  const { diagnostics } = checkText(source);
  assert.equal(
    diagnostics.map((found) => found.code),
    ["E502"],
  );
  const labels = diagnostics[0]!.labels.map(({ span, message }) => `${source.slice(span.start, span.end)}: ${message}`);
  assert.ok(
    labels.some((label) => label.startsWith("w[n, j] -= ") && label.includes("writes to pruned weights")),
    labels.join("\n"),
  );
  assert.match(diagnostics[0]!.help ?? "", /where keep/);
});

const wrong: { readonly [body: string]: readonly string[] } = {
  "var w = w0  scan k in 0 .. K { scan j in 0 .. K { w[n, j] = 0 } }  return w": ["E601"],
  "var w = w0  scan k in 0 .. K { let l = cholesky(u)  w[n, j] = l[j, k] for n in 0 .. N }  return w": ["E601"],
  "var w = w0  scan k in 0 .. K { let p = pack w as f16  w[n, j] = p[n, j] }  return w": ["E601"],
  "scan k in 0 .. K { var w = w0  w[n, k] = 0 }  return w0": ["E608"],
  "var w = w0  scan k in 0 .. K { return w }  return w": ["E308"],
  "var w = w0  scan k in 0 .. K { if true { } }  return w": ["E602"],
  "var w = w0  scan k in 0 - K .. K { w[n, k] = 0 }  return w": ["E415"],
  "var w = w0  scan k in 0 .. i32(s[0]) { w[n, k] = 0 }  return w": ["E415"],
  "var w = w0  scan k in 0 .. K { w[n, j] = 0 for j in i32(s[0]) .. K }  return w": ["E415"],
  "var w = w0  scan k in 0 .. K { let q[n, j] = w[n, j] for j in k .. K  w[n, j] = q[n, j] }  return w": ["E415"],
  "var w = w0  scan k in 0 .. K { w0[n, k] = 0 }  return w": ["E307"],
  "var w = w0  scan k in 0 .. K { let q[n] = v[n, k]  w[n, k] = q[n] }  return w": ["E201"],
  "let l = cholesky(w0)  return l": ["E413"],
  "let l = cholesky(s)  return w0 where keep": ["E303"],
  "let l = inverse_lower(keep)  return l": ["E301"],
  "let l = cholesky(u, u)  return l": ["E303"],
  "let v = eigenvectors(w0)  return v": ["E413"],
  "let v = eigenvectors(u)  let g = gradient of v by u  return g": ["E702"],
  "return y where y[n, k] = cholesky(u) for n in 0 .. N, k in 0 .. K": ["E306"],
};
for (const [body, expected] of Object.entries(wrong)) {
  test(`refused: ${body}`, () =>
    assert.equal(
      checkText(inside(body))
        .diagnostics.filter((found) => found.severity === "error")
        .map((found) => found.code),
      expected,
      messages(inside(body)).join("\n"),
    ));
}

test("a function with a scan is not called in a scan, and `cholesky` is no name for a function", () => {
  assert.equal(
    codes(`fn inner(x: f32[K]) -> f32[K] {
    var y = x
    scan k in 1 .. K { y[k] += y[k - 1] }
    return y
  }
  fn outer(x: f32[K]) -> f32[K] {
    var y = x
    scan k in 0 .. K { let z = inner(y)  y[k] = z[k] }
    return y
  }`),
    ["E601"],
  );
  assert.equal(codes("fn cholesky(x: f32[K]) -> f32[K] { return x }"), ["E203"]);
});

test("a name that only the first look at the body uses gives no warning twice", () => {
  const source = inside(
    "var w = w0 where keep  scan k in 0 .. K { let unused[n] = w[n, k]  w[n, j] -= s[n] for j in k .. K }  return w",
  );
  assert.equal(codes(source), ["E208"]);
});

test.run();
