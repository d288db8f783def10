/**
 * Statements that were written out several times with other operands, as a loop. Kernels of a pass whose instructions do
 * not fit a GPU's cache together are fetched anew, each time, and wait for that: code costs more than a choice
 * (bench/h100.md).
 */
import * as k from "./build.js";
import type { Expr, Statement } from "./kernel.js";
import { unify } from "./unify.js";
import { visitStatements } from "./walk.js";

/** Statements below which a loop saves nothing. */
const leastStatements = 16;

/**
 * Copies that follow one another as a loop over their number, or as they are where they are not alike (`unify`). No name
 * that a copy defines is read after it. `fresh` gives names that are not taken.
 */
export function rolled(
  copies: readonly (readonly Statement[])[],
  fresh: (hint: string) => string,
): readonly Statement[] {
  const [first] = copies;
  if (first === undefined || copies.length === 1 || countOf(first) < leastStatements) return copies.flat();
  const name = fresh("copy");
  const unified = unify(copies, k.local(name, "u32"), fresh);
  if (unified === null) return copies.flat();
  return [k.forRange(name, 0, unknown(copies.length), [...unified.choices, ...unified.body])];
}

/** A number that the compiler of a driver does not know, so that it does not unroll the loop. */
function unknown(count: number): Expr {
  return k.select(k.less(k.builtin("workgroup_id.z"), 32768), k.u32(count), k.u32(0));
}

/** Statements, with those of blocks. */
export function countOf(statements: readonly Statement[]): number {
  let count = 0;
  visitStatements(
    statements,
    () => count++,
    () => {},
  );
  return count;
}
