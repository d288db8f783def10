import { InternalError } from "../../compiler/diagnostic.js";

/** The result of a call that gives one. */
export function first<T>(results: readonly T[]): T {
  const [result] = results;
  if (result === undefined) throw new InternalError("a call gave no result");
  return result;
}

/** The results of a call that gives two or three. */
export function many<T>(results: readonly T[], count: 2): readonly [T, T];
export function many<T>(results: readonly T[], count: 3): readonly [T, T, T];
export function many<T>(results: readonly T[], count: number): readonly T[] {
  if (results.length !== count) throw new InternalError(`a call gave ${results.length} results, not ${count}`);
  return results;
}
