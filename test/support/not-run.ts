/**
 * Says why a test is not run on this machine. It returns right after; the runner takes it out of those that passed, and
 * lists it (`verdict.ts`).
 */
export function notRun(reason: string): void {
  console.log(`\n${notRunMark}${reason}`);
}

/** Says which part of a test is not run on this machine, and why; the runner lists it. */
export function partNotRun(part: string, reason: string): void {
  console.log(`\n${partMark}${part}: ${reason}`);
}

/** How the lines begin that report whole tests. */
export const notRunMark = "not run: ";

/** How the lines begin that report parts of tests. */
export const partMark = "not run, in part: ";
