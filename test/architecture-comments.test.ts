/** What has to say what it is. */
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

test.run();
