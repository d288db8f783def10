/**
 * Statements that were written out several times with other operands, as a loop. Kernels of a pass whose instructions do
 * not fit a GPU's cache together are fetched anew, each time, and wait for that: code costs more than a choice
 * (bench/h100.md).
 */
import * as k from "./build.js";
import type { Expr, Statement } from "./kernel.js";
import { unify } from "./unify.js";
import { countOf } from "./walk.js";

/** Statements below which a loop saves nothing. */
const leastStatements = 16;

/**
 * Copies that follow one another as a loop over their number, or as they are where they are not alike (`unify`). No name
 * that a copy defines is read after it. `fresh` gives names that are not taken; `one`: `unknownOne`, bound before.
 */
export function rolled(
  copies: readonly (readonly Statement[])[],
  fresh: (hint: string) => string,
  one: Expr,
): readonly Statement[] {
  const [first] = copies;
  if (first === undefined || copies.length === 1 || countOf(first) < leastStatements) return copies.flat();
  const name = fresh("copy");
  const unified = unify(copies, k.local(name, "u32"), fresh);
  if (unified === null) return copies.flat();
  return [k.forRange(name, 0, k.mul(one, copies.length), [...unified.choices, ...unified.body])];
}

/** 1, but no compiler of a driver knows that: what loops as many times is not unrolled by it. */
export function unknownOne(): Expr {
  return k.select(k.less(k.builtin("workgroup_id.z"), 32768), k.u32(1), k.u32(0));
}
