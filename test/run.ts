/**
 * Runs the test files, `*.test.js` in and below this folder, each in a process of its own, a few side by side. Ends
 * with one line, `N passed, N failed`, that counts single tests; a file that crashes, hangs or holds no tests is one
 * failure, and so is each test that is skipped or that a broken hook kept from running. What the machine lacks the
 * means for (`support/not-run.ts`) is listed before, and neither passes nor fails. Exit code 0 only without failures.
 *
 *   npm test                          everything
 *   npm run test:fast                 what needs neither a device nor another process, and not long: for each edit
 *   npm test -- formats wgsl/emit     files whose path contains one of these
 *   npm test -- --jobs 4 --timeout 60 more at once, fewer seconds for each file
 *   npm test -- --runs 500 --seed 7   more cases of each property, and others
 *   npm run test:long                 files with properties only, twenty times the cases, a fresh seed (printed)
 *   npm test -- --device gpu property what computes in three ways does it on a GPU (cpu by default; auto: any)
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { randomInt } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { longTests, testsWithDevice } from "./support/needs.js";
import { judge, type Ended, type Verdict } from "./support/verdict.js";

const { values: options, positionals: patterns } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: "string", default: "2" },
    timeout: { type: "string", default: "300" },
    runs: { type: "string" },
    times: { type: "string" },
    seed: { type: "string" },
    device: { type: "string" },
    properties: { type: "boolean", default: false },
    fast: { type: "boolean", default: false },
  },
});
const jobs = positive("jobs", options.jobs);
const timeout = positive("timeout", options.timeout);

/** `--seed fresh` is another each time. */
const fresh = options.seed === "fresh" ? String(randomInt(1, 2 ** 31)) : null;
const given = { ...options, seed: fresh ?? options.seed };

/** What the files are started with: support/runs.ts and support/device-stages.ts read it. */
const cases = [
  ...(["runs", "times", "seed"] as const).flatMap((name) =>
    given[name] === undefined ? [] : [`--${name}`, String(positive(name, given[name]))],
  ),
  ...(options.device === undefined ? [] : ["--device", options.device]),
];

const root = dirname(fileURLToPath(import.meta.url));
const slow = new Set(options.fast ? [...testsWithDevice(), ...longTests] : []);
const all = readdirSync(root, { recursive: true, encoding: "utf8" })
  .map((path) => path.split(sep).join("/"))
  .filter((path) => path.endsWith(".test.js") && !slow.has(`test/${path.replace(/\.js$/, ".ts")}`))
  .filter((path) => !options.properties || readFileSync(join(root, path), "utf8").includes("support/runs.js"))
  .sort();
const chosen =
  patterns.length === 0
    ? all
    : all.filter((path) =>
        patterns.some((pattern) => path.includes(pattern.replace(/^test\//, "").replace(/\.ts$/, ".js"))),
      );
if (chosen.length === 0) {
  console.error(`no test file has ${patterns.map((pattern) => `"${pattern}"`).join(" or ")} in its path`);
  console.log("0 passed, 1 failed");
  process.exit(1);
}

// The command line is tested as it is shipped: bundled here where it was only compiled.
const madeAt = (file: string): number => statSync(join(root, "..", file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (madeAt("bundle/main.js") < madeAt("runtime/cli/main.js")) {
  const { status } = spawnSync(process.execPath, [join(root, "..", "..", "bundle.mjs")], { stdio: "inherit" });
  if (status !== 0) {
    console.log("0 passed, 1 failed");
    process.exit(1);
  }
}

const running = new Set<ChildProcess>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const child of running) kill(child);
    process.exit(1);
  });
}

const seedWords =
  fresh === null ? null : `the seed is ${fresh}: --seed ${fresh} in place of fresh tries the same cases`;
if (seedWords !== null) console.log(seedWords);

// those that take long first: none of them is left for the end, with nothing beside it
const queue = [...chosen].sort((a, b) => Number(isLong(b)) - Number(isLong(a)));
const notRun: string[] = [];
let notRunCount = 0;
let passed = 0;
let failed = 0;
await Promise.all(
  Array.from({ length: Math.min(jobs, queue.length) }, async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const ended = await runFile(file);
      const verdict = judge(ended);
      passed += verdict.passed;
      failed += verdict.failed;
      notRun.push(...verdict.notRun.map((reason) => `${nameOf(file)}: ${reason}`));
      notRunCount += verdict.notRunCount;
      report(file, ended, verdict);
    }
  }),
);
if (notRun.length > 0)
  console.log(
    `${notRunCount} ${notRunCount === 1 ? "test was" : "tests were"} not run, and ${notRun.length - notRunCount} in part, for what this machine lacks:${notRun.map((line) => `\n  ${line}`).join("")}`,
  );
if (failed > 0 && seedWords !== null) console.log(seedWords);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/** Runs a file to its end, or until its time is up. */
function runFile(file: string): Promise<Ended> {
  const started = performance.now();
  // A group of its own, so that what a test has started ends with it.
  const child = spawn(process.execPath, ["--enable-source-maps", join(root, file), ...cases], {
    detached: process.platform !== "win32",
    stdio: ["ignore", "pipe", "pipe"],
    // what whoever runs them has found to be fast on this machine may round otherwise
    env: { ...process.env, ESPALIER_TUNE: "off" },
  });
  running.add(child);
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill(child);
  }, timeout * 1000);
  return new Promise((resolve) => {
    const end = (code: number | null, signal: string | null): void => {
      clearTimeout(timer);
      running.delete(child);
      resolve({
        output: Buffer.concat(chunks).toString("utf8"),
        code,
        signal,
        late,
        seconds: (performance.now() - started) / 1000,
      });
    };
    child.once("error", (error) => {
      chunks.push(Buffer.from(`${error.message}\n`));
      end(null, null);
    });
    // What the test left running may hold the pipes open; they are read for a moment longer only.
    child.once("exit", (code, signal) => {
      const closing = setTimeout(() => {
        kill(child);
        end(code, signal);
      }, 1000);
      child.once("close", () => {
        clearTimeout(closing);
        end(code, signal);
      });
    });
  });
}

function kill(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(process.platform === "win32" ? child.pid : -child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL"); // the group is gone, or never was
  }
}

/** A line for each file; for one that fails, all that it printed. */
function report(file: string, { output, seconds }: Ended, { passed: good, failed: bad, reasons }: Verdict): void {
  const name = nameOf(file);
  console.log(
    `${bad === 0 ? "ok  " : "FAIL"} ${name.padEnd(44)} ${String(good).padStart(4)} passed${bad === 0 ? "" : `, ${bad} failed`}  ${seconds.toFixed(1)} s`,
  );
  if (bad === 0) return;
  console.log(`${output.trimEnd()}\n${reasons.map((reason) => `     ${name}: ${reason}\n`).join("")}`);
}

function isLong(file: string): boolean {
  return longTests.has(`test/${file.replace(/\.js$/, ".ts")}`);
}

function nameOf(file: string): string {
  return relative(".", join("test", file)).split(sep).join("/");
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isInteger(value))) throw new Error(`--${name} is a whole number above 0, not "${text}"`);
  return value;
}
