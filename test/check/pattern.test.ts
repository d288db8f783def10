import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkText, codes, graphOf, rendered } from "./support.js";
import { printPattern } from "../../compiler/check/pattern.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import { verify } from "../../compiler/graph/verify.js";

const test = suite("patterns");

/** The pattern of the result of a function whose body has `w`, `v`, `x`, `keep` (2:4) and `other` (2:4). */
function patternOf(body: string): string {
  const graph = graphOf(
    `fn f(w: f32[N, K], v: f32[N, K], x: f32[K], score: f32[N, K]) -> f32[N, K] where K % 8 == 0 {
    let keep = top 2 of 4 along k in score
    let other = top 2 of 4 along k in w
    ${body}
  }`.replace("-> f32", "-> f32"),
    "f",
  );
  return printPattern(graph.values[graph.outputs[0]?.value ?? 0]?.type.pattern ?? { kind: "full" });
}

const kept = [
  "return w where keep",
  "return y where y[n, k] = w[n, k] where keep[n, k]",
  "return y where y[n, k] = select(keep[n, k], w[n, k] * 2 + 1, 0)",
  "return y where y[n, k] = select(keep[n, k] and w[n, k] > 0, w[n, k], 0)",
  "return y where y[n, k] = select(not keep[n, k], 0, w[n, k]) where keep[n, k]",
  "return y where y[n, k] = select(not keep[n, k], 0, w[n, k])",
  "let s = w where keep  return y where y[n, k] = s[n, k] * x[k]",
  "let s = w where keep  let t = v where keep  return y where y[n, k] = s[n, k] + t[n, k] - 2 * s[n, k]",
  "let s = w where keep  return y where y[n, k] = -abs(round(s[n, k] / x[k])) * x[k]",
  "let s = w where keep  return y where y[n, k] = s[n, k]^2",
  "let s = w where keep  return y where y[n, k] = min(max(s[n, k], 0.0), 0.0)",
  "let s = w where keep  return y where y[n, k] = f32(f16(s[n, k]))",
  "let s = w where keep  return y where y[n, k] = sum[j in 0 .. 3] s[n, k] * x[j]",
  "let s = w where keep  let nz[n, k] = s[n, k] != 0  return v where nz",
  "var s = w where keep  s[n, k] -= v[n, k] where keep[n, k]  return s",
  "var s = w where keep  s[n, k] = 0 for k in 0 .. 4  return s",
  "var s = w where keep  s[n, j] -= select(keep[n, j], v[n, j], 0) for j in 1 .. K  return s",
  "var s = w  s[n, k] = v[n, k] where keep[n, k]  return s",
];

const lost = [
  "return w",
  "let s = w where keep  return y where y[n, k] = s[n, k] + 1",
  "let s = w where keep  return y where y[n, k] = exp(s[n, k])",
  "let s = w where keep  let t = v where other  return y where y[n, k] = s[n, k] + t[n, k]",
  "let s = w where keep  return y where y[n, k] = x[k] / s[n, k]",
  "let s = w where keep  return y where y[n, k] = s[n, (k + 1) % K] for k in 0 .. K",
  "let s = w where keep  return y where y[n, k] = select(keep[n, k], 0, s[n, k] + 1)",
  "let s = w where keep  return y where y[n, k] = max(s[n, k], 1.0)",
  "var s = w where keep  s[n, k] -= v[n, k]  return s",
  "var s = w where keep  s[n, k] = v[n, k] for k in 0 .. 4  return s",
  "var s = w where keep  s[n, k] = w[n, k] where other[n, k]  return s where other".replace(
    "  return s where other",
    "  let t[n, k] = s[n, k] + w[n, k]  return t",
  ),
];

for (const body of kept) test(`kept: ${body}`, () => assert.is(patternOf(body), "2:4"));
for (const body of lost) test(`lost: ${body}`, () => assert.is(patternOf(body), "full"));

test("a part of a tensor, or one with zeros around, keeps n:m without the mask", () => {
  for (const [body, shape] of [
    ["return v where v[n, k] = w[n, k] where keep[n, k] for n in 0 .. N, k in 0 .. K / 2", "[N, K / 2]"],
    ["return v where v[n, k] = (w[n, k] where keep[n, k]) for n in 0 .. N, k in 0 .. K + 4", "[N, K + 4]"],
    [
      "let blank[n, k] = 0.0 for n in 0 .. N, k in 0 .. K + 4  var v = blank  v[n, k] = (w[n, k] where keep[n, k]) for n in 0 .. N, k in 0 .. K + 4  return v",
      "[N, K + 4]",
    ],
  ] as const) {
    const graph = graphOf(
      `fn f(w: f32[N, K]) -> f32${shape} where K % 8 == 0 { let keep = top 2 of 4 along k in w  ${body} }`,
      "f",
    );
    const { pattern } = graph.values[graph.outputs[0]!.value]!.type;
    assert.is(pattern.kind === "full" ? pattern : pattern.mask, null, body);
    assert.is(printPattern(pattern), "2:4", body);
    const bound = specialize(
      graph,
      {
        sizes: new Map([
          ["N", 2],
          ["K", 8],
        ]),
        dtypes: new Map(),
        formats: new Map(),
      },
      { f16: false },
    );
    assert.ok("graph" in bound);
    assert.equal(verify(bound.graph), [], body);
  }
});

test("of a square tensor the axis of a pattern is named by its number", () => {
  const source = (along: string): string =>
    `fn f(w: f32[K, K]) -> f32[K, K] is 2:4 along ${along} where K % 4 == 0 { return w where top 2 of 4 along 1 in w }`;
  const graph = graphOf(source("1"), "f");
  assert.is(printPattern(graph.values[graph.outputs[0]!.value]!.type.pattern), "2:4");
  assert.equal(codes(source("K")), ["E417"]);
  assert.match(rendered(checkText(source("0")).diagnostics, { "main.esp": source("0") }), /2:4 along 0/);
  const constant =
    "fn g(keep: mask[N, 8] is 2:4 along 1) -> mask[N, 8] { return keep }  fn f(w: f32[N, 8]) -> f32[N, 8] { let kept[n, k] = w[n, k] > 0.0  return w where g(kept) }";
  assert.match(rendered(checkText(constant).diagnostics, { "main.esp": constant }), /mask\[N, 8\] is 2:4 along 1/);
});

test("what an update writes has the pattern only if it writes every element", () => {
  const patternAt = (at: string): string => {
    const graph = graphOf(
      `fn f(w0: f32[N, N]) -> f32[N, N] where N % 4 == 0 {
      let keep = top 2 of 4 along 1 in w0
      var w = w0
      w[${at}] = w0[${at}] where keep[${at}]
      return w
    }`,
      "f",
    );
    return printPattern(graph.values[graph.outputs[0]?.value ?? 0]?.type.pattern ?? { kind: "full" });
  };
  assert.is(patternAt("n, k"), "2:4");
  assert.is(patternAt("n, n"), "full");
});

test("a mask that is no `top` makes an unstructured pattern", () => {
  const graph = graphOf("fn f(w: f32[N, K]) -> f32[N, K] { let keep[n, k] = w[n, k] > 1.0  return w where keep }", "f");
  assert.is(graph.values.at(-1)?.type.pattern.kind, "masked");
});

test("a pattern goes through calls", () => {
  const source = `
fn scaled(w: f32[N, K], x: f32[K]) -> f32[N, K] { return y where y[n, k] = w[n, k] * x[k] }
fn mask(w: f32[N, K]) -> mask[N, K] is 2:4 along K where K % 4 == 0 { return top 2 of 4 along k in w }
fn f(w: f32[N, K], x: f32[K]) -> f32[N, K] is 2:4 along K where K % 4 == 0 { return scaled(w where mask(w), x) }`;
  assert.equal(codes(source), []);
});

test("an annotation of a parameter is believed, and demanded of the argument", () => {
  const inner =
    "fn inner(w: f32[N, K] is 2:4 along K) -> f32[N, K] is 2:4 along K { return y where y[n, k] = 2 * w[n, k] }\n";
  assert.equal(codes(`${inner}fn f(w: f32[N, K]) -> f32[N, K] { return inner(w) }`), ["E505"]);
  assert.equal(
    codes(
      `${inner}fn f(w: f32[N, K]) -> f32[N, K] where K % 4 == 0 { let keep = top 1 of 4 along k in w  return inner(w where keep) }`,
    ),
    [],
  );
});

test("an annotation of a result is proved", () => {
  assert.equal(codes("fn f(w: f32[N, K]) -> f32[N, K] is 2:4 along K { return w }"), ["E505"]);
});

test("symbolic n and m", () => {
  assert.equal(
    codes(
      "fn f(w: f32[N, K], n: size, m: size) -> mask[N, K] is n:m along K where K % m == 0 { return top n of m along k in w }",
    ),
    [],
  );
  assert.equal(
    codes(
      "fn f(w: f32[N, K], n: size, m: size) -> mask[N, K] is n:4 along K where K % m == 0 { return top n of m along k in w }",
    ),
    ["E505"],
  );
});

test("`top` in index notation, along one of its indices", () => {
  assert.equal(
    codes(
      "fn f(w: f32[N, K], x: f32[K]) -> mask[N, K] is 2:4 along K where K % 4 == 0 { return keep where keep[n, k] = top 2 of 4 along k in abs(w[n, k]) * x[k] }",
    ),
    [],
  );
});

test("packing what is not of the pattern says where it was lost", () => {
  const source = `fn f(w0: f32[N, K], e: f32[N, K]) -> f32[N, K] as nm(2, 4) of f16 where K % 4 == 0 {
  let keep = top 2 of 4 along k in w0
  var w = w0 where keep
  w[n, k] -= e[n, k]
  return pack w as nm(2, 4) of f16
}`;
  const [found, ...more] = checkText(source).diagnostics;
  assert.is(more.length, 0);
  assert.is(found?.code, "E502");
  assert.is(found?.message, "`w` is packed as 2:4, but nothing guarantees that 2 of every 4 along `k` are zero");
  assert.equal(
    found?.labels.map((label) => source.slice(label.span.start, label.span.end)),
    ["w", "w[n, k] -= e[n, k]"],
  );
  assert.is(found?.labels[1]?.message, "this update writes to pruned weights");
  assert.is(found?.help, "keep the mask: `... where keep`");
});

test("a pattern implies weaker ones", () => {
  const pack = (n: number, m: number, format: string): readonly string[] =>
    codes(
      `fn f(w: f32[N, K]) -> f32[N, K] as ${format} where K % 8 == 0 { return pack (w where top ${n} of ${m} along k in w) as ${format} }`,
    );
  assert.equal(pack(2, 4, "nm(2, 4) of f16"), []);
  assert.equal(pack(1, 4, "nm(2, 4) of f16"), []);
  assert.equal(pack(2, 4, "nm(4, 8) of f16"), []);
  assert.equal(pack(4, 8, "nm(2, 4) of f16"), ["E502"]);
  // two of each four may be four of the eight
  assert.equal(pack(2, 4, "nm(2, 8) of f16"), ["E502"]);
});

test.run();
