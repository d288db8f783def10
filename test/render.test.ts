import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { error, type Diagnostic, type Label, type Span } from "../compiler/diagnostic.js";
import { position, render } from "../compiler/render.js";
import { suggest } from "../compiler/suggest.js";
import { golden } from "./support/golden.js";
import { runs } from "./support/runs.js";

const test = suite("render");

const recipe = [
  "use prune",
  "",
  "recipe r(model: llama) {",
  "  for w in model.linears {",
  "    let q = round(w)",
  "\tstore w as pack gptq(w, u, scales) as nm(2, 4) of int4(128)",
  "    // 日本語 😀 e\u0301",
  "  }",
  "}",
  "",
].join("\n");
const other = "fn gptq(w: f32[N, K]) -> f32[N, K] {\r\n  return w\r\n}\r\n";
const sources = new Map([
  ["recipe.esp", recipe],
  ["lib/other.esp", other],
]);

/** The `nth` place where `text` stands in a file. */
function at(text: string, message: string, file = "recipe.esp", nth = 0): Label {
  const source = sources.get(file) ?? "";
  let start = source.indexOf(text);
  for (let skipped = 0; skipped < nth; skipped += 1) start = source.indexOf(text, start + 1);
  return { span: { file, start, end: start + text.length }, message };
}

const shown: readonly (readonly [string, Diagnostic])[] = [
  [
    "one label, with help",
    error(
      "E502",
      "`w` is packed as 2:4, but nothing guarantees that 2 of every 4 along `k` are zero",
      at("gptq", "full: this update writes to pruned weights"),
      { help: "keep the mask: `gptq(w, u, keep, scales) where keep`" },
    ),
  ],
  ["no label", error("E601", "the file is empty", null)],
  [
    "several labels of a line, a note",
    error("E401", "shapes differ", at("scales", "this has [N, 4]"), {
      labels: [at("w", "and this [N, K]", "recipe.esp", 5), at("int4", "")],
      notes: ["the sizes are not known to be equal", "of two lines:\nthe second"],
    }),
  ],
  [
    "labels on neighbouring and distant lines",
    error("E402", "`q` is not used", at("q", "defined here"), {
      labels: [at("store", "but this stores `w`"), at("use", "with what is used here")],
    }),
  ],
  [
    "labels in two files",
    error("E303", "`gptq` has no parameter `u`", at("u", "no such parameter", "recipe.esp", 4), {
      labels: [at("gptq", "declared here", "lib/other.esp")],
    }),
  ],
  ["a span of several lines", error("E400", "the body is wrong", at("{\n    let q = round(w)\n", "this"))],
  [
    "wide characters",
    error("E101", "`😀` (U+1F600) has no meaning here", at("😀", "unknown character"), {
      labels: [at("e\u0301", "combining")],
    }),
  ],
  [
    "the end of the file",
    error("E110", "expected `}`, found the end of the file", {
      span: { file: "recipe.esp", start: recipe.length, end: recipe.length },
      message: "expected `}`",
    }),
  ],
  [
    "a file that is not there",
    error("E304", "the module cannot be read", { span: { file: "gone.esp", start: 3, end: 5 }, message: "used here" }),
  ],
  ["a warning", { ...error("E900", "nothing is stored", at("recipe", "in this recipe")), severity: "warning" }],
  ["control characters", error("E101", "a \u001b[31mred\u0007 message", at("round", "with\u0000nul"))],
];

test("the layout", () =>
  golden(
    "syntax/render.txt",
    shown.map(([name, diagnostic]) => `# ${name}\n${render([diagnostic], sources, { color: false })}`).join("\n"),
  ));

test("several diagnostics have a blank line between them, none give nothing", () => {
  const one = error("E601", "one", null);
  assert.is(render([one, one], sources, { color: false }), "error[E601]: one\n\nerror[E601]: one\n");
  assert.is(render([], sources, { color: false }), "");
});

test("colours are asked for, and change nothing else", () => {
  for (const [, diagnostic] of shown) {
    const plain = render([diagnostic], sources, { color: false });
    const colored = render([diagnostic], sources, { color: true });
    assert.not.match(plain, /\u001b/);
    assert.match(colored, /\u001b\[31m|\u001b\[33m/);
    assert.is(colored.replace(/\u001b\[\d+m/g, ""), plain);
  }
});

test("of a long line the part around the label is shown", () => {
  const source = `${"a".repeat(5000)}!${"b".repeat(5000)}`;
  const text = render(
    [error("E101", "m", { span: { file: "long.esp", start: 5000, end: 5001 }, message: "here" })],
    new Map([["long.esp", source]]),
    { color: false },
  );
  const [, place = "", line = "", carets = ""] = text.split("\n");
  assert.match(place, "long.esp:1:5001");
  assert.ok(line.length < 200);
  assert.is(line[carets.indexOf("^")], "!");
});

test("lines and columns count from 1, columns in characters", () => {
  assert.equal(position("ab\ncd", 0), { line: 1, column: 1 });
  assert.equal(position("ab\ncd", 4), { line: 2, column: 2 });
  assert.equal(position("😀x", 2), { line: 1, column: 2 });
  assert.equal(position("a\r\nb", 3), { line: 2, column: 1 });
  assert.equal(position("", 9), { line: 1, column: 1 });
});

test("any span of any text is shown, with one line of carets for each label", () => {
  const spans = fc.record({
    source: fc.string({ unit: "binary", maxLength: 80 }),
    start: fc.nat(90),
    length: fc.nat(20),
  });
  fc.assert(
    fc.property(spans, ({ source, start, length }) => {
      const span: Span = { file: "a.esp", start, end: start + length };
      const text = render([error("E100", "m", { span, message: "here" })], new Map([["a.esp", source]]), {
        color: false,
      });
      assert.is(text.split("\n").length, 5);
      assert.match(text, /\| *\^+ here\n$/);
    }),
    runs(100),
  );
});

test("the nearest name is suggested, and only a near one", () => {
  const names = ["perplexity", "pack", "wanda", "magnitude", "K", "group"];
  for (const [name, expected] of [
    ["perplexty", "perplexity"],
    ["pakc", "pack"],
    ["WANDA", "wanda"],
    ["magnitud", "magnitude"],
    ["k", "K"],
    ["gruop", "group"],
    ["x", null],
    ["hessian", null],
    ["", null],
    ["pack", null],
  ] as const)
    assert.is(suggest(name, names), expected, name);
  assert.is(suggest("x", []), null);
});

test.run();
