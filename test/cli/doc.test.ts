/** `espalier doc`: the reference of the library and of one's own files. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { equationOf } from "../../compiler/documentation/equation.js";
import { mathmlLines } from "../../compiler/documentation/mathml.js";
import { tex, texLines } from "../../compiler/documentation/tex.js";
import { createHighlighter } from "../../compiler/language-service/highlight.js";
import { parse } from "../../compiler/syntax/parse.js";
import { readLibrary, run } from "../../runtime/cli/doc/doc.js";
import { firstSentence } from "../../runtime/cli/doc/markdown.js";
import { createOutput } from "../../runtime/cli/output.js";
import { createHost } from "../../runtime/library.js";
import { readModule } from "../../runtime/cli/doc/reference.js";
import { projectFile } from "../support/project.js";
import { temporaryFolder } from "./support.js";

const test = suite("doc");
const folder = temporaryFolder();
test.after(() => folder.remove());
const output = { ...createOutput(true), result: () => {} };

test("every declaration of the library has a comment, every function an equation and an example that was run", () => {
  const modules = readLibrary();
  assert.ok(modules.length >= 14);
  for (const { name, words, entries } of modules) {
    assert.ok(words.length > 40, `${name} begins with a comment`);
    for (const entry of entries) {
      const where = `${name}.${entry.name}`;
      assert.match(entry.words, /^\S[^]*\.$/, `${where} has a comment, of sentences`);
      if (entry.kind !== "function") continue;
      assert.ok(entry.equation.length > 0, `${where} has an equation`);
      assert.ok(
        entry.example !== null,
        `${where} has an example: a sentence \`${entry.name}(argument: value)\` is \`result\`. in its comment`,
      );
      assert.match(entry.example.command, new RegExp(`^espalier run stdlib/${name}\\.esp --fn ${entry.name} `));
      assertNested(mathmlLines(entry.equation), where);
      assertBraced(texLines(entry.equation), where);
    }
  }
});

/** Tags that close in the order in which they open. */
function assertNested(html: string, where: string): void {
  const open: string[] = [];
  for (const [, slash, name = ""] of html.matchAll(/<(\/?)(\w+)[^>]*>/g))
    if (slash === "") open.push(name);
    else assert.is(open.pop(), name, where);
  assert.equal(open, [], where);
  assert.not.match(html, /undefined|NaN|\[object/);
}

function assertBraced(text: string, where: string): void {
  let depth = 0;
  for (const [found] of text.replaceAll(/\\[{}]/g, "").matchAll(/[{}]/g)) {
    depth += found === "{" ? 1 : -1;
    assert.ok(depth >= 0, where);
  }
  assert.is(depth, 0, where);
  for (const pair of ["left", "begin"])
    assert.is(
      text.split(new RegExp(`\\\\${pair}(?![a-z])`)).length,
      text.split(new RegExp(`\\\\${pair === "left" ? "right" : "end"}(?![a-z])`)).length,
      where,
    );
}

function equationIn(source: string): readonly string[] {
  const [declaration] = parse(source, "a.esp").value?.declarations ?? [];
  if (declaration?.kind !== "function") throw new Error("no function");
  return equationOf(declaration).map(({ depth, formula }) => `${"  ".repeat(depth)}${tex(formula)}`);
}

test("an equation is what the program says, as papers write it", () => {
  assert.equal(
    equationIn(`fn f(x: E[T, K], w: f32[N, K], s: f32[N, K / group], group: size) -> E[N, K] {
  let q[n] = min(max(round(w[n, 0] / s[n, 0]), 1.0), 2.0) * (s[n, 0] - (w[n, 1] - 1.0))
  var v = w
  scan k in 0 .. K {
    v[n, j] -= (sum[t in k .. K] f32(x[t, j])^2) * exp(-q[n]) for j in k .. K
    v[n, k] = select(k < 4, 1e-3, rsqrt(s[n, k / group])) where (s[n, k / group] > 0.0)
  }
  return v where w
}
`),
    [
      "{q}_{n} = \\text{min} \\left( \\text{max} \\left( \\left\\lfloor \\frac{{w}_{n , 0}}{{s}_{n , 0}} \\right\\rceil , 1 \\right) , 2 \\right) \\cdot \\left( {s}_{n , 0} - \\left( {w}_{n , 1} - 1 \\right) \\right)",
      "v \\leftarrow w",
      "\\text{for} \\; k = 0 , \\dots , K - 1",
      "  {v}_{n , j} \\leftarrow {v}_{n , j} - \\left( \\sum\\limits_{t = k}^{K - 1} {{x}_{t , j}}^{2} \\right) \\cdot {e}^{- {q}_{n}} , \\; k \\le j < K",
      "  {v}_{n , k} \\leftarrow \\begin{cases} \\begin{cases} {10}^{- 3} & \\text{if } k < 4 \\\\ \\frac{1}{\\sqrt{{s}_{n , \\left\\lfloor k / \\mathit{group} \\right\\rfloor}}} & \\text{otherwise} \\end{cases} & \\text{if } {s}_{n , \\left\\lfloor k / \\mathit{group} \\right\\rfloor} > 0 \\\\ 0 & \\text{otherwise} \\end{cases}",
      "\\text{f} \\left( x , w , s , \\mathit{group} \\right) = v \\odot w",
    ],
  );
});

const mine = `// What I try.

/// Doubles what it is given.
/// \`twice(x: [1, 2])\` is \`[2, 4]\`.
fn twice(x: f32[N]) -> f32[N] {
  return y where y[n] = 2.0 * x[n] // <b>
}

/// Both, see \`twice\`.
fn both(x: f32[N]) -> f32[N], f32[N] {
  let y[n] = x[n]
  return y, twice(x)
}
`;

test("the reference of one's own files, as Markdown and as pages", async () => {
  const file = folder.write("mine.esp", mine);
  const out = join(folder.path, "reference");
  await run(output, [file], { out });
  const markdown = readFileSync(join(out, "mine.md"), "utf8");
  assert.match(markdown, /## twice\n\nDoubles what it is given\.\n\n```math\n/);
  assert.match(markdown, /--fn twice --arg 'x=\[1, 2\]' --evaluate\ny: f32\[2\] = \[2, 4\]\n/);
  const html = readFileSync(join(out, "mine.html"), "utf8");
  assert.match(html, /<a href="#twice"><code>twice<\/code><\/a>/);
  assert.match(html, /<math displaystyle="true">/);
  assert.not.match(html, /<b>(?!\$)/);
  assert.match(html, /&lt;b&gt;/);
  // it is written anew, and nothing else is written over
  await run(output, [file], { out });
  assert.match(await refusal([file], folder.path), /is there, and no reference/);
});

async function refusal(files: string[], out: string): Promise<string> {
  try {
    await run(output, files, { out });
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  return "nothing was refused";
}

test("an example that does not hold is an error, and says what holds", () => {
  const problemsOf = (from: string, to: string): readonly string[] => {
    const problems: string[] = [];
    readModule(folder.write("other.esp", mine.replace(from, to)), createHost(), problems);
    return problems.map((each) => each.replace(/^.*other\.esp: /, ""));
  };
  assert.equal(problemsOf("[2, 4]`.", "[2, 5]`."), [
    "the example of `twice` is `[2, 4]`, and its comment says `[2, 5]`",
  ]);
  assert.match(problemsOf("x: [1, 2]", "z: [1, 2]")[0] ?? "", /gives `z`, which it does not take/);
  assert.match(problemsOf("x: [1, 2]", "[1, 2]")[0] ?? "", /should be|write `twice\(argument: value/);
  assert.match(problemsOf("x: [1, 2]", "x: 1")[0] ?? "", /does not run: x should be f32\[N\]/);
  assert.match(problemsOf("x: [1, 2]", "")[0] ?? "", /or all sizes for made-up ones: N is missing/);
  assert.equal(problemsOf("twice(x: [1, 2])` is `[2, 4]", "twice(N: 2)` is `[0, -4]"), []);
});

test("the first sentence of a comment stands in lists", () => {
  assert.is(
    firstSentence("Wanda (Sun et al. 2023,\neq. 1): the size. More."),
    "Wanda (Sun et al. 2023, eq. 1): the size.",
  );
});

test("pages are coloured by the rules of the TextMate grammar, which nest nowhere", () => {
  const source = readFileSync(projectFile("examples/best.esp"), "utf8");
  const found = createHighlighter()(source);
  for (const [at, { start, end }] of found.entries()) assert.ok(start < end && start >= (found[at - 1]?.end ?? 0));
  const scopeOf = (text: string): string | undefined =>
    found.find(({ start }) => source.startsWith(text, start))?.scope;
  assert.is(scopeOf("recipe"), "storage.type.espalier");
  assert.is(scopeOf("///"), "comment.line.documentation.espalier");
  assert.is(scopeOf("for"), "keyword.control.espalier");
});

test.run();
