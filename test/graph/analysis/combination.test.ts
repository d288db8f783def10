import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { howCombined, type Combination } from "../../../compiler/graph/analysis/combination.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { standardLibrary } from "../../../runtime/library.js";
import { graphOf } from "../../check/support.js";
import { runs } from "../../support/runs.js";
import { difference } from "../../support/tolerance.js";

const test = suite("combination");

const columns = 4;

/** What a statistic gives of some tokens. */
function given(graph: SymbolicGraph, x: readonly (readonly number[])[], dense = x): readonly number[] {
  const sizes = new Map([
    ["T", x.length],
    ["K", columns],
  ]);
  const bound = specialize(graph, { sizes, dtypes: new Map([["E", "f32"]]), formats: new Map() }, { f16: false });
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  const rows = (tokens: readonly (readonly number[])[]) => tensorValue("f32", [x.length, columns], tokens.flat());
  const inputs = bound.graph.inputs.map(({ name }, at) => [name, rows(at === 0 ? x : dense)] as const);
  const [output] = bound.graph.outputs;
  return [...evaluate(bound.graph, new Map(inputs)).get(output!.name)!.data];
}

const combining: Readonly<Record<Combination, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  max: Math.max,
  min: Math.min,
};

/** Whether f(a b) = f(a) + f(b) for some a and b; or the larger, or the smaller, of the two. */
function combinesBy(
  by: Combination,
  graph: SymbolicGraph,
  a: readonly (readonly number[])[],
  b: readonly (readonly number[])[],
): boolean {
  const [one, other] = [given(graph, a), given(graph, b)];
  const both = given(graph, [...a, ...b]);
  return (
    difference(
      both,
      one.map((value, at) => combining[by](value, other[at]!)),
      "chain",
    ) === null
  );
}

const few = [
  [3, -1, 2, 0.5],
  [1, 4, -2, 5],
];
const more = [
  [-3, 2, 6, 1],
  [0, 2.5, 1, -1],
  [7, 1, 1, 3],
];

function statistic(body: string): SymbolicGraph {
  return graphOf(
    `fn halved(x: f32) -> f32 { return x / 2 }
fn f(x: E[T, K], dense: E[T, K]) -> f32[K] where K % 4 == 0 {
${body}
}`,
    "f",
  );
}

const sums: readonly string[] = [
  "return s where s[k] = sum[t] f32(x[t, k])^2",
  "return s where s[k] = 3.0 * (sum[t] f32(x[t, k])) - (sum[t] abs(f32(x[t, k]))) / f32(K)",
  "return s where s[k] = f32(sum[t] x[t, k])",
  "return s where s[k] = sum[t] min(abs(f32(x[t, k])), 2.0)",
  "return s where s[k] = f32(count[t] (f32(x[t, k]) > 1.0))",
  "return s where s[k] = sum[t] (f32(x[t, k]) - f32(dense[t, k]) / 2.0)^2",
  "return s where s[k] = sum[t, j] f32(x[t, k]) * f32(x[t, j])",
  "return s where s[k] = mean[j in 0 .. k + 1] (sum[t] f32(x[t, j])) for k in 0 .. K",
  "return s where s[k] = f32(2 * T) for k in 0 .. K",
  "return s where s[k] = sum[t in 0 .. T] 1.0 for k in 0 .. K",
  "return s where s[k] = 0.0 for k in 0 .. K",
  "let a[k] = sum[t] f32(x[t, k])\n let b[k] = a[k] + a[k - 1]\n return s where s[k] = halved(b[k])",
  "let w[k] = f32(k) - 1.5 for k in 0 .. K\n return s where s[k] = select(w[k] > 0.0, sum[t] f32(x[t, k]), 0.0) * w[k]",
  // a token's own norm, rank, and choice
  "let n[t] = sqrt(sum[k] f32(x[t, k])^2)\n return s where s[k] = sum[t] (f32(x[t, k]) / n[t])^2",
  "let keep = top 1 of 2 along 1 in x\n return s where s[k] = sum[t] (f32(x[t, k]) where keep[t, k])",
  "let best[t] = argmax[k] f32(x[t, k])\n let none[k] = 0.0 for k in 0 .. K\n var s = none\n s[best[t]] += f32(x[t, 0]) for t in 0 .. T\n return s",
  "let y[t, k] = f32(x[t, k])\n var z = y\n z[t, k] -= y[t, 0]\n return s where s[k] = sum[t] abs(z[t, k])",
  // linear steps one after another
  "let a[k] = sum[t] f32(x[t, k])\n var c = a\n for i in 0 .. 3 { c[k] = (c[k] + c[k - 1]) / 2 for k in 1 .. K }\n return c",
  "let none[k] = 0.0 for k in 0 .. K\n let a[k] = sum[t] f32(x[t, k])\n var c = none\n scan k in 1 .. K { c[k] = c[k - 1] + a[k] }\n return c",
  "let y[t, k] = f32(x[t, k])\n var c = y\n scan k in 1 .. K { c[t, k] = max(c[t, k - 1], c[t, k]) }\n return s where s[k] = sum[t] c[t, k]",
];

/** The largest, or by the second the smallest, over tokens, and what rises or falls with it. */
const extremes: readonly (readonly [Combination, string])[] = [
  ["max", "return s where s[k] = max[t] abs(f32(x[t, k]))"],
  ["min", "return s where s[k] = min[t] f32(x[t, k])"],
  ["min", "return s where s[k] = 0.0 - max[t] f32(x[t, k])"],
  ["min", "return s where s[k] = -2.0 * (max[t] f32(x[t, k])) + 1.0"],
  ["max", "return s where s[k] = max(max[t] abs(f32(x[t, k])), 0.00001) / f32(K)"],
  ["max", "return s where s[k] = min(exp(max[t] f32(x[t, k])), 4.0)"],
  ["max", "return s where s[k] = max(max[t] f32(x[t, k]), -(min[t] f32(x[t, k])))"],
  ["max", "return s where s[k] = max[t, j] f32(x[t, k]) * f32(x[t, j])"],
  ["max", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = max[j in 0 .. k + 1] a[j] for k in 0 .. K"],
  ["max", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = round(a[k - 1]) for k in 0 .. K"],
  ["max", "let n[t] = sqrt(sum[k] f32(x[t, k])^2)\n return s where s[k] = max[t] f32(x[t, k]) / n[t]"],
  ["max", "return s where s[k] = max[t] abs(f32(x[t, k]) - f32(dense[t, k]) / 2.0)"],
  ["max", "let a[k] = max[t] f32(x[t, k])\n var c = a\n c[0] = 1.0\n return c"],
  [
    "max",
    "let one[k] = 1.0 for k in 0 .. K\n let a[k] = max[t] f32(x[t, k])\n var c = one\n scan k in 1 .. K { c[k] = max(c[k - 1], a[k]) }\n return c",
  ],
  [
    "min",
    "let w[k] = f32(k) - 1.5 for k in 0 .. K\n return s where s[k] = select(w[k] > 0.0, min[t] f32(x[t, k]), w[k])",
  ],
];

const others: readonly (readonly [string, string])[] = [
  ["reduction mean", "return s where s[k] = mean[t] f32(x[t, k])"],
  ["op multiply", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = sum[j] a[j] * a[k]"],
  ["op sum", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = sum[j in 0 .. k + 1] a[j] for k in 0 .. K"],
  ["op min", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = min[j in 0 .. k + 1] a[j] for k in 0 .. K"],
  ["op min", "return s where s[k] = min(max[t] f32(x[t, k]), max[t] f32(x[t, 0]))"],
  ["op add", "let a[k] = max[t] f32(x[t, k])\n return s where s[k] = a[k] + a[0]"],
  ["op subtract", "return s where s[k] = (max[t] f32(x[t, k])) - (min[t] f32(x[t, k]))"],
  ["op abs", "return s where s[k] = abs(max[t] f32(x[t, k]) - 4.0)"],
  ["op multiply", "return s where s[k] = (max[t] f32(x[t, k])) * f32(T)"],
  ["mixed", "return s where s[k] = (max[t] f32(x[t, k])) + (sum[t] f32(x[t, k]))"],
  ["mixed", "return s where s[k] = max(max[t] f32(x[t, k]), 5.0 + min[t] f32(x[t, k]))"],
  ["position", "return s where s[k] = max[t in 1 .. T] f32(x[t, k])"],
  ["others", "return s where s[k] = max[t] f32(x[t, k]) * f32(x[0, k])"],
  ["reduction argmax", "return s where s[k] = f32(argmax[t] f32(x[t, k]))"],
  ["op sqrt", "return s where s[k] = sqrt(sum[t] f32(x[t, k])^2)"],
  ["op multiply", "let a[k] = sum[t] f32(x[t, k])\n return s where s[k] = a[k] * a[0]"],
  ["op divide", "return s where s[k] = (sum[t] f32(x[t, k])) / f32(T)"],
  ["op power", "return s where s[k] = (sum[t] f32(x[t, k]))^2"],
  ["op max", "return s where s[k] = max(sum[t] f32(x[t, k]), 4.0)"],
  ["op greater", "let a[k] = sum[t] f32(x[t, k])\n return s where s[k] = a[k] where (a[k] > 4.0)"],
  ["op cast", "return s where s[k] = f32(i32((sum[t] f32(x[t, k])) / 4.0))"],
  [
    "op top",
    "let a[k] = sum[t] f32(x[t, k])\n let keep = top 2 of 4 along k in a\n return s where s[k] = select(keep[k], a[k], 0.0)",
  ],
  ["offset", "return s where s[k] = 1.0 + sum[t] f32(x[t, k])"],
  ["offset", "return s where s[k] = 1.0 for k in 0 .. K"],
  ["offset", "let one[k] = 1.0 for k in 0 .. K\n var c = one\n c[k] += sum[t] f32(x[t, k])\n return c"],
  ["offset", "let a[k] = sum[t] f32(x[t, k])\n var c = a\n c[0] = 1.0\n return c"],
  [
    "offset",
    "let one[k] = 1.0 for k in 0 .. K\n let a[k] = sum[t] f32(x[t, k])\n var c = one\n scan k in 0 .. K { c[k] += a[k] }\n return c",
  ],
  ["position", "return s where s[k] = sum[t] f32(t) * f32(x[t, k])"],
  ["position", "return s where s[k] = sum[t in 0 .. T - 1] f32(x[t, k])"],
  ["position", "return s where s[k] = sum[t in 1 .. T] f32(x[t, k])"],
  ["position", "return s where s[k] = f32(T - 1) for k in 0 .. K"],
  ["position", "let a[k] = sum[t] f32(x[t, k])\n var c = a\n scan t in 0 .. T { c[k] = c[k] * 0.5 }\n return c"],
  ["others", "return s where s[k] = f32(x[0, k])"],
  ["others", "return s where s[k] = sum[t] f32(x[t, k]) * f32(x[t - 1, k])"],
  ["others", "return s where s[k] = sum[t, u] f32(x[t, k]) * f32(x[u, k])"],
  ["others", "let a[k] = sum[t] f32(x[t, k])\n return s where s[k] = sum[t] a[k] * f32(x[t, k])"],
  [
    "others",
    "let y[t, k] = f32(x[t, k])\n var z = y\n z[0, k] = 0.0 for k in 0 .. K\n return s where s[k] = sum[t] z[t, k]",
  ],
];

function reasonOf(how: ReturnType<typeof howCombined>): string {
  if (typeof how === "string") return how;
  return "op" in how.reason ? `${how.reason.kind} ${how.reason.op}` : how.reason.kind;
}

test("sums over tokens, and what is linear in them, are proved; they are sums", () => {
  for (const body of sums) {
    const graph = statistic(body);
    assert.is(howCombined(graph, "T"), "sum", body);
    assert.ok(combinesBy("sum", graph, few, more), body);
  }
});

test("maxima and minima over tokens, and what rises or falls with them, are proved; they are such", () => {
  for (const [by, body] of extremes) {
    const graph = statistic(body);
    assert.is(howCombined(graph, "T"), by, body);
    assert.ok(combinesBy(by, graph, few, more), body);
  }
});

test("what is none is refused with the reason; each of these is none", () => {
  for (const [reason, body] of others) {
    const graph = statistic(body);
    assert.is(reasonOf(howCombined(graph, "T")), reason, body);
    // what no token decides is the larger of itself twice, but no sum
    for (const by of reason === "offset" ? (["sum"] as const) : (["sum", "max", "min"] as const))
      assert.not(combinesBy(by, graph, few, more), `${by}: ${body}`);
  }
});

test("what combines in a way that the proof does not follow is refused, too", () => {
  const unproved = [
    ["op add", "let a[k] = max[t] f32(x[t, k])\n var c = a\n c[k] += a[k]\n return c"],
    [
      "others",
      "let keep[t, k] = top 1 of T along t in f32(x[t, k])\n return s where s[k] = sum[t] (f32(x[t, k]) where keep[t, k])",
    ],
    ["reduction any", "return s where s[k] = select(any[t] (f32(x[t, k]) > 0.0), 1.0, 0.0)"],
  ] as const;
  for (const [reason, body] of unproved) {
    assert.is(reasonOf(howCombined(statistic(body), "T")), reason, body);
    assert.ok(combinesBy("max", statistic(body), few, more), body);
  }
});

test("the statistics of the library are sums, and maxima", () => {
  for (const name of ["feature_squares", "feature_magnitudes", "gram", "cross_gram"])
    assert.is(howCombined(standardLibrary().get(name)!, "T"), "sum", name);
  assert.is(howCombined(standardLibrary().get("feature_maxima")!, "T"), "max");
});

/** A value of the token t, and of column k, as it may be written. */
const { token, whole } = fc.letrec<{ token: string; whole: string }>((tie) => ({
  token: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom("x[t, k]", "2.0", "0.0", "n[t]", "x[t, 1]", "p[k]"),
    fc.constantFrom("x[t, k]", "f32(t)", "x[t - 1, k]", "x[0, k]", "g[k]", "f32(T)"),
    fc.tuple(fc.constantFrom("+", "-", "*"), tie("token"), tie("token")).map(([op, a, b]) => `(${a} ${op} ${b})`),
    tie("token").map((a) => `abs(${a})`),
    fc.tuple(tie("token"), tie("token")).map(([a, b]) => `max(${a}, ${b})`),
    fc.tuple(tie("token"), tie("token"), tie("token")).map(([a, b, c]) => `select(${a} > ${b}, ${c}, 0.0)`),
    tie("token").map((a) => `(sum[j in 0 .. k + 1] ${a} * x[t, j])`),
  ),
  whole: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    tie("token").map((a) => `(sum[t in 0 .. T] ${a})`),
    fc
      .tuple(
        fc.constantFrom(...["sum", "max", "min", "mean"].map((op) => `${op}[t in 0 .. T]`), "sum[t in 1 .. T]"),
        tie("token"),
      )
      .map(([op, a]) => `(${op} ${a})`),
    tie("token").map((a) => `f32(count[t in 0 .. T] (${a} > 0.0))`),
    fc.constantFrom("g[k]", "g[k - 1]", "m[k]", "m[k - 1]", "0.0", "1.0", "f32(T)", "x[0, k]", "p[k]"),
    fc.tuple(fc.constantFrom("+", "-", "*"), tie("whole"), tie("whole")).map(([op, a, b]) => `(${a} ${op} ${b})`),
    fc.tuple(fc.constantFrom("max", "min"), tie("whole"), tie("whole")).map(([op, a, b]) => `${op}(${a}, ${b})`),
    fc.tuple(fc.constantFrom("2.0", "-2.0", "p[k]", "f32(K)"), tie("whole")).map(([c, a]) => `(${a} * ${c})`),
    tie("whole").map((a) => `abs(${a})`),
    fc.tuple(tie("whole"), tie("whole")).map(([a, b]) => `select(p[k] > 0.0, ${a}, ${b})`),
  ),
}));

test("what is proved of a random function is so", () => {
  let [proved, refused] = [0, 0];
  const value = fc.integer({ min: -3, max: 3 });
  const tokens = fc.array(fc.array(value, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(token, whole, tokens, tokens, (own, body, a, b) => {
      const graph = graphOf(
        `fn f(x: f32[T, K]) -> f32[K] {
  let p[k] = f32(k) - 1.0 for k in 0 .. K
  let g[k] = sum[t] x[t, k]
  let m[k] = max[t] x[t, k]
  let n[t] = max[k in 0 .. K] ${own.replaceAll("n[t]", "1.0")} for t in 0 .. T
  return s where s[k] = ${body} for k in 0 .. K
}`,
        "f",
      );
      const by = howCombined(graph, "T");
      if (typeof by === "string") {
        proved++;
        return combinesBy(by, graph, a, b);
      }
      refused++;
      return true;
    }),
    runs(150),
  );
  assert.ok(proved >= 15 && refused >= 15, `${proved} proved, ${refused} refused`);
});

test.run();
