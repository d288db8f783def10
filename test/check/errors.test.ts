import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import type { Diagnostic } from "../../compiler/diagnostic.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import { render } from "../../compiler/render.js";
import { dtypes, type Dtype } from "../../compiler/types/dtype.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { projectFile } from "../support/project.js";

const test = suite("errors");

/**
 * The findings of a program of `test/errors` or `spec/errors.md`, and how they are printed. Lines `// --set` and `//
 * bind` are read.
 */
function findings(source: string): { readonly diagnostics: readonly Diagnostic[]; readonly text: string } {
  const sources = new Map<string, string>([["main.esp", source]]);
  const read = (path: string): string | null => {
    const known = sources.get(path);
    if (known !== undefined) return known;
    try {
      const text = readFileSync(projectFile(path), "utf8");
      sources.set(path, text);
      return text;
    } catch {
      return null;
    }
  };
  const set = Object.fromEntries(
    [...source.matchAll(/^\/\/ --set (\w+)=(\S+)$/gm)].map(([, name, value]) => [name ?? "", value ?? ""]),
  );
  const { value, diagnostics } = check("main.esp", { read }, { set });
  const [, name, bindings] = /^\/\/ bind (\w+): (.*)$/m.exec(source) ?? [];
  const graph = value?.functions.get(name ?? "");
  const all = [...diagnostics];
  if (graph !== undefined && bindings !== undefined) {
    const bound = specialize(graph, bindingOf(bindings), { f16: true });
    if (!("graph" in bound)) all.push(...bound);
  }
  return { diagnostics: all, text: render(all, sources, { color: false }) };
}

/** `N = 4, E = f16, F = int4(16)` as bindings of sizes, dtypes and formats. */
function bindingOf(text: string): Parameters<typeof specialize>[1] {
  const sizes = new Map<string, number>();
  const types = new Map<string, Dtype>();
  const formats = new Map<string, FormatSpec>();
  for (const part of text.split(", ")) {
    const [name = "", value = ""] = part.split(" = ");
    const dtype = dtypes.find((each) => each === value);
    const [, format, group] = /^(\w+)\((\d+)\)$/.exec(value) ?? [];
    if (/^\d+$/.test(value)) sizes.set(name, Number(value));
    else if (dtype !== undefined) types.set(name, dtype);
    else if (format !== undefined) formats.set(name, { name: format, args: { group: Number(group) }, of: null });
    else throw new Error(`no binding: ${part}`);
  }
  return { sizes, dtypes: types, formats };
}

/** The codes that the checker and the binding of parameters give, from their sources. */
function emitted(): readonly string[] {
  const files = [
    ...readdirSync(projectFile("compiler/check")).map((name) => `compiler/check/${name}`),
    "compiler/graph/passes/specialize.ts",
  ];
  return [
    ...new Set(
      files.flatMap((file) =>
        [...readFileSync(projectFile(file), "utf8").matchAll(/"(E\d{3})"/g)].map(([, code]) => code ?? ""),
      ),
    ),
  ].sort();
}

interface Section {
  readonly bad: string;
  readonly reported: string;
  readonly good: string;
}

/** The sections of `spec/errors.md` by code: a bad program, what is reported, and a good one. */
function sections(): ReadonlyMap<string, Section> {
  const text = readFileSync(projectFile("spec/errors.md"), "utf8");
  const found = new Map<string, Section>();
  for (const part of text.split(/^(?=#{1,2} )/m)) {
    const code = /^## (E\d{3}) \S/.exec(part)?.[1];
    const [bad, reported, good] = [...part.matchAll(/^```(?:esp(?:-error E\d{3})?)?\n(.*?)^```$/gms)].map(
      ([, block]) => block ?? "",
    );
    if (code !== undefined && bad !== undefined && reported !== undefined && good !== undefined)
      found.set(code, { bad, reported, good });
  }
  return found;
}

test("every code has a section and a golden", () => {
  const known = sections();
  const goldens = readdirSync(projectFile("test/errors"));
  for (const code of emitted()) {
    assert.ok(known.has(code), `spec/errors.md has no section ## ${code} with a program, what is reported, and a fix`);
    assert.ok(
      goldens.includes(`${code}.esp`) && goldens.includes(`${code}.txt`),
      `test/errors has no ${code}.esp and ${code}.txt`,
    );
  }
});

for (const code of emitted()) {
  test(`${code}: the program gives it and nothing else, and the fix gives nothing`, () => {
    const source = readFileSync(projectFile(`test/errors/${code}.esp`), "utf8");
    const { diagnostics, text } = findings(source);
    assert.equal([...new Set(diagnostics.map((found) => found.code))], [code]);
    if (process.argv.includes("--update")) writeFileSync(projectFile(`test/errors/${code}.txt`), text);
    assert.fixture(text, readFileSync(projectFile(`test/errors/${code}.txt`), "utf8"));
    const section = sections().get(code);
    assert.is(section?.bad, source, "spec/errors.md has another program");
    assert.fixture(section?.reported ?? "", text, "spec/errors.md says something else");
    assert.equal(findings(section?.good ?? "").diagnostics, []);
  });
}

test("every finding has a message, a label in a file, and no capital at the start", () => {
  for (const code of emitted().filter((each) => !/^E40[1-8]$/.test(each))) {
    for (const found of findings(readFileSync(projectFile(`test/errors/${code}.esp`), "utf8")).diagnostics) {
      assert.not.match(found.message, /^[A-Z][a-z]|\.$/, code);
      for (const label of found.labels) assert.ok(label.span.start <= label.span.end && label.message !== "", code);
    }
  }
});

test.run();
