import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkText, checked, codes, graphOf, linesOf, messages } from "./support.js";

const test = suite("functions");

test("index notation becomes one equation, a free index a range of the output", () => {
  assert.equal(
    linesOf(
      "fn linear(x: f32[T, K], w: f32[N, K]) -> f32[T, N] { return y where y[t, n] = sum[k] x[t, k] * w[n, k] }",
      "linear",
    ),
    [
      "graph linear[T, K, N](%0 x: f32[T, K], %1 w: f32[N, K])",
      "%2 y: f32[T, N] = map t, n: sum k in 0..K: %0[t, k] * %1[n, k]",
      "return %2 y",
    ],
  );
});

test("a literal takes the dtype of the other operand", () => {
  const lines = linesOf(
    "fn f(x: E[N], i: u32[N]) -> E[N], u32[N] { let a[n] = 2 * x[n] + 0.5  let b[n] = i[n] * 2891336453  return a, b }",
    "f",
  );
  assert.match(lines[1] ?? "", /2\.0:?.* \* %0\[n\]/);
  assert.is(
    graphOf("fn f(x: u32[N]) -> u32[N] { return y where y[n] = x[n] * 2891336453 }", "f").values[1]?.type.dtype,
    "u32",
  );
  assert.equal(codes("fn f(x: i32[N]) -> i32[N] { return y where y[n] = x[n] * 0.5 }"), ["E302"]);
});

test("a literal alone is f32 if it is written with a point, else i32, or of the result's dtype", () => {
  assert.is(
    graphOf("fn f(x: f32[N]) -> f32[N] { return y where y[n] = 1 for n in 0 .. N }", "f").values.at(-1)?.type.dtype,
    "f32",
  );
  assert.is(
    graphOf("fn f(x: f32[N]) -> f32 { let a[n] = 1.0 for n in 0 .. N  return sum[n] a[n] }", "f").values[1]?.type.dtype,
    "f32",
  );
  assert.is(
    graphOf("fn f(x: f32[N]) -> i32 { let a[n] = 1 for n in 0 .. N  return sum[n] a[n] }", "f").values[1]?.type.dtype,
    "i32",
  );
});

test("E and f32 do not mix without a cast", () => {
  assert.equal(codes("fn f(x: E[N]) -> f32[N] { return y where y[n] = x[n] * f32(x[n]) }"), ["E301"]);
  assert.equal(codes("fn f(x: E[N]) -> E[N] { return y where y[n] = E(f32(x[n]) * 2.0) }"), []);
});

test("constants and sizes are folded, and stay sizes", () => {
  const lines = linesOf(
    "const g = 4\nfn f(w: f32[N, K]) -> f32[N, K / g] where K % g == 0 { let half = g / 2  return s where s[n, j] = w[n, g * j + half] for j in 0 .. K / g }",
    "f",
  );
  assert.equal(lines.slice(1), [
    "where K % 4 == 0",
    "%1 s: f32[N, (K / 4)] = map n, j: %0[n, 4 * j + 2]",
    "return %1 s",
  ]);
});

test("calls are inlined: sizes, dtypes and scalars are bound", () => {
  const source = `
fn silu(x: f32) -> f32 { return x / (1.0 + exp(-x)) }
fn scaled(x: E[T, D], factor: f32) -> E[T, D] { return y where y[t, d] = E(f32(x[t, d]) * factor) }
fn f(x: f16[M, P], s: f32) -> f16[M, P] { let a = scaled(x, 2.0)  let b = scaled(a, s)  return y where y[m, p] = f16(silu(f32(b[m, p]))) }`;
  assert.equal(linesOf(source, "f").slice(1), [
    "%2 a: f16[M, P] = map t, d: f16(f32(%0[t, d]) * 2.0)",
    "%3 b: f16[M, P] = map t, d: f16(f32(%2[t, d]) * %1)",
    "%4 y: f16[M, P] = map m, p: f16(f32(%3[m, p]) / (1.0 + exp(-f32(%3[m, p]))))",
    "return %4 y",
  ]);
});

test("a size that stands in a product is found from the others", () => {
  const source = `
fn heads(x: f32[T, H * D], d: size, y: f32[D]) -> f32[T, H * D] { return z where z[t, i] = x[t, i] }
fn f(x: f32[T, 12], y: f32[4]) -> f32[T, 12] { return heads(x, 4, y) }`;
  assert.equal(codes(source), ["E415"]);
  const solved = `
fn heads(x: f32[T, heads * D], y: f32[D], heads: size) -> f32[T, heads * D] { return z where z[t, i] = x[t, i] * y[i % D] }
fn f(x: f32[T, 12], y: f32[4]) -> f32[T, 12] { return heads(x, y, 3) }`;
  assert.equal(codes(solved), []);
  assert.equal(codes(solved.replace("heads(x, y, 3)", "heads(x, y, 2)")), ["E413"]);
});

test("a scalar function that doubles again and again is refused, not unfolded", () => {
  const steps = (count: number): string =>
    Array.from({ length: count }, (_, at) => `let a${at + 1} = a${at} * a${at} + 1.0`).join("  ");
  const source = (count: number): string =>
    `fn grow(a0: f32) -> f32 { ${steps(count)}  return a${count} }\nfn f(x: f32[N]) -> f32[N] { return y where y[n] = grow(x[n]) }`;
  assert.equal(codes(source(8)), []);
  assert.equal(codes(source(60)), ["E306"]);
});

test("several results, by name; `var` parameters are further outputs", () => {
  const source = `
fn both(w: f32[N, K]) -> f32[N], f32[N] { let a[n] = sum[k] w[n, k]  let b[n] = max[k] w[n, k]  return a, b }
fn add(var total: f32[N], part: f32[N]) { total[n] += part[n] }
fn f(w: f32[N, K], var t: f32[N]) -> f32[N] { let a, b = both(w)  t[n] += a[n]  return b }`;
  assert.equal(linesOf(source, "add"), [
    "graph add[N](var %0 total: f32[N], %1 part: f32[N])",
    "%2 total: f32[N] = update %0[n] += %1[n] for n in 0..N",
    "return %2 total in place of %0",
  ]);
  assert.equal(linesOf(source, "f").at(-1), "return %3 b, %4 t in place of %1");
});

test("a loop with constant bounds is unrolled", () => {
  const lines = linesOf(
    "fn f(x: f32[N]) -> f32[N] { var y = x  for i in 1 .. 3 { y[n] = y[n] * f32(i) + f32(n) }  return y }",
    "f",
  );
  assert.is(lines.filter((line) => line.includes("update")).length, 2);
});

test("an index proved in range is not guarded, any other read is", () => {
  const guards = (body: string): string =>
    linesOf(
      `fn f(x: f32[N, K], i: i32, g: size) -> f32[N] where K % g == 0, K >= 4 { let y[n] = ${body}  return y }`,
      "f",
    ).slice(-2)[0] ?? "";
  for (const proved of [
    "sum[k] x[n, k]",
    "sum[j in 0 .. g] x[n, j * (K / g)]",
    "sum[a in 0 .. K / g, b in 0 .. g] x[n, g * a + b]",
    "sum[k in 0 .. K] x[n, k / g * g]",
    "sum[k in 0 .. K - 1] x[n, k + 1]",
    "x[n, 3]",
    "x[n, K - 1]",
    "sum[k in 1 .. K] x[n, k - 1]",
    "sum[k in 0 .. K] x[n, (k + 5) % K]",
    "x[n, min(max(i, 0), K - 1)]",
    "sum[k in 0 .. 2 * K] x[n, k / 2]",
    "x[n, argmax[k] x[n, k]]",
    "sum[k in 0 .. K] sum[j in 0 .. k + 1] x[n, j]",
    "sum[k in 0 .. n % 4] x[n, k]",
  ])
    assert.not.match(guards(proved), /\?/, proved);
  for (const unknown of [
    "x[n, i]",
    "x[n, 4]",
    "sum[k in 0 .. K] x[n, k + 1]",
    "sum[k in 0 .. i] x[n, k]",
    "sum[k in 0 .. K] x[n, k - 1]",
    "sum[a in 0 .. K / g + 1, b in 0 .. g] x[n, g * a + b]",
    "sum[k in 0 .. K] x[n, k * 2 / 3 + 1]",
  ])
    assert.match(guards(unknown), /\?/, unknown);
});

test("an index that is always out of range is an error", () => {
  assert.equal(codes("fn f(x: f32[N, 4]) -> f32[N] { return y where y[n] = x[n, 4] }"), ["E416"]);
  assert.equal(codes("fn f(x: f32[N, K]) -> f32[N] { return y where y[n] = x[n, K] }"), ["E416"]);
  assert.equal(codes("fn f(x: f32[N, K]) -> f32[N] { return y where y[n] = x[n, -1] }"), ["E416"]);
});

test("sizes are proved equal from constraints", () => {
  assert.equal(codes("fn f(x: f32[N], y: f32[M]) -> f32[N] { return z where z[n] = x[n] * y[n] }"), ["E411"]);
  assert.equal(codes("fn f(x: f32[N], y: f32[M]) -> f32[N] where M == N { return z where z[n] = x[n] * y[n] }"), []);
  assert.equal(codes("fn f(x: f32[N], y: f32[N / g * g], g: size) -> f32[N] { return z where z[n] = x[n] * y[n] }"), [
    "E411",
  ]);
  assert.equal(
    codes(
      "fn f(x: f32[N], y: f32[N / g * g], g: size) -> f32[N] where N % g == 0 { return z where z[n] = x[n] * y[n] }",
    ),
    [],
  );
});

test("a call proves the constraints of what it calls", () => {
  const inner = "fn inner(x: f32[K]) -> f32[K] where K % 4 == 0 { return x }\n";
  assert.equal(codes(`${inner}fn f(x: f32[K]) -> f32[K] { return inner(x) }`), ["E404"]);
  assert.equal(codes(`${inner}fn f(x: f32[K]) -> f32[K] where K % 8 == 0 { return inner(x) }`), []);
  assert.equal(
    codes(`${inner}fn f(x: f32[K], g: size) -> f32[K] where K % g == 0, g % 4 == 0 { return inner(x) }`),
    [],
  );
  assert.equal(codes(`${inner}fn f(x: f32[12]) -> f32[12] { return inner(x) }`), []);
  assert.equal(codes(`${inner}fn f(x: f32[10]) -> f32[10] { return inner(x) }`), ["E404"]);
});

test("a call gives sizes of at least 1", () => {
  const first = "fn first(x: f32[K]) -> f32 { return x[0] }\n";
  assert.equal(codes(`${first}fn f(x: f32[N]) -> f32 { let y[i] = x[i + 4] for i in 0 .. N - 4  return first(y) }`), [
    "E404",
  ]);
  assert.equal(
    codes(`${first}fn f(x: f32[N]) -> f32 where N > 4 { let y[i] = x[i + 4] for i in 0 .. N - 4  return first(y) }`),
    [],
  );
  assert.equal(
    codes("fn g(x: f32[K], s: size) -> f32 { return x[s % K] }\nfn f(x: f32[N]) -> f32 { return g(x, 0) }"),
    ["E404"],
  );
});

test("a `var` is given to one parameter", () => {
  const add = "fn plus(var a: f32[N], var b: f32[N]) { a[n] += b[n] }\n";
  assert.equal(codes(`${add}fn f(x: f32[N]) -> f32[N] { var y = x  var z = x  let q = plus(y, z)  return y }`), [
    "E303",
  ]);
  assert.equal(codes(`${add}fn f(x: f32[N]) -> f32[N] { var y = x  let q = plus(y, y)  return y }`), ["E307"]);
});

test("modules are read through the host; names clash across them", () => {
  const files = {
    "main.esp": 'use prune, "./lib/mine.esp"\nfn f(x: f32[N]) -> f32[N] { return twice(thrice(x)) }',
    "stdlib/prune.esp": "fn twice(x: f32[N]) -> f32[N] { return y where y[n] = 2 * x[n] }",
    "lib/mine.esp": 'use "../base.esp"\nfn thrice(x: f32[N]) -> f32[N] { return y where y[n] = three * x[n] }',
    "base.esp": "const three = 3",
  };
  assert.equal([...checked(files).functions.keys()], ["f", "twice", "thrice"]);
  // names of a module's modules are not brought in
  assert.equal(
    codes({
      ...files,
      "main.esp": 'use "./lib/mine.esp"\nfn f(x: f32[N]) -> f32[N] { return y where y[n] = three * x[n] }',
    }),
    ["E201"],
  );
  assert.equal(
    codes({
      ...files,
      "lib/mine.esp": "fn twice(x: f32[N]) -> f32[N] { return x }\nfn thrice(x: f32[N]) -> f32[N] { return x }",
    }),
    ["E203"],
  );
  assert.equal(
    codes({ "main.esp": 'use "./a.esp"', "a.esp": 'use "./main.esp"\nfn f(x: f32[N]) -> f32[N] { return x }' }),
    [],
  );
});

test("several errors are reported in one run, and what follows from them is not", () => {
  assert.equal(
    codes(`
fn f(x: f32[N]) -> f32[N] { let a[n] = x[n] + oops  let b[n] = a[n] * 2  return b }
fn g(x: f32[N]) -> f32[N] { let a = f(x)  return missing(a) }
fn h(x: i32[N]) -> f32[N] { return y where y[n] = sqrt(x[n]) }`),
    ["E201", "E202", "E304"],
  );
});

test("a misspelt name is suggested", () => {
  const help = (source: string): string | null | undefined => checkText(source).diagnostics[0]?.help;
  assert.is(help("fn f(score: f32[N]) -> f32[N] { return y where y[n] = scoer[n] }"), "did you mean `score`?");
  assert.is(help("fn f(x: f32[N]) -> f32[N] { return y where y[n] = sqr(x[n]) }"), "did you mean `sqrt`?");
  assert.is(help("fn f(x: f23[N]) -> f32[N] { return x }"), "did you mean `f32`?");
});

test("an unused let is a warning", () => {
  const { value, diagnostics } = checkText(
    "fn f(x: f32[N]) -> f32[N] { let a[n] = 2 * x[n]  let _b[n] = x[n]  return x }",
  );
  assert.ok(value);
  assert.equal(
    diagnostics.map((found) => [found.code, found.severity]),
    [["E208", "warning"]],
  );
});

test("recursion is an error, also through others", () => {
  assert.equal(codes("fn f(x: f32[N]) -> f32[N] { return g(x) }\nfn g(x: f32[N]) -> f32[N] { return f(x) }"), ["E205"]);
  assert.equal(codes("const a = b\nconst b = a + 1"), ["E205"]);
});

test("equality of the two lists of results is reported", () => {
  assert.equal(messages("fn f(x: f32[N]) -> f32[N], f32[N] { return x }"), [
    "`f` has 2 results, and 1 value is returned",
  ]);
});

test("a range that cannot be found is reported also where other indices stand in the way, and never left out in silence", () => {
  const faults = (body: string): readonly string[] =>
    codes(`fn f(x: f32[T, K]) -> f32[T, K] { return y where ${body} }`);
  // of several indices the first is reported, for the ranges stand in one list
  assert.equal(faults("y[n, k] = x[2 * n, 2 * k]"), ["E412"]);
  assert.equal(faults("y[n, k] = x[2 * n, 2 * k] for n in 0 .. T"), ["E412"]);
  assert.equal(faults("y[t, k] = x[t, 0] + mean[j in 0 .. k + 1] (sum[i] x[i, j])"), ["E412"]);
  assert.equal(faults("y[t, k] = x[t, k] + sum[i, j] x[i + 1, j]"), ["E412"]);
  // what is not declared is reported where it stands, and not again for what needs it
  assert.equal(faults("y[t, k] = sum[i in 0 .. t] z[i, 2 * k] * x[t, 0]"), ["E201"]);
});

test.run();
