/**
 * What newcomers write: what is reported of it, and that what it advises works when it is followed. `test/mistakes` has
 * the cases; with `--update` on the command line what is reported is written there, to be read.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check, knownModules, type Host } from "../../compiler/check/check.js";
import type { Diagnostic } from "../../compiler/diagnostic.js";
import { standardModules } from "../../runtime/library.js";
import { projectFile } from "../support/project.js";
import { rendered } from "./support.js";

const test = suite("mistakes");

const library = new Map<string, string | null>();

/** A text of the standard library, or null. */
function readLibrary(path: string): string | null {
  const known = library.get(path);
  if (known !== undefined) return known;
  const module = /^stdlib\/(\w+)\.esp$/.exec(path)?.[1];
  const there = standardModules.some((name) => name === module);
  const text = there ? readFileSync(projectFile(path), "utf8") : null;
  library.set(path, text);
  return text;
}

const all = `use ${standardModules.join(", ")}\n`;
const modules = knownModules("all.esp", { read: (path) => (path === "all.esp" ? all : readLibrary(path)) });

function findings(source: string): { readonly diagnostics: readonly Diagnostic[]; readonly reported: string } {
  const host: Host = {
    read: (path) => (path === "main.esp" ? source : readLibrary(path)),
    standardModules,
    known: (path) => modules?.get(path) ?? null,
  };
  const { diagnostics } = check("main.esp", host);
  const texts = [...library].flatMap(([path, text]) => (text === null ? [] : [[path, text] as const]));
  return { diagnostics, reported: rendered(diagnostics, { ...Object.fromEntries(texts), "main.esp": source }) };
}

for (const file of readdirSync(projectFile("test/mistakes"))) {
  const path = projectFile(`test/mistakes/${file}`);
  const [head = "", ...sections] = readFileSync(path, "utf8").split(/^(?=## )/m);
  const updated = [head];
  for (const section of sections) {
    const title = /^## (.*)$/m.exec(section)?.[1] ?? "";
    const blocks = [...section.matchAll(/^```(?:esp)?\n(.*?)^```$/gms)];
    const [bad, reported, good] = blocks.map(([, block]) => block ?? "");
    test(`${file}: ${title}`, () => {
      const found = findings(bad ?? "");
      const { index = 0, 0: whole = "" } = blocks[1] ?? {};
      updated.push(`${section.slice(0, index)}\`\`\`\n${found.reported}\`\`\`${section.slice(index + whole.length)}`);
      assert.is(found.diagnostics.length, Number(/\((\d+)\)$/.exec(title)?.[1] ?? 1), found.reported);
      assert.equal(findings(good ?? "").diagnostics, [], "what is reported does not help");
      if (!process.argv.includes("--update")) assert.is(found.reported, reported);
    });
  }
  test(`${file} has one place for each mistake`, () => {
    const titles = sections.map((section) => section.split("\n")[0]);
    assert.is(new Set(titles).size, titles.length);
    if (process.argv.includes("--update")) writeFileSync(path, updated.join(""));
  });
}

test.run();
