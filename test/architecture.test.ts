/** The rules of the tree: who may import whom, and what no file may hold. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { circlesOf } from "./support/circles.js";
import { projectFile } from "./support/project.js";
import { readSources, type SourceFile } from "./support/sources.js";

const test = suite("architecture");

const sources = readSources(["index.ts", "run.ts", "web.ts", "playground", "compiler", "runtime", "test"]);
const inside = (folder: string): readonly SourceFile[] => sources.filter(({ path }) => path.startsWith(`${folder}/`));

/**
 * The part of the tree that a file belongs to: a folder of `compiler/` or `runtime/`, or a file that stands there
 * alone. What formats mean and what kernels do with them are two parts; so is each folder of `runtime/llama/`.
 */
function partOf(path: string): string {
  const [top = "", name = ""] = path.split("/");
  if (/^compiler\/formats\/(?:code\/|\w+\/code\.ts$)/.test(path)) return "the code of formats";
  const [, llama] = /^runtime\/llama\/([\w-]+)\//.exec(path) ?? [];
  if (llama !== undefined) return `runtime/llama/${llama}`;
  return top === "compiler" || top === "runtime" ? `${top}/${name.replace(/\.ts$/, "")}` : top.replace(/\.ts$/, "");
}

/** In the order of processing: each part imports only from itself and from those named. */
const mayImport: { readonly [part: string]: readonly string[] } = {
  "compiler/diagnostic": [],
  "compiler/suggest": [],
  "compiler/words": [],
  "compiler/target": [],
  "compiler/float": [],
  "compiler/names": [],
  "compiler/render": ["compiler/diagnostic"],
  "compiler/types": [],
  "compiler/syntax": ["compiler/diagnostic", "compiler/suggest", "compiler/words"],
  "compiler/kernel": ["compiler/diagnostic", "compiler/float", "compiler/target", "compiler/types"],
  "compiler/wgsl": ["compiler/diagnostic", "compiler/kernel"],
  "compiler/formats": ["compiler/diagnostic", "compiler/float", "compiler/types"],
  "the code of formats": ["compiler/diagnostic", "compiler/types", "compiler/formats", "compiler/kernel"],
  "compiler/graph": [
    "compiler/diagnostic",
    "compiler/names",
    "compiler/float",
    "compiler/target",
    "compiler/types",
    "compiler/formats",
  ],
  "compiler/recipe": ["compiler/diagnostic", "compiler/types", "compiler/graph"],
  "compiler/check": [
    "compiler/diagnostic",
    "compiler/names",
    "compiler/suggest",
    "compiler/words",
    "compiler/types",
    "compiler/syntax",
    "compiler/formats",
    "compiler/graph",
    "compiler/recipe",
  ],
  "compiler/language-service": [
    "compiler/diagnostic",
    "compiler/types",
    "compiler/syntax",
    "compiler/formats",
    "compiler/graph",
    "compiler/recipe",
    "compiler/check",
  ],
  "compiler/documentation": ["compiler/syntax"],
  "compiler/lower": [
    "compiler/diagnostic",
    "compiler/words",
    "compiler/names",
    "compiler/target",
    "compiler/types",
    "compiler/formats",
    "the code of formats",
    "compiler/graph",
    "compiler/kernel",
  ],
  "compiler/plan": [
    "compiler/diagnostic",
    "compiler/types",
    "compiler/graph",
    "compiler/kernel",
    "compiler/lower",
    "compiler/wgsl",
  ],
  "compiler/compile": [
    "compiler/diagnostic",
    "compiler/target",
    "compiler/types",
    "compiler/graph",
    "compiler/kernel",
    "compiler/lower",
    "compiler/plan",
  ],
  "runtime/device": [],
  "runtime/run": ["compiler/float", "compiler/target", "compiler/types", "compiler/plan", "runtime/device"],
  "runtime/model": ["compiler/words", "compiler/float", "compiler/types", "compiler/formats", "runtime/device"],
  "runtime/hub": ["compiler/words", "runtime/device", "runtime/model"],
  "runtime/chat": ["runtime/model"],
  "runtime/package": ["compiler/diagnostic"],
  "runtime/build": [],
  "runtime/known-library": ["runtime/build", "runtime/package", "compiler/check"],
  "runtime/library": [
    "runtime/known-library",
    "runtime/standard-modules",
    "compiler/suggest",
    "runtime/package",
    "compiler/diagnostic",
    "compiler/check",
    "compiler/graph",
  ],
  "runtime/llama": [
    "compiler/words",
    "compiler/compile",
    "compiler/diagnostic",
    "compiler/target",
    "compiler/types",
    "compiler/formats",
    "compiler/graph",
    "runtime/device",
    "runtime/run",
    "runtime/model",
  ],
  "runtime/llama/inference": [
    "compiler/words",
    "compiler/types",
    "compiler/formats",
    "compiler/graph",
    "compiler/plan",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
  ],
  "runtime/llama/tasks": ["compiler/words", "runtime/run", "runtime/model", "runtime/llama", "runtime/llama/inference"],
  "runtime/llama/serving": [
    "compiler/words",
    "runtime/device",
    "runtime/run",
    "runtime/llama",
    "runtime/llama/inference",
  ],
  "runtime/server": [
    "compiler/words",
    "runtime/device",
    "runtime/model",
    "runtime/chat",
    "runtime/llama",
    "runtime/llama/inference",
    "runtime/llama/serving",
  ],
  "runtime/llama/training": [
    "compiler/words",
    "compiler/diagnostic",
    "compiler/target",
    "compiler/types",
    "compiler/graph",
    "compiler/recipe",
    "runtime/device",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
  ],
  "runtime/llama/long-runs": [
    "compiler/words",
    "compiler/types",
    "compiler/recipe",
    "runtime/build",
    "runtime/device",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
    "runtime/llama/training",
  ],
  "runtime/llama/compression": [
    "compiler/words",
    "compiler/compile",
    "compiler/suggest",
    "compiler/diagnostic",
    "compiler/target",
    "compiler/types",
    "compiler/formats",
    "compiler/graph",
    "compiler/recipe",
    "runtime/package",
    "runtime/device",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
    "runtime/llama/long-runs",
    "runtime/llama/training",
  ],
  "runtime/standard-modules": [],
  "runtime/web": [
    "compiler/check",
    "compiler/diagnostic",
    "compiler/graph",
    "compiler/recipe",
    "runtime/standard-modules",
    "runtime/device",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/compression",
    "runtime/llama/long-runs",
  ],
  "runtime/load": [
    "runtime/device",
    "runtime/library",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
  ],
  "runtime/tune": [
    "compiler/compile",
    "compiler/diagnostic",
    "compiler/float",
    "runtime/package",
    "runtime/device",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
  ],
  "runtime/bench": [
    "compiler/compile",
    "compiler/diagnostic",
    "compiler/float",
    "compiler/types",
    "compiler/formats",
    "compiler/graph",
    "compiler/kernel",
    "compiler/plan",
    "compiler/wgsl",
    "runtime/device",
    "runtime/run",
    "runtime/model",
    "runtime/llama",
    "runtime/llama/inference",
  ],
};

const packages: { readonly [part: string]: readonly string[] } = {
  "compiler/syntax": ["chevrotain"],
  "compiler/render": ["picocolors"],
  "runtime/device": ["koffi", "tar-stream", "webgpu"],
  "runtime/hub": ["@huggingface/hub"],
  "runtime/model": ["tokenizers"],
  "runtime/chat": ["@huggingface/jinja"],
  "runtime/server": ["@hono/node-server", "hono"],
  "runtime/web": ["@huggingface/tokenizers"],
  playground: ["@codemirror/commands", "@codemirror/lint", "@codemirror/state", "@codemirror/view", "codemirror"],
  "runtime/cli": [
    "@huggingface/hub",
    "cli-progress",
    "commander",
    "koffi",
    "picocolors",
    "vscode-languageserver",
    "vscode-languageserver-textdocument",
  ],
};

test("imports go one way", () => {
  const wrong: string[] = [];
  for (const { path, imports } of [...inside("compiler"), ...inside("runtime")]) {
    const part = partOf(path);
    const allowed = mayImport[part];
    // the command line stands above everything but the tests
    if (part === "runtime/cli")
      wrong.push(
        ...imports
          .filter(({ target, local }) => local && partOf(target) === "test")
          .map(({ target }) => `${path} imports ${target}`),
      );
    else if (allowed === undefined)
      wrong.push(`${path} is in no part that this test knows: say in mayImport what it may import`);
    else
      for (const { target, local } of imports)
        if (local && partOf(target) !== part && !allowed.includes(partOf(target)))
          wrong.push(`${path} imports ${target}`);
  }
  assert.equal(wrong, []);
});

test("what a part may import it does import", () => {
  const used = new Set(
    sources.flatMap(({ path, imports }) =>
      imports.filter(({ local }) => local).map(({ target }) => `${partOf(path)} imports ${partOf(target)}`),
    ),
  );
  const unused = Object.entries(mayImport).flatMap(([part, allowed]) =>
    allowed.map((other) => `${part} imports ${other}`).filter((line) => !used.has(line)),
  );
  assert.equal(unused, []);
});

test("what the parts may import has no cycle", () => {
  const done = new Set<string>();
  const visit = (part: string, below: readonly string[]): void => {
    assert.not.ok(below.includes(part), `${[...below, part].join(" -> ")}`);
    if (done.has(part)) return;
    for (const next of mayImport[part] ?? []) visit(next, [...below, part]);
    done.add(part);
  };
  for (const part of Object.keys(mayImport)) visit(part, []);
});

/**
 * Files that import each other in a circle because what they do is one recursion. All others have a place above what
 * they import, types included: whoever reads one need not have read the next.
 */
const recursions: readonly { readonly why: string; readonly files: readonly string[] }[] = [
  {
    why: "an expression holds expressions: elements, whole tensors, calls, reductions, gradients, formats with sizes",
    files: [
      "compiler/check/call.ts",
      "compiler/check/element.ts",
      "compiler/check/factorization.ts",
      "compiler/check/formats.ts",
      "compiler/check/free-index.ts",
      "compiler/check/gradient.ts",
      "compiler/check/low-rank.ts",
      "compiler/check/operation.ts",
      "compiler/check/pack.ts",
      "compiler/check/parameter.ts",
      "compiler/check/reduction.ts",
      "compiler/check/whole.ts",
    ],
  },
];

test("no files import each other in a circle, but those of a recursion", () => {
  const circles = circlesOf(new Map(sources.map(({ path, imports }) => [path, imports.map(({ target }) => target)])));
  assert.equal(
    circles.map((files) => files.join(", ")),
    recursions.map(({ files }) => files.join(", ")),
  );
});

test("the compiler knows nothing of Node, of a GPU or of the runtime", () => {
  const wrong: string[] = [];
  for (const { path, imports, code } of inside("compiler")) {
    for (const { target, local } of imports)
      if (local ? !target.startsWith("compiler/") : target.startsWith("node:")) wrong.push(`${path} imports ${target}`);
    for (const [name] of code.matchAll(/\b(?:process|console|globalThis|navigator|performance|Buffer|GPU[A-Z]\w*)\b/g))
      wrong.push(`${path} names ${name}`);
  }
  assert.equal(wrong, []);
});

test("packages are imported where they belong, and listed in package.json", () => {
  const manifest = JSON.parse(readFileSync(projectFile("package.json"), "utf8")) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const used = new Set<string>();
  const wrong: string[] = [];
  for (const { path, imports } of sources) {
    for (const { target, local } of imports) {
      if (local || target.startsWith("node:")) continue;
      const name = target
        .split("/")
        .slice(0, target.startsWith("@") ? 2 : 1)
        .join("/");
      used.add(name);
      if (
        partOf(path) === "test"
          ? !(name in manifest.devDependencies) && !(name in manifest.dependencies)
          : !(packages[partOf(path)] ?? []).includes(name)
      )
        wrong.push(`${path} imports ${name}`);
    }
  }
  assert.equal(wrong, []);
  // the driver on the CPU and what draws the plots of a report are read from their packages' folders; types and the
  // tools that build are not imported
  const otherwise = [
    "@sparticuz/chromium",
    "chart.js",
    "@webgpu/types",
    "typescript",
    "@biomejs/biome",
    "esbuild",
    "marked",
    "puppeteer-core",
  ];
  const unused = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
    (name) =>
      !used.has(name) &&
      !name.includes("codemirror") &&
      !name.startsWith("@lezer/") &&
      !otherwise.includes(name) &&
      !name.startsWith("@types/"),
  );
  assert.equal(unused, []);
});

test.run();
