/**
 * The first second: how long commands take from start to end, as multiples of a Node that does nothing, on this machine
 * and in this run:
 *
 *   npm run build && node bench/startup.mjs [RUNS]
 *
 * The commands are run in turn, so that whatever else the machine does meets all of them; medians are reported, the fastest
 * runs, and their ratios.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const linear = ["--fn", "linear", "--size", "B=1", "T=1", "N=4096", "K=4096"];
const nothing = { args: ["-e", "0"], code: 0, wanted: null };
/** What is run, the code that it ends with, and how many times as long as nothing it may take. */
const commands = [
  { args: ["--version"], code: 0, wanted: 2 },
  { args: ["--help"], code: 0, wanted: 2 },
  { args: ["compres"], code: 2, wanted: 2 },
  { args: ["check", "examples/one-shot.esp"], code: 0, wanted: 6 },
  { args: ["compile", "stdlib/llama.esp", ...linear], code: 0, wanted: 8 },
  { args: ["inspect", "examples/classics-3.7m/config.json"], code: 1, wanted: null },
].map(({ args, ...rest }) => ({ args: ["dist/bundle/main.js", ...args], ...rest }));

const runs = Number(process.argv[2] ?? 15);
const measured = [nothing, ...commands].map((command) => ({ ...command, times: [] }));
// one more at first, which is not counted: it fetches the files
for (let run = -1; run < runs; run++) {
  for (const { args, code, times } of measured) {
    const started = performance.now();
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
    if (run >= 0) times.push(performance.now() - started);
    if (status !== code) throw new Error(`node ${args.join(" ")} ended with ${status}: ${stderr}`);
  }
}
const rows = measured.map(({ args, wanted, times }) => {
  const sorted = times.toSorted((a, b) => a - b);
  return { args, wanted, fastest: sorted[0], median: sorted[Math.floor(sorted.length / 2)] };
});
console.log(`Node ${process.versions.node}, ${runs} runs of each in turn`);
console.log("median ms  times  fastest ms  times  wanted");
for (const { args, wanted, fastest, median } of rows)
  console.log(
    [
      median.toFixed(0).padStart(9),
      (median / rows[0].median).toFixed(2).padStart(6),
      fastest.toFixed(0).padStart(11),
      (fastest / rows[0].fastest).toFixed(2).padStart(6),
      (wanted === null ? "" : `<= ${wanted}`).padStart(7),
      ` node ${args.join(" ")}`,
    ].join(" "),
  );
