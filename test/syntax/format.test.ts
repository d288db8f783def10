import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { format } from "../../compiler/syntax/format.js";
import { parse } from "../../compiler/syntax/parse.js";
import { projectFile } from "../support/project.js";
import { filesBelow } from "../support/sources.js";

const test = suite("format");

const read = (path: string): string => readFileSync(projectFile(path), "utf8");

test("every file that parses is laid out, but the one that shows what becomes of another layout: if not, espalier fmt", () => {
  const wrong = filesBelow(["stdlib", "examples", "bench", "test"], ".esp").filter((path) => {
    const source = read(path);
    return parse(source, path).value !== null && format(source, path).value !== source;
  });
  assert.equal(wrong, ["test/golden/syntax/layout.esp"]);
});

test("every file that parses has a layout that stays, and keeps each comment", () => {
  for (const path of filesBelow(["stdlib", "examples", "bench", "test"], ".esp")) {
    const source = read(path);
    const { value, diagnostics } = format(source, path);
    if (parse(source, path).value === null) {
      assert.is(value, null, path);
      assert.ok(diagnostics.length > 0, path);
      continue;
    }
    assert.is(format(value ?? "", path).value, value, path);
    assert.equal(commentsOf(value ?? ""), commentsOf(source), path);
    const long = (value ?? "").split("\n").filter((line) => line.length > 120 && !line.includes("//"));
    assert.equal(long, [], path);
  }
});

/** Comments in order, without what is around them; no string in the tree holds two slashes. */
function commentsOf(source: string): readonly string[] {
  return [...source.matchAll(/\/\/.*$/gm)].map(([comment]) => comment.trimEnd());
}

const laidOut: readonly (readonly [string, string, string])[] = [
  [
    "what joins operands goes below the sign",
    `fn f(first: f32[N], second: f32[N]) -> f32[N] {
  return y where y[n] = first[n] * first[n] * first[n] * first[n] * first[n] + second[n] * second[n] * second[n]
}`,
    `fn f(first: f32[N], second: f32[N]) -> f32[N] {
  return y where y[n] = first[n] * first[n] * first[n] * first[n] * first[n] + second[n] * second[n] * second[n]
}`,
  ],
  [
    "a longer one breaks after it",
    `fn f(first: f32[N], second: f32[N]) -> f32[N] {
  return result where result[n] = first[n] * first[n] * first[n] * first[n] * first[n] + second[n] * second[n] * second[n]
}`,
    `fn f(first: f32[N], second: f32[N]) -> f32[N] {
  return result where result[n] =
    first[n] * first[n] * first[n] * first[n] * first[n] + second[n] * second[n] * second[n]
}`,
  ],
  [
    "comments stay with what they stand at",
    `// before
fn f(x: f32[N]) -> f32[N] { // head
  // of the statement
  let y = x // behind it

  // at the end
  return y
  // last
}
// after`,
    `// before
fn f(x: f32[N]) -> f32[N] {
  // head
  // of the statement
  let y = x // behind it

  // at the end
  return y
  // last
}
// after
`,
  ],
  ["line ends of another system", "const a = 1\r\nconst b = 2\r\n", "const a = 1\nconst b = 2\n"],
];

for (const [name, source, expected] of laidOut)
  test(name, () => assert.is(format(source, "a.esp").value?.trimEnd(), expected.trimEnd()));

test("a file with errors has none", () => {
  const { value, diagnostics } = format("fn f(x: f32[N] {\n", "a.esp");
  assert.is(value, null);
  assert.is(diagnostics[0]?.severity, "error");
});

test.run();
