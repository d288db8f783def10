/** What reductions give, for `evaluate`. */
import type { Dtype } from "../types/dtype.js";
import { binaryFunction, extremeIdentity, rounding } from "./arithmetic.js";
import type { ReduceOp } from "./ops.js";

/** The reductions that fold one value after the other. */
export type FoldOp = Exclude<ReduceOp, "softmax_mean">;

/**
 * Folds the values that `visit` gives in order. Sums are exact to f64 and rounded once, so that a device's error is its
 * own.
 */
export function fold(op: FoldOp, dtype: Dtype, visit: (each: (value: number, index: number) => void) => void): number {
  const round = rounding(dtype);
  switch (op) {
    case "sum": {
      let sum = 0;
      // integers wrap around at each step, which is the same as once at the end, but stays exact
      visit(
        dtype === "f32" || dtype === "f16"
          ? (value) => {
              sum += value;
            }
          : (value) => {
              sum = round(sum + value);
            },
      );
      return round(sum);
    }
    case "mean": {
      let sum = 0;
      let count = 0;
      visit((value) => {
        sum += value;
        count += 1;
      });
      return count === 0 ? 0 : round(sum / count);
    }
    case "max":
    case "min": {
      let best = extremeIdentity(op, dtype);
      const choose = binaryFunction(op, dtype);
      visit((value) => {
        best = choose(best, value);
      });
      return best;
    }
    case "any": {
      let found = 0;
      visit((value) => {
        if (value !== 0) found = 1;
      });
      return found;
    }
    case "all": {
      let holds = 1;
      visit((value) => {
        if (value === 0) holds = 0;
      });
      return holds;
    }
    case "count": {
      let count = 0;
      visit((value) => {
        if (value !== 0) count += 1;
      });
      return round(count);
    }
    case "argmax": {
      let best: number | null = null;
      let position = 0;
      visit((value, index) => {
        if (best !== null && !(value > best || (Number.isNaN(best) && !Number.isNaN(value)))) return;
        best = value;
        position = index;
      });
      return position;
    }
    default:
      return op satisfies never;
  }
}

/** The weights of a softmax mean: exponentials of scores, with the highest taken from each first. */
export function exponentials(scores: readonly number[]): readonly number[] {
  const highest = scores.reduce((most, each) => (each > most ? each : most), -Infinity);
  // of -infinity alone there is no highest: all count for nothing
  return scores.map((each) => (each === -Infinity ? 0 : Math.exp(each - highest)));
}
