import { notRunMark, partMark } from "./not-run.js";

/** What came of a test file's process. */
export interface Ended {
  /** What it printed, on both streams. */
  readonly output: string;
  readonly code: number | null;
  readonly signal: string | null;
  /** Killed since its time was up. */
  readonly late: boolean;
  readonly seconds: number;
}

export interface Verdict {
  /** Those that were not run are not among them. */
  readonly passed: number;
  readonly failed: number;
  /** What was not run on this machine, and why, a line each; `notRunCount` of them are whole tests. */
  readonly notRun: readonly string[];
  readonly notRunCount: number;
  /** In words, what failed besides the tests that say so themselves. */
  readonly reasons: readonly string[];
}

/**
 * Counts the tests of a file by the summary that uvu prints last. uvu ends with 0 where a `before` hook throws, and
 * where tests are skipped: both count as failures here.
 */
export function judge({ output, code, signal, late }: Ended): Verdict {
  // no colours are printed into a pipe, unless FORCE_COLOR asks for them
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const summary = [...plain.matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm)].at(-1);
  const [total, passed, skipped] =
    summary === undefined ? [0, 0, 0] : (summary.slice(1).map(Number) as [number, number, number]);
  const reasons: string[] = [];
  let failed = total - passed;
  const fault = (count: number, reason: string): void => {
    failed += count;
    reasons.push(reason);
  };
  const silent = total - passed - (plain.match(/^ {2} FAIL /gm)?.length ?? 0);
  if (silent > 0) reasons.push(`${silent} ${silent === 1 ? "test" : "tests"} did not run: a hook threw`);
  if (skipped > 0) fault(skipped, `${skipped} skipped`);
  if (late)
    fault(
      1,
      summary === undefined
        ? "did not end in time"
        : "all tests ran, but the process did not end: something is still open",
    );
  else if (signal !== null) fault(1, `ended by ${signal}`);
  else if (summary === undefined) fault(1, `ended with code ${code} before its tests did`);
  else if (total === 0) fault(1, "holds no tests");
  else if (code !== 0 && failed === 0) fault(1, `ended with code ${code}`);
  const reported = (mark: string): readonly string[] =>
    plain.split("\n").flatMap((line) => (line.startsWith(mark) ? [line.slice(mark.length)] : []));
  const [whole, parts] = [reported(notRunMark), reported(partMark)];
  return {
    passed: Math.max(0, passed - whole.length),
    failed,
    notRun: [...whole, ...parts.map((part) => `in part: ${part}`)],
    notRunCount: whole.length,
    reasons,
  };
}
