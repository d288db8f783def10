/** What the README and docs/ say is so: its programs run and print what it shows, its numbers and links are right. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bitsPerWeight,
  check,
  compile,
  CompileError,
  createHost,
  evaluate,
  normalizeFormat,
  render,
  standardLibrary,
  tensorValue,
  baselineTarget,
  compileStages,
} from "../index.js";
import { parseFormat } from "../runtime/cli/format.js";
import { projectFile } from "./support/project.js";
import { filesBelow } from "./support/sources.js";

const test = suite("readme");

/** The README, and the pages that it leads to. */
const pages = ["README.md", ...filesBelow(["docs"], ".md")];
const readme = pages.map((page) => readFileSync(projectFile(page), "utf8")).join("\n");

/** Fenced blocks in order, without their indentation. */
const fences = [...readme.matchAll(/^( *)```(\w*)\n([\s\S]*?)^\1```$/gm)].map(
  ([, indent = "", language = "", text = ""]) => ({
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }),
);

test("its programs run, and print what it shows", () => {
  const folder = mkdtempSync(join(tmpdir(), "espalier-readme-"));
  try {
    const programs = fences.filter(
      // what is for a page is run in one by test/web/example
      ({ language, text }) => language === "js" && !text.startsWith("// page.js"),
    );
    assert.equal(
      programs.map(({ text }) => text.split("\n", 1)[0]),
      ["// speak.js", "// shrink.js", "// compile.js", "// run.js", "// exchange.js"],
    );
    const printed = programs.map(({ text }, at) => {
      const path = join(folder, `${at}.mjs`);
      const entry = (name: string): string => JSON.stringify(new URL(`../bundle/${name}.js`, import.meta.url).href);
      const model = JSON.stringify(projectFile("examples/classics-3.7m"));
      const recipe = JSON.stringify(projectFile("examples/int4.esp"));
      const placed = text.replace('"examples/classics-3.7m"', model).replace('"examples/int4.esp"', recipe);
      writeFileSync(path, placed.replace('"espalier/run"', entry("run")).replaceAll('"espalier"', entry("index")));
      return execFileSync(process.execPath, [path], { cwd: folder, encoding: "utf8", timeout: 100_000 });
    });
    const shown = ["// speak.js", "// shrink.js", "// run.js", "// exchange.js"].map(
      (first) => fences[fences.findIndex(({ text }) => text.startsWith(first)) + 1]?.text,
    );
    assert.equal(printed, [shown[0]?.trimEnd(), shown[1], "", shown[2], shown[3]]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("its recipe is the example, its functions are of the library or check", () => {
  const shown = fences.filter(({ language }) => language === "esp").map(({ text }) => text);
  const example = readFileSync(projectFile("examples/wanda-2of4-int4.esp"), "utf8");
  const library = readFileSync(projectFile("stdlib/prune.esp"), "utf8");
  assert.is(shown[0], example);
  assert.ok(shown.some((text) => library.includes(text)));
  for (const text of shown.filter((each) => each !== example && !library.includes(each)))
    assert.equal(check("shown.esp", { read: (path) => (path === "shown.esp" ? text : null) }).diagnostics, [], text);
});

test("it is a page, which leads to all of docs/", () => {
  const page = readFileSync(projectFile("README.md"), "utf8");
  assert.ok(page.split("\n").length < 160);
  assert.equal(
    pages.slice(1).filter((each) => !page.includes(`](${each})`)),
    [],
  );
});

test("the error that it shows is the checker's", () => {
  const source = `use prune

recipe wrong(model: llama) {
  for w in model.linears {
    let keep = mask_2of4(magnitude(w))
    store w as pack w as nm(2, 4) of f16
  }
}
`;
  const host = createHost();
  const { diagnostics } = check("recipe.esp", {
    ...host,
    read: (path) => (path === "recipe.esp" ? source : host.read(path)),
  });
  const errors = diagnostics.filter(({ severity }) => severity === "error");
  assert.is(
    fences.find(({ text }) => text.startsWith("error[E502]"))?.text.trimEnd(),
    render(errors, new Map([["recipe.esp", source]]), { color: false }).trimEnd(),
  );
});

test("its table of formats is right", () => {
  const shape = { rows: 4096, columns: 4096 };
  const rows = [...readme.matchAll(/^\| (`.+`[^|]*) \| (any|masked|\d:\d) \| ([\d.]+) \|$/gm)];
  assert.ok(rows.length >= 10);
  for (const [, cell = "", pattern, bits] of rows) {
    for (const [, text = ""] of cell.matchAll(/`([^`]+)`/g)) {
      const spec = parseFormat(text);
      const normal = normalizeFormat(
        spec.name === "bitmask" ? { ...spec, args: { nonzeros: (shape.rows * shape.columns) / 2 } } : spec,
      );
      if (typeof normal === "string") throw new Error(normal);
      assert.is(Number(bits), Number(bitsPerWeight(normal, shape).toFixed(3)), text);
      assert.is(
        pattern,
        spec.name === "nm" ? `${spec.args["n"]}:${spec.args["m"]}` : spec.name === "bitmask" ? "masked" : "any",
        text,
      );
    }
  }
});

test("what it and the other documents link to is there", () => {
  const documents = [...pages, "CHANGELOG.md", ...filesBelow(["spec"], ".md")];
  const broken = documents.flatMap((document) =>
    // in code `[c](x)` is no link
    [
      ...readFileSync(projectFile(document), "utf8")
        .replace(/^```.*?^```|`[^`\n]*`/gms, "code")
        .matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g),
    ]
      .filter(([, target = ""]) => !existsSync(projectFile(join(dirname(document), target))))
      .map(([, target]) => `${document} links to ${target}`),
  );
  assert.equal(broken, []);
});

test("the files that it and the decisions name are there", () => {
  const documents = [...pages, ...filesBelow(["spec/decisions"], ".md")];
  const gone = documents.flatMap((document) =>
    [
      ...readFileSync(projectFile(document), "utf8").matchAll(
        /`((?:compiler|runtime|stdlib|spec|test|examples)\/[\w./-]*)`/g,
      ),
    ]
      .filter(([, path = ""]) => !existsSync(projectFile(path)))
      .map(([, path]) => `${document} names ${path}`),
  );
  assert.equal(gone, []);
});

test("the library's stages fit together", () => {
  const linear = standardLibrary().get("linear");
  if (linear === undefined) throw new Error("no function linear");
  const binding = { sizes: { B: 1, T: 1, K: 2, N: 2 }, dtypes: { E: "f32" as const }, formats: { F: null } };
  const stages = compileStages(linear, binding, baselineTarget);
  if ("diagnostics" in stages) throw new CompileError(stages.diagnostics);
  const inputs = new Map([
    ["x", tensorValue("f32", [1, 1, 2], [3, 4])],
    ["w", tensorValue("f32", [2, 2], [1, 0, 1, 1])],
  ]);
  assert.equal([...(evaluate(stages.concrete, inputs).get("y")?.data ?? [])], [3, 7]);
  assert.equal(JSON.parse(JSON.stringify(stages.program)), compile(linear, binding, baselineTarget));
  assert.throws(
    () => compile(linear, { sizes: {} }, baselineTarget),
    (error: unknown) => error instanceof CompileError && error.diagnostics.length > 0,
  );
});

test.run();
