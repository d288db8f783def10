/**
 * Which n of m are chosen, as one number: the choices counted in order, those with the lowest positions first. At each
 * position, with r still to be chosen, the choices that take it come before those that do not, and are as many as ways to
 * choose r - 1 of the positions after it (a combinatorial number system).
 */
import { upTo } from "../../types/shape.js";

/** Ways to choose k of n. */
export function choices(n: number, k: number): number {
  return k < 0 || k > n ? 0 : upTo(k).reduce((ways, at) => (ways * (n - at)) / (at + 1), 1);
}

/** Bits of the number of a choice. */
export function choiceBits(n: number, m: number): number {
  return Math.ceil(Math.log2(choices(m, n)));
}

/** The number of the choice whose positions are the n bits of `mask`. */
export function choiceCode(mask: number, n: number, m: number): number {
  let code = 0;
  for (let at = 0, rest = n; rest > 0; at += 1) {
    if (((mask >> at) & 1) === 1) rest -= 1;
    else code += choices(m - 1 - at, rest - 1);
  }
  return code;
}

/** The positions of choices, n for each; a number that is none stands for the last choice. */
export function chosenPositions(codes: ArrayLike<number>, n: number, m: number): Uint8Array {
  const count = choices(m, n);
  const all = new Uint8Array(count * n);
  for (let code = 0; code < count; code += 1) {
    let left = code;
    for (let at = 0, rest = n; rest > 0; at += 1) {
      const taking = choices(m - 1 - at, rest - 1);
      if (left >= taking) left -= taking;
      else {
        all[code * n + n - rest] = at;
        rest -= 1;
      }
    }
  }
  const positions = new Uint8Array(codes.length * n);
  for (let at = 0; at < codes.length; at += 1) {
    const first = Math.min(codes[at]!, count - 1) * n;
    positions.set(all.subarray(first, first + n), at * n);
  }
  return positions;
}
