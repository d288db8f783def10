import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  integer,
  load,
  reduce,
  select,
  sizeScalar,
  unary,
} from "../../compiler/graph/build.js";
import type { Scalar } from "../../compiler/graph/graph.js";
import { printGraph, printScalar } from "../../compiler/graph/print.js";
import { constantSize, divideSizes, symbolSize } from "../../compiler/types/size.js";
import type { Concrete, Symbolic } from "../../compiler/types/type.js";

const test = suite("print");

test("a symbolic graph reads like its program", () => {
  const [T, N, K] = ["T", "N", "K"].map(symbolSize) as [
    ReturnType<typeof symbolSize>,
    ReturnType<typeof symbolSize>,
    ReturnType<typeof symbolSize>,
  ];
  const group = constantSize(128);
  const b = buildGraph<Symbolic>("linear");
  const E = { parameter: "E" };
  const x = b.input("x", E, [T, K]);
  const w = b.input("w", E, [N, K], { format: { parameter: "F" } });
  const cache = b.input("cache", "f32", [N], { mutable: true });
  const scale = b.input("scale", "f32", [N, divideSizes(K, group)]);
  const k = b.range("k", 0, sizeScalar<Symbolic>(K));
  const y = b.map(
    "y",
    [T, N],
    (t, n) => reduce("sum", [k], binary("multiply", load(x, [t!, indexOf(k)]), load(w, [n!, indexOf(k)]))),
    { names: ["t", "n"] },
  );
  const keep = b.top("keep", w, constantSize(2), constantSize(4), 1);
  const sparse = b.map(
    "sparse",
    [N, K],
    (n, j) => select(load(keep, [n!, j!]), load(w, [n!, j!]), constant<Symbolic>(0, E)),
    { names: ["n", "k"], pattern: { kind: "nm", n: constantSize(2), m: constantSize(4), axis: 1, mask: keep.id } },
  );
  const packed = b.pack(
    "packed",
    sparse,
    { name: "nm", args: { n: constantSize(2), m: constantSize(4) }, of: { name: "int4", args: { group }, of: null } },
    { scale },
  );
  const n = b.range("n", 0, sizeScalar<Symbolic>(N));
  const next = b.update(
    "next",
    cache,
    [n],
    [indexOf(n)],
    cast(load(y, [integer<Symbolic>(0), indexOf(n)]), "f32"),
    "add",
  );
  b.constraint({ kind: "divides", left: K, right: group });
  b.constraint({ kind: "at-least", left: T, right: constantSize(1) });
  b.output("y", y);
  b.output("packed", packed);
  b.output("cache", next, cache);
  assert.is(
    printGraph(b.graph({ sizes: ["T", "N", "K"], dtypes: ["E"], formats: ["F"] })),
    `graph linear[T, N, K; E; F](%0 x: E[T, K], %1 w: E[N, K] as F, var %2 cache: f32[N], %3 scale: f32[N, (K / 128)])
  where K % 128 == 0
  where T >= 1
  %4 y: E[T, N] = map t, n: sum k in 0..K: %0[t, k] * %1[n, k]
  %5 keep: bool[N, K] is 2:4 along 1 by %5 = top 2 of 4 along 1 in %1
  %6 sparse: E[N, K] is 2:4 along 1 by %5 = map n, k: select(%5[n, k], %1[n, k], E(0.0))
  %7 packed: E[N, K] is 2:4 along 1 by %5 as nm(2, 4) of int4(128) = pack %6 as nm(2, 4) of int4(128) with scale %3
  %8 next: f32[N] = update %2[n] += f32(%4[0, n]) for n in 0..N
  return %4 y, %7 packed, %8 cache in place of %2
`,
  );
});

const [a, b, c] = [1, 2, 3].map((value) => constant<Concrete>(value)) as [
  Scalar<Concrete>,
  Scalar<Concrete>,
  Scalar<Concrete>,
];
const table: readonly (readonly [Scalar<Concrete>, string])[] = [
  [binary("multiply", binary("add", a, b), c), "(1.0 + 2.0) * 3.0"],
  [binary("add", a, binary("multiply", b, c)), "1.0 + 2.0 * 3.0"],
  [binary("subtract", a, binary("subtract", b, c)), "1.0 - (2.0 - 3.0)"],
  [binary("subtract", binary("subtract", a, b), c), "1.0 - 2.0 - 3.0"],
  [binary("power", unary("negate", a), b), "(-1.0) ^ 2.0"],
  [unary("negate", binary("power", a, b)), "-1.0 ^ 2.0"],
  [unary("not", binary("less", a, b)), "not (1.0 < 2.0)"],
  [
    binary("or", binary("and", binary("less", a, b), binary("equal", a, c)), unary("not", constant(1, "bool"))),
    "1.0 < 2.0 and 1.0 == 3.0 or not true",
  ],
  [binary("max", a, b), "max(1.0, 2.0)"],
  [cast(constant(3, "u32"), "f16"), "f16(3u)"],
  [constant(0.5, "f16"), "0.5h"],
  [constant(-0), "-0.0"],
  [constant(1e-7), "1e-7"],
];
for (const [scalar, text] of table) test(text, () => assert.is(printScalar(scalar), text));

test("a reduction is put in parentheses where something follows, and indices of one name are distinguished", () => {
  const g = buildGraph("g");
  const x = g.input("x", "f32", [4]);
  const [outer, inner] = [g.range("k", 0, 4), g.range("k", 0, 2)];
  const sum = reduce(
    "sum",
    [outer],
    binary("add", reduce("max", [inner], load(x, [binary("add", indexOf(outer), indexOf(inner))], true)), constant(1)),
  );
  assert.is(printScalar(sum), "sum k in 0..4: (max k.1 in 0..2: %0[k + k.1]?) + 1.0");
});

test.run();
