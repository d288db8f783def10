/** Whether the matrices that a treatment factors were positive definite, and what to do where one was not. */
import type { WatchedFactorization } from "../../../compiler/graph/passes/pivots.js";
import { counted } from "../../../compiler/words.js";
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import { allDone } from "../../run/outcomes.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";

/** The pivots of a Cholesky factorisation of a matrix [size, size]. */
export interface Pivots {
  /** What the matrix is called in the recipe. */
  readonly matrix: string;
  readonly size: number;
  /** Pivots that are not positive, or that rounding cannot distinguish from zero. */
  readonly lost: number;
  /** The smallest pivot and its column, of those that are lost where any is; NaN comes before all numbers. */
  readonly smallest: number;
  readonly column: number;
  /** The mean of the matrix's diagonal. */
  readonly mean: number;
}

/**
 * What of a diagonal element an f32 does not hold: half a unit in its last place. A pivot below it is rounding alone.
 */
const rounding = 2 ** -24;

/**
 * Tells a factorisation by `diagonals` [2, size]: that of the factor, where a pivot that is not positive stands itself
 * and
 * another as its root, and that of the matrix.
 */
export function pivotsOf(matrix: string, diagonals: ArrayLike<number>): Pivots {
  const size = diagonals.length / 2;
  const pivots = Array.from({ length: size }, (_, k) => {
    const [root, own] = [diagonals[k] ?? NaN, diagonals[size + k] ?? NaN];
    const pivot = root > 0 ? root * root : root;
    return { pivot, column: k, own, lost: !(pivot > rounding * own) };
  });
  const lost = pivots.filter((one) => one.lost);
  const smallest = (lost.length > 0 ? lost : pivots).reduce((least, one) =>
    Number.isNaN(least.pivot) || one.pivot >= least.pivot ? least : one,
  );
  return {
    matrix,
    size,
    lost: lost.length,
    smallest: smallest.pivot,
    column: smallest.column,
    mean: pivots.reduce((sum, { own }) => sum + own, 0) / size,
  };
}

/** The diagonals of a factorisation, on the device. */
export interface FoundFactorization {
  readonly factor: WatchedFactorization;
  readonly tensor: DeviceTensor;
}

/** Of the results of a graph, one for each of `outputs`, those with the pivots of its factorisations. */
export function foundFactorizations(
  factorizations: readonly WatchedFactorization[],
  outputs: readonly { readonly name: string }[],
  results: readonly DeviceTensor[],
): readonly FoundFactorization[] {
  return factorizations.flatMap((factor) => {
    const tensor = results[outputs.findIndex(({ name }) => name === factor.output)];
    return tensor === undefined ? [] : [{ factor, tensor }];
  });
}

/** Reads the pivots of factorisations back; the tensors, which the arena owns, are released. */
export function readPivots(
  arena: Arena,
  caller: Caller,
  found: readonly FoundFactorization[],
): Promise<readonly Pivots[]> {
  return allDone(
    found.map(async ({ factor, tensor }) => {
      const diagonals = await caller.executor.values(tensor);
      arena.release(tensor);
      return pivotsOf(factor.matrix, diagonals);
    }),
  );
}

/** What is known where a matrix turns out not to be positive definite. */
export interface PivotContext {
  readonly layer: string;
  /** Tokens of the calibration text. */
  readonly tokens: number | null;
  /** Of the recipe, where a user may set them. */
  readonly parameters: Recipe["parameters"];
}

/**
 * Refuses what came of a matrix that is not positive definite: it may be finite, and is wrong all the same.
 * @throws LlamaError not-positive-definite
 */
export function refusePivots(found: readonly Pivots[], { layer, tokens, parameters }: PivotContext): void {
  const bad = found.find(({ lost }) => lost > 0);
  if (bad === undefined) return;
  const { matrix, size, lost, smallest, column, mean } = bad;
  const what = `${layer}: the matrix \`${matrix}\` [${size}, ${size}] that the recipe gives to \`cholesky\``;
  if (!Number.isFinite(mean))
    throw new LlamaError(
      "not-positive-definite",
      `${what} has a diagonal that is NaN or infinite, which dampening does not help: something that it is computed of is too large, or divides by zero.`,
    );
  const which = `its smallest pivot is ${short(smallest)}, at column ${column} (from 0), beside a diagonal with a mean of ${short(mean)}; ${lost} of ${counted(size, "pivot")} ${lost === 1 ? "is" : "are"} zero, negative, or no more than rounding`;
  const few =
    tokens !== null && tokens < size
      ? ` The calibration text has ${counted(tokens, "token")}, fewer than the ${counted(size, "column")}: a longer text helps, too.`
      : "";
  throw new LlamaError(
    "not-positive-definite",
    `${what} is not positive definite: ${which}. ${advice(bad, parameters)}${few}`,
  );
}

function advice(pivots: Pivots, parameters: Recipe["parameters"]): string {
  const damp = parameters.find(({ name }) => name === "damp")?.value;
  if (typeof damp === "number")
    return `Give it more dampening: --set damp=${suggestedDamp(pivots, damp)} (it is ${damp}).`;
  return `Give it more dampening: add ${suggestedDamp(pivots, 0)} of the mean of its diagonal to the diagonal, as \`damped\` of the module solve does.`;
}

/**
 * The share of the diagonal's mean to add to the diagonal instead of `damp`, one of 0.01, 0.02, 0.05, 0.1, ...: more
 * than
 * now, and by twice what the smallest pivot lacks. A lost pivot may be far too small, as those before it were rounding
 * that was divided by rounding: so no more than the whole mean is proposed, unless `damp` is as much already.
 */
export function suggestedDamp({ smallest, mean }: Pick<Pivots, "smallest" | "mean">, damp: number): number {
  // less than nothing added lacks that first; the mean here has in it what `damped` of the module solve added
  const lacking = damp < 0 ? 0 : (2 * Math.max(0, -smallest) * (1 + damp)) / mean;
  const wanted = Math.max(0, damp) + (lacking > 0 ? lacking : 0);
  const enough = (step: number): boolean => step > damp && step >= Math.min(1, wanted);
  for (let exponent = -2; ; exponent++) {
    const step = [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)).find(enough);
    if (step !== undefined) return step;
  }
}

/** Three digits, for a message. */
function short(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : String(value);
}
