/** The TextMate grammar: made of the compiler's words, all of them, and right on the library. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { textMateGrammar } from "../compiler/language-service/grammar.js";
import { reservedWords } from "../compiler/syntax/tokens.js";
import { projectFile } from "./support/project.js";
import { filesBelow } from "./support/sources.js";

const test = suite("grammar");

interface Rule {
  readonly name?: string;
  readonly match: string;
}

const rules = textMateGrammar()["patterns"] as readonly Rule[];

/** The scope that the first rule to match at each place gives, as TextMate does it. */
function scopes(line: string): readonly (readonly [text: string, scope: string])[] {
  const found: [string, string][] = [];
  for (let at = 0; at < line.length; ) {
    const hits = rules.flatMap((rule) => {
      const pattern = new RegExp(rule.match, "g");
      pattern.lastIndex = at;
      const hit = pattern.exec(line);
      return hit === null ? [] : [{ start: hit.index, text: hit[0], scope: rule.name ?? "captures" }];
    });
    const [first] = hits.toSorted((a, b) => a.start - b.start);
    if (first === undefined) break;
    found.push([first.text, first.scope]);
    at = first.start + Math.max(first.text.length, 1);
  }
  return found;
}

test("the file is what the compiler's words make: if not, node editors/vscode/grammar.mjs", () => {
  const file = readFileSync(projectFile("editors/vscode/syntaxes/espalier.tmLanguage.json"), "utf8");
  assert.equal(JSON.parse(file), textMateGrammar());
});

test("every word of the language has a colour", () => {
  for (const word of reservedWords) {
    const [[text, scope] = ["", ""]] = scopes(word);
    assert.is(text, word);
    assert.match(scope, /^(?:keyword|storage|constant|support)\./, word);
  }
});

test("a line of each kind", () => {
  const of = (line: string): string =>
    scopes(line)
      .map(([text, scope]) => `${text}:${scope.split(".")[0]}`)
      .join(" ");
  assert.is(of("// for"), "// for:comment");
  assert.is(of("let y = 2.5"), "let:storage =:keyword 2.5:constant");
  assert.is(of("for b in model.top"), "for:keyword in:keyword .top:captures");
  assert.is(of('w matches "a for b"'), 'matches:keyword "a for b":string');
  assert.is(of("sum[k] abs(x)"), "sum:support abs:support");
});

test("in the library words in comments and names stay what they are", () => {
  for (const path of filesBelow(["stdlib", "examples"], ".esp"))
    for (const line of readFileSync(projectFile(path), "utf8").split("\n"))
      if (line.trimStart().startsWith("//")) assert.is(scopes(line)[0]?.[0], line.trimStart(), path);
});

test.run();
