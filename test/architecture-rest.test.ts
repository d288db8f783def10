/** What no file may hold. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formats } from "../compiler/formats/registry.js";
import { projectFile } from "./support/project.js";
import { readSources } from "./support/sources.js";

const test = suite("architecture of the rest");

const sources = readSources(["index.ts", "run.ts", "web.ts", "playground", "compiler", "runtime", "test"]);

/** A dynamic library is loaded once a process, whatever a module thinks of it. */
const processWide: readonly string[] = ["runtime/device/vulkan.ts"];

const formatNames = formats
  .filter(({ dense }) => dense === null)
  .map(({ name }) => name)
  .join("|");

/** What activations are rounded to is written like a format, and is none. */
const activations: readonly string[] = ["compiler/check/rounding.ts", "runtime/model/packed.ts"];

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
      what: "a format that is asked for its name outside of its own folder and of the files of other tools",
      pattern: new RegExp(
        String.raw`\bname\s*[!=]==\s*"(?:${formatNames})"|"(?:${formatNames})"\]?[^\n]*\.includes\([^)\n]*name`,
        "g",
      ),
      where: (path) =>
        /^(?:compiler|runtime)\//.test(path) &&
        !/^(?:compiler\/(?:formats|syntax)|runtime\/model\/(?:export|interchange|gguf))\//.test(path) &&
        !activations.includes(path),
      // strings are not code
      comments: true,
    },
    {
      what: "an enum or a namespace",
      pattern: /^(?:export )?(?:const )?(?:enum|namespace)\s/gm,
      where: () => true,
      comments: false,
    },
  ];
  const wrong = rules.flatMap(({ what, pattern, where, comments }) =>
    sources
      .filter(({ path }) => where(path) && path !== "test/architecture-rest.test.ts")
      .flatMap(({ path, text, code }) =>
        [...(comments ? text : code).matchAll(pattern)].map(
          (found) => `${path}:${text.slice(0, found.index).split("\n").length} has ${what}`,
        ),
      ),
  );
  assert.equal(wrong, []);
});

test("every decision is in the index", () => {
  const folder = projectFile("spec/decisions");
  const index = readFileSync(join(folder, "README.md"), "utf8");
  const files = readdirSync(folder).filter((name) => /^\d{4}-/.test(name));
  assert.ok(files.length >= 40);
  const missing = files.filter((name) => !index.includes(`| [${name.slice(0, 4)}](${name}) | `));
  assert.equal(missing, []);
});

test.run();
