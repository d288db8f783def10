import type { ProductTerm } from "../../graph/analysis/product.js";
import { lowerRange, withIndices, type Environment } from "../toolkit/scalar.js";

/**
 * What is done for each value of the indices around k, in order, of terms that share their ranges: loops, or once where
 * there are none.
 */
export function eachAround(
  environment: Environment,
  terms: readonly ProductTerm[],
  body: (environment: Environment) => void,
): void {
  const visit = (outer: Environment, depth: number): void => {
    const range = terms[0]?.around[depth];
    if (range === undefined) return body(outer);
    const { from, to } = lowerRange(outer, range);
    outer.build.loop(range.name, from, to, (at) => {
      const own = terms.flatMap(({ around }) =>
        around[depth] === undefined ? [] : [[around[depth].index, at] as const],
      );
      visit(withIndices(outer, own), depth + 1);
    });
  };
  visit(environment, 0);
}
