/** What has to say what it is, and what no file may have. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "./support/project.js";
import { filesBelow, readSources } from "./support/sources.js";

const test = suite("architecture of comments");

test("each function that is exported says what it is", () => {
  const declared = /^export (?:async )?function (\w+)/;
  const silent: string[] = [];
  for (const { path, text } of readSources(["compiler", "runtime"])) {
    const lines = text.split("\n");
    let before: string | undefined;
    lines.forEach((line, at) => {
      const name = declared.exec(line)?.[1];
      if (name === undefined) return;
      // overloads share the first one's comment
      if (name !== before && !(lines[at - 1] ?? "").trimEnd().endsWith("*/")) silent.push(`${path}:${at + 1} ${name}`);
      before = name;
    });
  }
  assert.equal(silent, []);
});

test("each function of the standard library and each example says what it is", () => {
  const silent: string[] = [];
  for (const path of filesBelow(["stdlib", "examples"], ".esp")) {
    const lines = readFileSync(projectFile(path), "utf8").split("\n");
    lines.forEach((line, at) => {
      if (/^(?:fn|recipe) /.test(line) && !/^\/\/\//.test(lines[at - 1] ?? ""))
        silent.push(`${path}:${at + 1} ${line}`);
    });
  }
  assert.equal(silent, []);
});

test("no file is longer than 450 lines", () => {
  const long = [
    ...readSources(["index.ts", "run.ts", "compiler", "runtime", "test"]).map(({ path, text }) => ({ path, text })),
    ...filesBelow(["stdlib"], ".esp").map((path) => ({ path, text: readFileSync(projectFile(path), "utf8") })),
  ]
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split("\n").length }))
    // the table of who may import whom grows with the tree
    .filter(({ path, lines }) => lines > (path === "test/architecture.test.ts" ? 550 : 450));
  assert.equal(long, []);
});

/** A dynamic library is loaded once a process, whatever a module thinks of it. */
const processWide: readonly string[] = ["runtime/device/vulkan.ts"];

test("nothing is left open: no any, no suppressed error, no skipped test, no mutable state of a module", () => {
  const rules: readonly {
    readonly what: string;
    readonly pattern: RegExp;
    readonly where: (path: string) => boolean;
    readonly comments: boolean;
  }[] = [
    {
      what: "any as a type",
      pattern: /(?:[:<|&]|=>|\bas|\bextends|\bsatisfies)\s*any\b(?!\s*[:(])|,\s*any\s*>|\bany\[\]/g,
      where: () => true,
      comments: false,
    },
    {
      what: "a suppressed error",
      pattern: /@ts-(?:ignore|expect-error|nocheck)|eslint-disable/g,
      where: () => true,
      comments: true,
    },
    { what: "a note of what is missing", pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/g, where: () => true, comments: true },
    {
      what: "a test that is skipped or runs alone",
      pattern: /\btest\.(?:skip|only)\(/g,
      where: (path) => path.startsWith("test/"),
      comments: false,
    },
    {
      what: "a test that passes without a word where the machine lacks something (support/not-run.ts)",
      pattern: /\bif \(!?[^)\n]*(?:features\.has|cpuDriverRuns|getuid|platform|hasGpu)\b[^\n]*\) return;/g,
      where: (path) => path.endsWith(".test.ts"),
      comments: false,
    },
    {
      what: "mutable state of a module",
      pattern: /^(?:export )?(?:let|var)\s/gm,
      where: (path) => !path.startsWith("test/") && !processWide.includes(path),
      comments: false,
    },
    {
      what: "an enum or a namespace",
      pattern: /^(?:export )?(?:const )?(?:enum|namespace)\s/gm,
      where: () => true,
      comments: false,
    },
  ];
  const wrong = rules.flatMap(({ what, pattern, where, comments }) =>
    readSources(["index.ts", "run.ts", "compiler", "runtime", "test"])
      .filter(({ path }) => where(path) && path !== "test/architecture-comments.test.ts")
      .flatMap(({ path, text, code }) =>
        [...(comments ? text : code).matchAll(pattern)].map(
          (found) => `${path}:${text.slice(0, found.index).split("\n").length} has ${what}`,
        ),
      ),
  );
  assert.equal(wrong, []);
});

test.run();
