import { parseArgs } from "node:util";

/**
 * How many cases a property tries: the same ones at each run, so that what fails has to do with what was changed, and
 * few
 * enough for `npm test`. For more, or others:
 *
 *   npm test -- --runs 2000 --seed 7 property/agreement
 *   npm test -- --times 20 --seed fresh      as many times the cases that each has, and others every time
 *
 * A failure names its seed and path; the compiled file of the test replays it alone with `--seed S --path P`.
 */
export function runs(count: number): {
  readonly numRuns: number;
  readonly seed: number;
  readonly path?: string;
  readonly includeErrorInReport: true;
} {
  const { values } = parseArgs({
    strict: false,
    options: {
      runs: { type: "string" },
      times: { type: "string" },
      seed: { type: "string" },
      path: { type: "string" },
    },
  });
  return {
    includeErrorInReport: true,
    numRuns: Number(values.runs ?? count) * Number(values.times ?? 1),
    seed: Number(values.seed ?? 1),
    ...(typeof values.path === "string" ? { path: values.path } : {}),
  };
}
