/** What is shipped: how it is cut, and that a process loads of it what it needs. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "./support/project.js";

const test = suite("bundle");

interface Chunk {
  /** The sources that it is made of, by the marks that the bundler sets. */
  readonly sources: readonly string[];
  /** What is loaded with it: chunks by their names, packages and modules of Node. */
  readonly imports: readonly string[];
  /** What may be loaded later. */
  readonly later: readonly string[];
}

const folder = projectFile("dist/bundle");
const chunks = new Map(
  readdirSync(folder)
    .filter((name) => name.endsWith(".js"))
    .map((name): readonly [string, Chunk] => {
      const text = readFileSync(join(folder, name), "utf8");
      const found = (pattern: RegExp): readonly string[] =>
        [...text.matchAll(pattern)].map(([, target = ""]) => target.replace(/^\.\//, ""));
      return [
        name,
        {
          sources: found(/^ *\/\/ ((?:[\w@.-]+\/)*[\w.-]+\.(?:ts|m?js))$/gm),
          imports: found(/^(?:import|export)(?:[^"';]*?\sfrom)?\s+"([^"]+)";/gm),
          later: found(/\bimport\("([^"]+)"\)/g),
        },
      ];
    }),
);

/** The sources and packages that are loaded with some chunks, without those that are loaded later. */
function loadedWith(...names: readonly string[]): ReadonlySet<string> {
  const [reached, loaded] = [new Set<string>(), new Set<string>()];
  const visit = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    const chunk = chunks.get(name);
    if (chunk === undefined) loaded.add(name);
    for (const source of chunk?.sources ?? []) loaded.add(source);
    chunk?.imports.forEach(visit);
  };
  names.forEach(visit);
  return loaded;
}

/** The chunk that a command imports when it is called. */
function chunkOf(source: string): string {
  const found = [...chunks].find(([name]) => name.startsWith(`${source}-`));
  assert.ok(found, `there is no chunk of ${source}`);
  return found[0];
}

function without(loaded: ReadonlySet<string>, unwanted: RegExp): void {
  assert.equal(
    [...loaded].filter((name) => unwanted.test(name)),
    [],
  );
}

const grammar = /^compiler\/syntax\/|^node_modules\/chevrotain/;
const lowering = /^compiler\/(?:lower|kernel|wgsl|plan)\//;
const devices = /^runtime\/(?:device\/(?!error)|run\/)|^koffi|^webgpu/;
/** Errors are words, and so are the names of formats that `--to` has. */
const models = /^runtime\/(?:llama|model)\/(?!error|export\/targets)|tokenizers/;

test("each module is in one chunk, so that a process has one of it", () => {
  const times = new Map<string, number>();
  for (const { sources } of chunks.values())
    for (const source of new Set(sources)) times.set(source, (times.get(source) ?? 0) + 1);
  assert.ok(times.has("compiler/compile.ts") && times.has("runtime/run/run.ts"));
  assert.equal(
    [...times].filter(([, count]) => count > 1),
    [],
  );
});

test("help, the version and a wrong use load nothing that reads, compiles or runs", () => {
  const loaded = loadedWith("main.js");
  assert.ok(loaded.has("runtime/cli/commands.ts"));
  for (const unwanted of [grammar, lowering, devices, models, /^compiler\/(?:check|graph|formats|types)\//])
    without(loaded, unwanted);
});

test("a command loads what it needs", () => {
  const check = loadedWith("main.js", chunkOf("check"));
  assert.ok(check.has("compiler/check/check.ts"));
  for (const unwanted of [/^compiler\/(?:lower|wgsl|plan)\//, devices, models]) without(check, unwanted);
  const compile = loadedWith("main.js", chunkOf("compile"));
  assert.ok(compile.has("compiler/compile.ts"));
  for (const unwanted of [devices, models]) without(compile, unwanted);
  const inspect = loadedWith("main.js", chunkOf("inspect"));
  for (const unwanted of [grammar, /^compiler\/(?:lower|wgsl|plan|check)\//, devices]) without(inspect, unwanted);
});

test("to run Programs loads no compiler, and no package before a device is opened", () => {
  const loaded = loadedWith("run.js");
  assert.ok(loaded.has("runtime/run/run.ts"));
  for (const unwanted of [
    grammar,
    /^compiler\/(?:check|lower|wgsl|plan|graph)\//,
    models,
    /^node_modules\//,
    /^koffi|^webgpu/,
  ])
    without(loaded, unwanted);
});

test("what is not in the bundle is a dependency, and what is in it is listed with its licence", () => {
  const manifest = JSON.parse(readFileSync(projectFile("package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const text = [...chunks.keys()].map((name) => readFileSync(join(folder, name), "utf8")).join("\n");
  const outside = [...chunks.values()]
    .flatMap(({ imports, later }) => [...imports, ...later])
    .filter((name) => !chunks.has(name) && !isBuiltin(name));
  assert.equal(
    outside.filter((name) => !(name in manifest.dependencies)),
    [],
  );
  for (const name of Object.keys(manifest.dependencies))
    assert.ok(text.includes(`"${name}"`), `${name} is a dependency, and nothing asks for it`);
  const licences = readFileSync(join(folder, "LICENSES.txt"), "utf8");
  for (const { sources } of chunks.values())
    for (const source of sources) {
      const [, name] = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source) ?? [];
      if (name !== undefined) assert.match(licences, new RegExp(`^${name} \\d`, "m"));
    }
});

// a fault that only bare machines met: the package that reads archives has no names where it is bundled
test("the CPU driver is unpacked by what is shipped where no cache has it yet", () => {
  const home = mkdtempSync(join(tmpdir(), "espalier-bare-"));
  try {
    const env = { ...process.env, XDG_CACHE_HOME: home, HOME: home, TMPDIR: home };
    const printed = execFileSync(process.execPath, [join(folder, "main.js"), "devices"], { env, encoding: "utf8" });
    assert.match(printed, /SwiftShader/);
    assert.ok(existsSync(join(home, "espalier")));
  } finally {
    rmSync(home, { recursive: true });
  }
});

test.run();
