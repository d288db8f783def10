/**
 * Plants the faults of `mutations.ts`, one at a time, in a copy of the project, and reports which test notices each.
 * Run by hand; it takes a quarter of an hour or more on a quiet machine:
 *
 *   npm run build && node dist/test/support/mutate.js        each until a test notices: those of its part of the tree
 *                                                            first, and only if none of these does, all others
 *   node dist/test/support/mutate.js rotary 7                faults whose name has a word, or by number from 1
 *   node dist/test/support/mutate.js --near                  without the other tests
 *   node dist/test/support/mutate.js --last                  only the test that noticed each last
 *   node dist/test/support/mutate.js --check                 only tells where each fault would stand
 *
 * A test notices a fault that fails with it and passes without. A fault whose text is not found exactly once, or that
 * does not compile, ends the run: it is to be mended in `mutations.ts`. The working tree is not touched.
 */
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, sep } from "node:path";
import { parseArgs } from "node:util";
import { mutations, type Mutation } from "./mutations.js";
import { filesWith, plant } from "./planting.js";
import { projectFile } from "./project.js";
import { readSources } from "./sources.js";

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
  options: {
    near: { type: "boolean", default: false },
    last: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
  },
});
/** A fault and where it is to stand. */
interface Planted {
  readonly mutation: Mutation;
  /** From 1. */
  readonly number: number;
  readonly file: string;
}

const code = readSources(["compiler", "runtime", "test"]);
const planted = mutations.map((mutation, at): Planted | string => {
  const found = filesWith(mutation);
  if (found.length === 1) return { mutation, number: at + 1, file: found[0]! };
  const places = found.length === 0 ? "" : `, in ${[...new Set(found)].join(", ")}`;
  return `"${mutation.name}": its text is found ${found.length} times, not once${places}:\n  ${mutation.text}`;
});
const lost = planted.filter((each) => typeof each === "string");
const chosen = planted
  .filter((each) => typeof each !== "string")
  .filter(
    ({ mutation, number }) =>
      positionals.length === 0 ||
      positionals.some((word) => (/^\d+$/.test(word) ? Number(word) === number : mutation.name.includes(word))),
  );
if (options.check)
  for (const { mutation, number, file } of chosen) console.log(`${number}  ${mutation.name} (${file})`);
for (const message of lost) console.error(message);
if (lost.length === 0 && chosen.length === 0) console.error(`no fault is called ${positionals.join(" or ")}`);
if (options.check || lost.length > 0 || chosen.length === 0)
  process.exit(lost.length > 0 || chosen.length === 0 ? 2 : 0);

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
  for (const each of chosen) {
    const { mutation, file } = each;
    const began = performance.now();
    const before = readFileSync(join(changed, file), "utf8");
    writeFileSync(join(changed, file), plant(mutation, before));
    build(changed, mutation);
    const found = noticedBy(clean, changed, each, passes);
    writeFileSync(join(changed, file), before);
    if (found === null) missed += 1;
    const verdict = found === null ? "NOT NOTICED" : "noticed";
    console.log(
      `${String(each.number).padStart(2)}  ${verdict.padEnd(11)}  ${mutation.name} (${file})\n      ${found ?? `by any test${options.last ? ` of ${mutation.by}` : options.near ? ` of ${patternsOf(file).join(", ")}` : ""}`}  ${((performance.now() - began) / 1000).toFixed(0)} s`,
    );
  }
  console.log(`${chosen.length - missed} of ${chosen.length} faults noticed`);
  return missed > tolerated ? 1 : 0;
}

/** The first test that fails with the fault and not without, in words; null for none. */
function noticedBy(clean: string, changed: string, each: Planted, passes: Map<string, boolean>): string | null {
  for (const file of filesFor(changed, each)) {
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

/** The tests in the order in which they could notice it: the one that did last, then of its part the nearest by imports. */
function filesFor(root: string, { mutation, file }: Planted): readonly string[] {
  const all = readdirSync(join(root, "dist", "test"), { recursive: true, encoding: "utf8" })
    .map((path) => path.split(sep).join("/"))
    .filter((path) => path.endsWith(".test.js"))
    .sort();
  const patterns = patternsOf(file);
  const distances = distancesTo(file);
  const base = basename(file).replace(/\.\w+$/, "");
  const rank = (path: string): number => {
    if (path === `${mutation.by}.test.js`) return -1;
    // tests mirror the tree: the one of that name is the likeliest
    if (path.includes(`/${base}.`)) return 0;
    const part = patterns.findIndex((pattern) => path.startsWith(pattern));
    const distance = distances.get(`test/${path.replace(/\.js$/, ".ts")}`) ?? 50;
    return part < 0 ? 1000 + distance : 1 + distance;
  };
  return all
    .map((path) => ({ path, rank: rank(path) }))
    .filter((each) => each.rank < (options.last ? 0 : options.near ? 1000 : Infinity))
    .sort((a, b) => a.rank - b.rank)
    .map(({ path }) => path);
}

/** How many imports lead from each source to a file; without those from which none does. */
function distancesTo(file: string): ReadonlyMap<string, number> {
  const importers = new Map<string, string[]>();
  for (const { path, imports } of code)
    for (const { target, typeOnly } of imports)
      if (!typeOnly) importers.set(target, [...(importers.get(target) ?? []), path]);
  const distances = new Map([[file, 0]]);
  for (const [path, distance] of distances)
    for (const importer of importers.get(path) ?? [])
      if (!distances.has(importer)) distances.set(importer, distance + 1);
  return distances;
}

function patternsOf(file: string): readonly string[] {
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
