import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { render } from "../../compiler/render.js";
import { parse } from "../../compiler/syntax/parse.js";
import { golden } from "../support/golden.js";
import { projectFile } from "../support/project.js";

const test = suite("syntax errors");

function body(...lines: readonly string[]): string {
  return ["fn f(x: f32[N, K], m: mask[N, K]) -> f32[N, K] {", ...lines.map((line) => `  ${line}`), "}", ""].join("\n");
}

function recipe(...lines: readonly string[]): string {
  return ["recipe r(model: llama, text: tokens) {", ...lines.map((line) => `  ${line}`), "}", ""].join("\n");
}

/** Programs by the code that each must give; the goldens show the messages. */
const programs: { readonly [code: string]: readonly string[] } = {
  E101: [
    body("let y = x;"),
    body("let b = m && m || !m"),
    body("let naïve = 1"),
    body("let s = ∑[k] x[0, k] @ x"),
    recipe("save 'pruned'"),
    "# a comment\n",
    body('let y = x # don\'t "sum" {', "# and let for", "return y"),
    body("let y = x[0, 0] > 0 ? 1 : 2"),
    "const a = 1\u0000\u001b[31m\n",
    body("let z = x**2"),
  ],
  E102: [recipe('save "pruned'), 'use "./a.esp\n'],
  E103: [body("let y = 4294967296"), body("let y = 1e39"), body("let y = 1e-60")],
  E104: [body("let y = 1.0f"), body("let y = 1_000"), recipe('save "a\\n"')],
  E105: [`const a = ${"(".repeat(150)}1${")".repeat(150)}\n`],
  E106: [`// ${"x".repeat(1024 * 1024)}\n`],
  E110: [
    "def f() { }\n",
    "let x = 1\n",
    "fn f(x: f32[N, K]) f32[N] { }\n",
    "use\n",
    "use prune quantize\n",
    "const g == 128\n",
    "recipe r(model: llama)\n",
    body("retrun x"),
    body("lte y = x"),
    body("let y x[0, 0]"),
    body("let y = x +"),
    body("let y = "),
    body("let y[] = 1"),
    body("let y[2 * n] = x[n, 0]"),
    body("let a, b[n] = x[n, 0]"),
    body("let y = .5"),
    body("let y = [1, 2]"),
    body("let y = sum x[0, k]"),
    body("let y = sum[] x[0, k]"),
    body("let y[i] = x[i, 0] for i"),
    body("let y[i] = x[i, 0] for i in 0"),
    body("let y = top 2 of 4 in x"),
    body("let y = top 2 of 4 along k x"),
    body("let y = pack x with scale 1"),
    body("let y = pack x as int4(128) with zero 1"),
    body("let y = f(x x)"),
    body("else { }"),
    body("if true let y = x"),
    body("while true { }"),
    body("let mut y = 2"),
    body("let y[n] = x[n, :]"),
    body("let y[n] = x[:, 0]"),
    body("let y = if x[0, 0] > 0 { 1 } else { 2 }", "return y"),
    body("let y[n] = median[k] x[n, k]", "return y"),
    body("let y = x where m x[0, 0]"),
    recipe("store w"),
    recipe("let s = observe model on text"),
    recipe("for w in model.linears matching 4 { }"),
    recipe("for w model.linears { }"),
    recipe("if w matches 4 { }"),
    recipe("save pruned"),
    recipe("expect"),
  ],
  E111: [
    "fn f(x: f32[N, K] -> f32[N] {\n  return x\n}\n",
    body("let y = f(x, (3", "return y"),
    body("let y = x[0, 0", "return y"),
    body("let y = (x[0, 0)]"),
    "fn f() {\n  let x = 1\n\nfn g() {\n}\n",
    "recipe r(model: llama) {\n  if a {\n",
    `${body("for i in 0 .. 3 {", "  let z = x", "return x")}\nfn g() {\n}\n`,
    body("if true {", "  for i in 0 .. 3 {", "    let z = x", "}", "return x"),
  ],
  E112: [`${body("return x")}}\n`, body("let y = x]")],
  E113: [
    "fn f(x: f32[K]) -> f32[K] where K % 4 = 0 {\n  return x\n}\n",
    body("if x[0, 0] = 0 { }"),
    body("let y = select(x[0, 0] = 0, 1, 2)"),
    recipe("expect perplexity(model, text) = 3"),
  ],
  E114: [
    body("y where y[n, k] = x[n, k]"),
    body("x = x where m"),
    body("x"),
    body("sum[k] x[0, k]"),
    recipe("perplexity(model, text)"),
  ],
  E115: [
    "fn where() { }\n",
    body("let for = x"),
    body("let y[in] = x[in, 0]"),
    body("let mean = 1"),
    "fn f(of: f32) { }\n",
    "use top\n",
    "fn f(scan: f32[N]) -> f32[N] {\n  let store[n] = scan[n]\n  return store\n}\n",
    "fn f(mean: f32[N]) -> f32[N] {\n  return y where y[n] = mean[n] - mean[k] mean[k]\n}\n",
    body("let y = sum[of] x[of, 0]"),
  ],
  E116: [body("return x where x > 0")],
  E117: [body("let b = 1 < 2 < 3"), body("let b = 1 == 2 != true")],
  E118: ["const a = 1\nuse prune\n"],
  E119: ["fn f(x) { }\n"],
  E120: ["fn f(x: f32[K // 2]) { }\n", "fn f(x: f32[K // 2], y: f32[K]) { }\nfn g(x: f32[K // K]) { } // all\n"],
};

for (const [code, sources] of Object.entries(programs)) {
  test(`${code}: each program gives it, and the messages read well`, () => {
    const shown = sources.map((source) => {
      const { value, diagnostics } = parse(source, "test.esp");
      assert.is(value, null, source.slice(0, 200));
      assert.ok(
        diagnostics.some((each) => each.code === code),
        `${source.slice(0, 200)}\ngives ${diagnostics.map((each) => each.code).join(", ")}`,
      );
      for (const label of diagnostics.flatMap((each) => each.labels)) {
        assert.ok(
          0 <= label.span.start && label.span.start <= label.span.end && label.span.end <= source.length,
          "labels lie in the source",
        );
      }
      return render(diagnostics, new Map([["test.esp", source]]), { color: false });
    });
    golden(`syntax/${code}.txt`, shown.join("\n--------\n\n"));
  });
}

test("several errors are reported in one run, one for each statement", () => {
  const source = [
    "use prune; quantize",
    "fn a(x: f32[N, K] -> f32[N] {",
    "  retrun y where y[n] = x[n, 0]",
    "}",
    "fn b(x: f32[K]) -> f32 where K % 4 = 0 {",
    "  let for = 3",
    "  let z = x[0] && x[1] + + 3",
    "  let t = 5000000000",
    "  return sum[] x",
    "}",
    "}",
    "recipe r(model: llama) {",
    "  for w in model.linears matching foo { store w pack x as f16 }",
    "  save",
    "  expect 1 < 2",
    "}",
    "fn c() {",
    "",
  ].join("\n");
  const { diagnostics } = parse(source, "several.esp");
  golden("syntax/several.txt", render(diagnostics, new Map([["several.esp", source]]), { color: false }));
});

test("a habit of another language is one error, whose help works", () => {
  for (const [line, code] of [
    ["let y = x[0, 0] > 0 ? 1 : 2", "E101"],
    ["let y = if x[0, 0] > 0 { 1 } else { 2 }", "E110"],
    ["let y = x # let {", "E101"],
    ["let y[n] = median[k] x[n, k]", "E110"],
    ["let mut y = 2", "E110"],
    ["let y = x ** 2", "E101"],
    ["let y[n] = x[n, :]", "E110"],
    ["let y = a && b", "E101"],
    ["let y = a || b", "E101"],
    ["let y = !a", "E101"],
    ["let y = a \u2212 b", "E101"],
    ["for i in 0 .. 3 {", "E111"],
    ["let store[n] = store[n]", "E115"],
  ] as const) {
    const { diagnostics } = parse(body(line, "return x"), "habit.esp");
    assert.equal(
      diagnostics.map((each) => each.code),
      [code],
      line,
    );
    assert.ok(diagnostics[0]?.help, line);
  }
});

test("no more than 50 errors are reported", () => {
  const { diagnostics } = parse(body(...Array.from({ length: 80 }, () => "let x 1")), "many.esp");
  assert.is(diagnostics.length, 50);
  assert.match(diagnostics.at(-1)?.notes.join() ?? "", "more errors");
});

test("spec/errors-syntax.md: a section for each code, whose program gives it, with what is reported, and a way to write it that is read", () => {
  const spec = readFileSync(projectFile("spec/errors-syntax.md"), "utf8");
  const sections = spec.split(/^## /m).slice(1);
  assert.equal(
    sections.map((section) => section.slice(0, 4)),
    Object.keys(programs),
  );
  for (const section of sections) {
    const code = section.slice(0, 4);
    if (code === "E106") continue;
    const [bad, reported, good] = [...section.matchAll(/^```[^\n]*\n([\s\S]*?)^```$/gm)].map(([, text]) => text);
    const { diagnostics } = parse(bad ?? "", "main.esp");
    assert.ok(diagnostics.length > 0 && diagnostics.every((each) => each.code === code), code);
    assert.is(render(diagnostics, new Map([["main.esp", bad ?? ""]]), { color: false }), reported, code);
    assert.ok(parse(good ?? "(", "main.esp").value, code);
  }
});

test("every code of the syntax is tested", () => {
  const folder = "compiler/syntax";
  const used = readdirSync(projectFile(folder)).flatMap((file) =>
    [...readFileSync(projectFile(`${folder}/${file}`), "utf8").matchAll(/"(E\d{3})"/g)].map(([, code]) => code),
  );
  assert.equal([...new Set(used)].sort(), Object.keys(programs));
});

test.run();
