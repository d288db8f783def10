import { parseArgs } from "node:util";

/**
 * How many cases a property tries: the same ones at each run, few enough for `npm test`. For more, or others, run the
 * compiled file of the test itself:
 *
 *   node dist/test/property/agreement.test.js --runs 2000 --seed 7
 *
 * A failure names its seed and path; `--seed S --path P` replays it alone.
 */
export function runs(count: number): { readonly numRuns: number; readonly seed: number; readonly path?: string } {
  const { values } = parseArgs({ strict: false, options: { runs: { type: "string" }, seed: { type: "string" }, path: { type: "string" } } });
  return { numRuns: Number(values.runs ?? count), seed: Number(values.seed ?? 1), ...(typeof values.path === "string" ? { path: values.path } : {}) };
}
