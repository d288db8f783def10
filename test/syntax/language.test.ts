import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { render } from "../../compiler/render.js";
import { reservedWords } from "../../compiler/syntax/tokens.js";
import { projectFile } from "../support/project.js";

const test = suite("spec/language.md");
const spec = readFileSync(projectFile("spec/language.md"), "utf8");

/** The fenced examples: what they are marked with, their text, and the line they begin at. */
const examples = [...spec.matchAll(/^```(esp[^\n]*)\n([\s\S]*?)^```$/gm)].map(([, mark = "", text = ""], at, all) => ({
  mark,
  text,
  line: spec.slice(0, all[at]?.index ?? 0).split("\n").length + 1,
}));

/** The text of a module: the example itself, or a file of the standard library. */
function readModule(path: string, text: string): string | null {
  if (path === "example.esp") return text;
  return path.startsWith("stdlib/") && readdirSync(projectFile("stdlib")).includes(path.slice("stdlib/".length))
    ? readFileSync(projectFile(path), "utf8")
    : null;
}

for (const { mark, text, line } of examples) {
  test(`line ${line}: ${mark}`, () => {
    const { value, diagnostics } = check("example.esp", { read: (path) => readModule(path, text) });
    const shown = `line ${line}:\n${render(diagnostics, new Map([["example.esp", text]]), { color: false })}`;
    const wanted = /^esp-error (E\d{3})$/.exec(mark)?.[1];
    if (wanted === undefined) {
      assert.is(mark, "esp", `line ${line}: unknown mark`);
      assert.ok(value !== null && diagnostics.length === 0, shown);
    } else {
      assert.is(value, null, `line ${line} checks without errors`);
      assert.equal(
        [...new Set(diagnostics.filter((each) => each.severity === "error").map((each) => each.code))],
        [wanted],
        shown,
      );
    }
  });
}

test("rules are numbered in order, each once", () => {
  const numbers = [...spec.matchAll(/^\*\*\[L-(\d+)\]\*\*/gm)].map(([, number]) => Number(number));
  assert.ok(numbers.length > 50);
  assert.equal(
    numbers,
    [...new Set(numbers)].sort((a, b) => a - b),
  );
});

test("the rules that code, tests and the specification cite are there", () => {
  const rules = new Set([...spec.matchAll(/^\*\*\[(L-\d+)\]\*\*/gm)].map(([, rule]) => rule));
  for (const folder of ["compiler", "stdlib", "spec", "runtime", "test"]) {
    for (const file of readdirSync(projectFile(folder), { recursive: true, encoding: "utf8" }).filter((name) =>
      /\.(ts|esp|md)$/.test(name),
    )) {
      for (const [, rule] of readFileSync(projectFile(`${folder}/${file}`), "utf8").matchAll(/\[(L-\d+)\]/g))
        assert.ok(rules.has(rule), `${folder}/${file} cites ${rule}`);
    }
  }
});

test("[L-3] lists the reserved words", () => {
  const listed = /\*\*\[L-3\]\*\*[\s\S]*?```\n([\s\S]*?)```/.exec(spec)?.[1]?.trim().split(/\s+/) ?? [];
  assert.equal(listed.sort(), [...reservedWords].sort());
});

test.run();
