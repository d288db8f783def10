/** Which equations give symmetric matrices, of which a device need only compute half. */
import type { Level } from "../../types/type.js";
import { eqnOperands } from "../eqn.js";
import type { Eqn } from "../graph.js";
import { scalarKey, unorderedKey } from "../scalar.js";

/**
 * Whether an equation computes the same number, bit for bit, for the elements [i, j] and [j, i] of its result: what a
 * map
 * or an update `set`s there, or an update `add`s, whatever the base of that is. So it is over two indices of equal
 * ranges
 * where the body is the same after i and j have changed places, up to the order of commutative operands. False where
 * that
 * cannot be decided.
 */
export function hasSymmetricBody<L extends Level>(eqn: Eqn<L>): boolean {
  if (eqn.kind !== "map" && eqn.kind !== "update") return false;
  const [first, second, ...more] = eqn.indices;
  if (first === undefined || second === undefined || more.length > 0) return false;
  if (scalarKey(first.low) !== scalarKey(second.low) || scalarKey(first.high) !== scalarKey(second.high)) return false;
  if (eqn.kind === "update") {
    const places = eqn.at.map((at) => (at.kind === "index" ? at.index : null));
    if (places.length !== 2 || !places.includes(first.index) || !places.includes(second.index)) return false;
    // in place, the mirrored element may be written already when the body reads it
    if (eqnOperands({ kind: "map", out: eqn.out, indices: eqn.indices, body: eqn.body }).has(eqn.base)) return false;
  }
  const key = (one: string, other: string): string =>
    unorderedKey(
      eqn.body,
      new Map([
        [first.index, one],
        [second.index, other],
      ]),
    );
  return key("row", "column") === key("column", "row");
}
