import type { Diagnostic } from "../diagnostic.js";
import type { Frame } from "./frame.js";

/**
 * What is found of one function or recipe. Of a name that is not there its first use is reported; that something is
 * never used is reported at the end, and only where nothing failed: what stands in a statement that failed was not
 * looked at.
 */
export interface Findings extends Pick<Frame, "report" | "functionOf"> {
  /** Whether there was an error, here or in a function that is called. */
  readonly failed: () => boolean;
  /** Reports what was held back. */
  readonly finish: () => void;
}

/** Findings that are reported to another. */
export function findingsFor(rest: Pick<Frame, "report" | "functionOf">): Findings {
  let failed = false;
  const unused: Diagnostic[] = [];
  const unknown = new Set<string>();
  return {
    report(found) {
      if (found.code === "E208") return void unused.push(found);
      if (found.severity === "error") failed = true;
      // a number that is no integer stands in its declaration once
      if (found.code === "E201" || (found.code === "E415" && /this is \d/.test(found.message))) {
        if (unknown.has(found.message)) return;
        unknown.add(found.message);
      }
      rest.report(found);
    },
    functionOf(name, at) {
      const found = rest.functionOf(name, at);
      if (found?.graph == null) failed = true;
      return found;
    },
    failed: () => failed,
    finish() {
      if (!failed) unused.forEach(rest.report);
    },
  };
}
