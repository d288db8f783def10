/**
 * Plants the faults of `mutations.ts`, one at a time, in a copy of the project, and reports which test notices each.
 * Run by hand; it takes a quarter of an hour or more:
 *
 *   npm run build && node dist/test/support/mutate.js            all, each until a test of its part of the tree notices
 *   node dist/test/support/mutate.js rotary 7                    those whose name has a word, or by number from 1
 *   node dist/test/support/mutate.js --all                       where none of its part does, all other tests
 *
 * A test notices a fault that fails with it and passes without. A fault whose text is not found exactly once, or that
 * does not compile, ends the run: it is to be mended in `mutations.ts`. The working tree is not touched.
 */
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import { parseArgs } from "node:util";
import { mutations, type Mutation } from "./mutations.js";
import { projectFile } from "./project.js";

/** Test files by the part of the tree that they are most concerned with: parts of their paths, in order of trial. */
const concerned: readonly (readonly [string, readonly string[]])[] = [
  ["compiler/check/", ["check/", "errors", "llama/bad-input"]],
  ["compiler/graph/", ["graph/", "stages", "property/", "lower/"]],
  ["compiler/lower/", ["lower/", "property/", "stages", "stdlib/"]],
  ["compiler/plan/", ["plan/", "lower/"]],
  ["compiler/kernel/", ["kernel/", "lower/"]],
  ["compiler/wgsl/", ["wgsl/", "lower/"]],
  ["compiler/formats/", ["formats/", "model/gguf/"]],
  ["runtime/llama/", ["llama/", "cli/notes"]],
  ["runtime/model/", ["model/"]],
  ["runtime/", ["runtime/"]],
  ["stdlib/", ["stdlib/", "lower/library", "llama/"]],
];

/** Faults that may go unnoticed before the run counts as failed. */
const tolerated = 2;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { all: { type: "boolean", default: false } },
});
const chosen = mutations
  .map((mutation, at) => ({ mutation, number: at + 1 }))
  .filter(
    ({ mutation, number }) =>
      positionals.length === 0 ||
      positionals.some((word) => (/^\d+$/.test(word) ? Number(word) === number : mutation.name.includes(word))),
  );
const lost = mutations.filter(({ file, text }) => timesIn(file, text) !== 1);
if (chosen.length === 0 || lost.length > 0) {
  for (const { name, file, text } of lost)
    console.error(`"${name}": ${file} has this text ${timesIn(file, text)} times, not once:\n  ${text}`);
  if (chosen.length === 0) console.error(`no fault is called ${positionals.join(" or ")}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "espalier-mutate-"));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  });
}
try {
  process.exitCode = run();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run(): number {
  const clean = copyTo(join(folder, "clean"));
  build(clean);
  const changed = join(folder, "changed");
  cpSync(clean, changed, { recursive: true, verbatimSymlinks: true });
  /** Files that fail without any fault: of no use here. */
  const passes = new Map<string, boolean>();
  let missed = 0;
  for (const { mutation, number } of chosen) {
    const began = performance.now();
    const before = readFileSync(join(changed, mutation.file), "utf8");
    writeFileSync(
      join(changed, mutation.file),
      before.replace(mutation.text, () => mutation.replacement),
    );
    build(changed, mutation);
    const found = noticedBy(clean, changed, mutation, passes);
    writeFileSync(join(changed, mutation.file), before);
    if (found === null) missed += 1;
    const verdict = found === null ? "NOT NOTICED" : "noticed";
    console.log(
      `${String(number).padStart(2)}  ${verdict.padEnd(11)}  ${mutation.name} (${mutation.file})\n      ${found ?? `by any test of ${patternsOf(mutation).join(", ")}${options.all ? ", nor by any other" : ""}`}  ${((performance.now() - began) / 1000).toFixed(0)} s`,
    );
  }
  console.log(`${chosen.length - missed} of ${chosen.length} faults noticed`);
  return missed > tolerated ? 1 : 0;
}

/** The first test that fails with the fault and not without, in words; null for none. */
function noticedBy(clean: string, changed: string, mutation: Mutation, passes: Map<string, boolean>): string | null {
  for (const file of filesFor(changed, mutation)) {
    const failure = failureOf(changed, file);
    if (failure === null) continue;
    if (!passes.has(file)) passes.set(file, failureOf(clean, file) === null);
    if (passes.get(file) === true) return `by ${file}: ${failure}`;
    console.error(`      ${file} fails without any fault, too`);
  }
  return null;
}

/** What fails in a test file of a copy: the name of its first test that does; null where none does. */
function failureOf(root: string, file: string): string | null {
  const { status, stdout } = node(root, ["dist/test/run.js", "--jobs", "1", `test/${file}`]);
  if (status === 0) return null;
  return /^ {3}FAIL {2}(.*)$/m.exec(stdout)?.[1]?.trim() ?? "it ended before its tests did";
}

function filesFor(root: string, mutation: Mutation): readonly string[] {
  const all = readdirSync(join(root, "dist", "test"), { recursive: true, encoding: "utf8" })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => path.endsWith(".test.js"))
    .sort();
  const first = patternsOf(mutation).flatMap((pattern) => all.filter((path) => path.startsWith(pattern)));
  return [...new Set(options.all ? [...first, ...all] : first)];
}

function patternsOf({ file }: Mutation): readonly string[] {
  return concerned.find(([prefix]) => file.startsWith(prefix))?.[1] ?? [""];
}

/** The files of the project as they are now, with the packages that it uses. */
function copyTo(target: string): string {
  const listed = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: projectFile("."),
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  if (listed.status !== 0) throw new Error(`git ls-files: ${listed.stderr}`);
  for (const file of listed.stdout.split("\0").filter((name) => name !== "")) {
    mkdirSync(dirname(join(target, file)), { recursive: true });
    cpSync(projectFile(file), join(target, file), { verbatimSymlinks: true });
  }
  symlinkSync(projectFile("node_modules"), join(target, "node_modules"));
  return target;
}

function build(root: string, mutation: Mutation | null = null): void {
  for (const args of [["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"], ["bundle.mjs"]]) {
    const { status, stdout, stderr } = node(root, args);
    if (status !== 0)
      throw new Error(
        `${mutation === null ? "the project" : `"${mutation.name}"`} does not build:\n${stdout}${stderr}`,
      );
  }
}

function node(root: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, args, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28 });
}

function timesIn(file: string, text: string): number {
  try {
    return readFileSync(projectFile(file), "utf8").split(text).length - 1;
  } catch {
    return 0;
  }
}
