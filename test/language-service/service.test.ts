/** What an editor asks, of files that are right and of files that are being written. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { createLanguageService } from "../../compiler/language-service/service.js";
import { parse } from "../../compiler/syntax/parse.js";
import { print } from "../../compiler/syntax/print.js";
import { layOut } from "../../compiler/language-service/layout.js";
import { createHost, standardModules } from "../../runtime/library.js";
import { projectFile } from "../support/project.js";
import { filesBelow } from "../support/sources.js";
import { main, open } from "./support.js";

const test = suite("language service");

const codes = (found: readonly { readonly code: string }[]): readonly string[] => found.map(({ code }) => code);

test("what it finds in a file that parses is what a check finds", () => {
  for (const path of filesBelow(["test/errors"], ".esp")) {
    const source = readFileSync(projectFile(path), "utf8");
    const { service } = open(source);
    const host = createHost();
    const { diagnostics } = check(main, {
      standardModules,
      read: (file) => (file === main ? source : file.startsWith("stdlib/") ? host.read(file) : null),
    });
    const own = diagnostics.filter(({ labels }) => labels[0] === undefined || labels[0].span.file === main);
    assert.equal(service.diagnostics(main), own, path);
  }
});

test("what parsed is checked, and nothing is said that follows from what did not", () => {
  const { service } = open(`fn broken(x: f32[N]) -> f32[N] {
  let y = x +
  return y
}

fn lost(x: f32[N) -> f32[N] {
  return x
}

fn calls(x: f32[N]) -> f32[N] {
  return lost(broken(x))
}

fn wrong(x: f32[N]) -> f32[N] {
  return there_is_none(x)
}
`);
  const found = service.diagnostics(main);
  assert.equal(
    codes(found).filter((code) => code.startsWith("E2")),
    ["E202"],
  );
  assert.ok(codes(found).some((code) => code.startsWith("E1")));
  assert.match(found.at(-1)?.message ?? "", /there_is_none/);
});

test("an edit of one function leaves what is said of others where they then are", () => {
  const first = "fn a(x: f32[N]) -> f32[N] {\n  return x\n}\n";
  const second = "fn b(x: f32[N]) -> f32[N] {\n  return a(c)\n}\n";
  const opened = open(`${first}\n${second}`);
  const told = (): readonly string[] =>
    opened.service.diagnostics(main).map(({ code, labels }) => `${code} ${labels[0]?.span.start}`);
  assert.equal(told(), [`E201 ${`${first}\n${second}`.indexOf("(c)") + 1}`]);
  const longer = first.replace("return x", "let y = x\n  return y");
  opened.edit(`${longer}\n${second}`);
  assert.equal(told(), [`E201 ${`${longer}\n${second}`.indexOf("(c)") + 1}`]);
  opened.edit(`${longer.replace("fn a", "fn aa")}\n${second.replace("(c)", "(x)")}`);
  assert.match(opened.service.diagnostics(main)[0]?.message ?? "", /no function `a`/);
  opened.edit(`${longer}\n${second.replace("(c)", "(x)")}`);
  assert.equal(told(), []);
});

test("hover: types, sizes, patterns, comments", () => {
  const { service, at } = open(`use prune

/// Keeps two of four.
fn two(w: f32[‸N, K], more: size) -> f32[N, K] is 2:4 along K where K % 4 == 0 {
  let ‸score = magnitude(w)
  let ‸keep = mask_2of4(score)
  let rows[‸n] = sum[‸k] w[n, k] + f32(more)
  return ‸w where keep, ‸rows
}

fn g(w: f32[N, K]) -> f32[N, K] where K % 4 == 0 {
  return ‸two(w, 1), ‸sqrt(2.0), ‸mask_2of4(w)
}
`);
  const said = at.map((offset) => service.hover(main, offset)?.code);
  assert.equal(said[0], "N: size");
  assert.is(said[5], "w: f32[N, K]");
  assert.match(said[7] ?? "", /^fn two\(w: f32\[N, K\], more: size\)/);
  assert.is(said[8], "sqrt(x)");
  assert.match(said[9] ?? "", /^fn mask_2of4\(/);
  assert.is(service.hover(main, at[7] ?? 0)?.text, "Keeps two of four.");
  assert.match(service.hover(main, at[9] ?? 0)?.text ?? "", /\w/);
});

test("hover: the types of local names where the function is right", () => {
  const { service, at } = open(`use prune

fn two(w: f32[N, K]) -> f32[N, K] is 2:4 along K, f32[N] where K % 4 == 0 {
  let ‸keep = mask_2of4(magnitude(w))
  let rows[‸n] = sum[k] w[n, k]
  return w where ‸keep, ‸rows
}
`);
  assert.equal(
    at.map((offset) => service.hover(main, offset)?.code),
    ["keep: mask[N, K] is 2:4 along K", "n in 0 .. N", "keep: mask[N, K] is 2:4 along K", "rows: f32[N]"],
  );
});

test("hover: in a recipe", () => {
  const { service, at } = open(`use statistics, prune

recipe r(‸model: llama, text: tokens, ‸damp = 0.01) {
  for ‸block in model.blocks {
    let ‸x2 = observe block on text by ‸feature_squares
    for ‸w in block.linears {
      let ‸keep = mask_2of4(wanda(w, x2[w]))
      store w as pack w where keep as nm(2, 4) of f16
    }
  }
}
`);
  const said = at.map((offset) => service.hover(main, offset)?.code);
  assert.equal(said.slice(0, 4), ["model: llama", "damp = 0.01", "block", "x2[w]: f32[K]"]);
  assert.match(said[4] ?? "", /^fn feature_squares/);
  assert.is(said[6], "keep: mask[N, K] is 2:4 along K");
});

test("definitions: of locals, of functions, in other files and the library", () => {
  const { service, at, text } = open(
    `use "./mine.esp"
use prune

fn f(x: f32[N, K]) -> f32[N, K] {
  let y = x
  return twice(‸y), ‸magnitude(x)
}
fn g(x: f32[N, K]) -> f32[N, K] {
  return ‸twice(‸x)
}
`,
    { "mine.esp": "fn twice(x: f32[N, K]) -> f32[N, K] {\n  return x + x\n}\n" },
  );
  const spans = at.map((offset) => service.definition(main, offset));
  assert.is(spans[0]?.start, text.indexOf("y = x"));
  assert.is(spans[1]?.file, "stdlib/prune.esp");
  assert.equal(spans[2], { file: "mine.esp", start: 3, end: 8 });
  assert.is(spans[3]?.start, text.indexOf("x: f32[N, K]", text.indexOf("fn g")));
});

test("references and renaming, over files", () => {
  const { service, at, text } = open(
    `use "./mine.esp"

fn f(x: f32[N]) -> f32[N] {
  let y = twice(x, ‸more: 1.0)
  return ‸twice(y, more: 2.0)
}
`,
    { "mine.esp": "fn twice(x: f32[N], more: f32) -> f32[N] {\n  return x * more\n}\n" },
  );
  const places = service.references(main, at[1] ?? 0).map(({ file, start }) => `${file} ${start}`);
  assert.equal(places, ["mine.esp 3", `main.esp ${text.indexOf("twice(x")}`, `main.esp ${text.indexOf("twice(y")}`]);
  const renamed = service.rename(main, at[0] ?? 0, "factor");
  if ("problem" in renamed) throw new Error(renamed.problem);
  assert.equal(renamed.edits.length, 4);
  assert.ok(renamed.edits.every((edit) => edit.text === "factor"));
  for (const [name, message] of [
    ["x", /stands for something else/],
    ["let", /word of the language/],
    ["sqrt", /built-in/],
    ["2x", /no name/],
  ] as const) {
    const refused = service.rename(main, at[0] ?? 0, name);
    assert.match("problem" in refused ? refused.problem : "it was renamed", message);
  }
});

test("what is of the library keeps its name", () => {
  const { service, at } = open("use prune\n\nfn f(w: f32[N, K]) -> f32[N, K] {\n  return ‸magnitude(w)\n}\n");
  const found = service.renamable(main, at[0] ?? 0);
  assert.match(found !== null && "problem" in found ? found.problem : "", /standard library/);
});

/** What is proposed at the one place marked in a text. */
function proposed(marked: string): readonly { readonly label: string; readonly edits: readonly unknown[] }[] {
  const { service, at } = open(marked);
  return service.completions(main, at[0] ?? 0);
}

const recipe = (inner: string, blocks = "model.blocks"): string => `use statistics

recipe r(model: llama, text: tokens) {
  for block in ${blocks} {
    let x2 = observe block on text by feature_squares
    for w in block.linears {
      ${inner}
    }
  }
}
`;

for (const [what, source, there, not] of [
  ["modules", "use ‸\n\nfn f(x: f32[N]) -> f32[N] {\n  return x\n}\n", ["prune"], ["x", "sqrt"]],
  ["types", "fn f(x: ‸) -> f32[N] {\n  return x\n}\n", ["f32", "mask"], ["f", "sqrt"]],
  ["names", "fn f(x: f32[N]) -> f32[N] {\n  let near = x\n  return n‸\n}\n", ["near", "N", "sqrt", "select", "f"], []],
  [
    "names before a line that is not done",
    "fn f(x: f32[N]) -> f32[N] {\n  let near = x\n  let y = (n‸\n}\n",
    ["near"],
    ["y"],
  ],
  ["members of the model", recipe("store w as pack w as f16", "model.‸"), ["blocks", "linears", "dense"], ["x2"]],
  ["members of a block", recipe("for v in block.‸ {}"), ["linears"], ["blocks"]],
  ["what observes", recipe("").replace("feature_squares", "‸"), ["feature_squares"], ["x2", "sqrt"]],
  ["formats", recipe("store w as pack w as ‸"), ["int4", "nm"], ["w", "let"]],
  ["what a loop has", recipe("let keep = ma‸"), ["w", "x2", "mask_2of4"], ["keep"]],
] as const)
  test(`completion: ${what}`, () => {
    const labels = proposed(source).map(({ label }) => label);
    assert.equal(
      [...there.filter((each) => !labels.includes(each)), ...not.filter((each) => labels.includes(each))],
      [],
    );
  });

test("completion: a function of a module that is not used brings its `use`", () => {
  const source = recipe("let keep = ma‸");
  const brought = proposed(source).find(({ label }) => label === "mask_2of4");
  const at = "use statistics".length;
  assert.equal(brought?.edits, [{ file: main, start: at, end: at, text: ", prune" }]);
});

test("signature help: the head, and the argument at hand", () => {
  const { service, at } = open(`use prune

fn f(w: f32[N, K], x2: f32[K]) -> f32[N, K] {
  return wanda(w, x‸2)
}

fn g(w: f32[N, K]) -> f32[N, K] {
  let a = wanda((w + w), ‸
  return min(1.0, ‸w)
}
`);
  const [wanda, open_, min] = at.map((offset) => service.signature(main, offset));
  assert.match(wanda?.label ?? "", /^fn wanda\(w: f32\[N, K\], x2: f32\[K\]\)/);
  assert.is(wanda?.active, 1);
  assert.equal(
    wanda?.parameters.map(({ start, end }) => wanda.label.slice(start, end)),
    ["w: f32[N, K]", "x2: f32[K]"],
  );
  assert.is(open_?.active, 1);
  assert.is(min?.label, "min(a, b)");
});

const fixed: readonly (readonly [string, string, string])[] = [
  [
    "a module that is not used",
    "use prune\n\nfn f(w: f32[N, K]) -> f32[N, K], f32[N, K / 8] where K % 8 == 0 {\n  return w, int4_scale(w, 8)\n}\n",
    "use prune, quantize\n",
  ],
  ["a first use", "fn f(w: f32[N, K]) -> f32[N, K] {\n  return magnitude(w)\n}\n", "use prune\n\nfn f("],
  ["a misspelt name", "fn f(where_to: f32[N]) -> f32[N] {\n  return where_too\n}\n", "return where_to\n"],
  [
    "a mask that is lost",
    `use prune

recipe r(model: llama) {
  for w in model.linears {
    let keep = mask_2of4(magnitude(w))
    store w as pack w as nm(2, 4) of f16
  }
  for w in model.linears {
    let keep = mask_2of4(magnitude(w))
    store w as pack w where keep as nm(2, 4) of f16
  }
}
`,
    "pack w where keep as nm(2, 4) of f16\n  }\n  for",
  ],
];

for (const [what, source, expected] of fixed)
  test(`a fix: ${what}`, () => {
    const { service } = open(source);
    const [fix] = service.fixes(main, 0, source.length);
    const text = (fix?.edits ?? [])
      .toSorted((a, b) => b.start - a.start)
      .reduce((before, edit) => before.slice(0, edit.start) + edit.text + before.slice(edit.end), source);
    assert.ok(text.includes(expected), text);
  });

test("laid out part by part a file is what it is laid out whole, whatever was laid out before", () => {
  const ways: readonly ((source: string) => string)[] = [
    (source) => source,
    (source) => source.replaceAll(/^ +/gm, "").replaceAll("\n}", "\n\n\n}"),
    (source) => source.replaceAll(/\n\n/g, "\n").replaceAll("\n", "\r\n"),
    (source) => `${source}\n\n// the end\n\n\n// of it`,
    (source) => source.replaceAll(/^fn/gm, "const between = 1\n\n\n// apart\n\nconst another = 2\nfn"),
    (source) => `${source}use prune\n`,
  ];
  for (const path of filesBelow(["stdlib", "examples", "test/errors", "test/golden"], ".esp"))
    for (const way of ways) {
      const source = way(readFileSync(projectFile(path), "utf8"));
      const ast = parse(source, path).value;
      const first = layOut(path, source, new Map());
      assert.is(first.text, ast === null ? null : print(ast), path);
      assert.is(layOut(path, source, first.known).text, first.text, path);
    }
});

test("formatting, and an outline", () => {
  const { service } = open("fn  f(x: f32[N]) -> f32[N] { return x }\nconst a = 1\n");
  assert.is(service.format(main), "fn f(x: f32[N]) -> f32[N] {\n  return x\n}\n\nconst a = 1\n");
  assert.equal(
    service.outline(main).map(({ name, kind }) => `${kind} ${name}`),
    ["function f", "constant a"],
  );
  assert.is(open("fn f(").service.format(main), null);
});

test("every name of the library and of the examples is found, and its declaration", () => {
  const host = createHost();
  const service = createLanguageService({ ...host, standardModules });
  for (const file of [...filesBelow(["stdlib"], ".esp"), ...filesBelow(["examples"], ".esp").map(projectFile)]) {
    assert.equal(service.diagnostics(file), [], file);
    const source = host.read(file) ?? "";
    for (const { name, span } of service.outline(file)) {
      assert.equal(service.definition(file, span.start), span, `${file} ${name}`);
      assert.match(service.hover(file, span.start)?.code ?? "", new RegExp(`\\b${name}\\b`));
    }
    for (const { 1: name = "", index } of source.matchAll(/(?<=[(\s])([a-z_]\w*)\((?!:)/g)) {
      if (/\/\//.test(source.slice(source.lastIndexOf("\n", index) + 1, index))) continue;
      assert.ok(service.hover(file, index) !== null, `${file}: ${name} at ${index}`);
    }
  }
});

test("whatever a file is cut to, every request has an answer", () => {
  const source = readFileSync(projectFile("examples/wanda-2of4-int4.esp"), "utf8");
  for (let length = 0; length <= source.length; length += 67) {
    const { service } = open(source.slice(0, length));
    service.diagnostics(main);
    service.hover(main, length);
    service.completions(main, length);
    service.signature(main, length);
    service.references(main, length);
    service.rename(main, length, "other");
    service.fixes(main, 0, length);
    service.format(main);
  }
});

test.run();
