/** Adjoints that a program gives itself, put in where a gradient comes to their values. */
import type { Level } from "../../types/type.js";
import { mapOperands, neededEqns, withFreshIndices } from "../eqn.js";
import type { OwnAdjoint, ValueId } from "../graph.js";
import type { GradientHost } from "./host.js";

/**
 * Adds the equations of an adjoint of one's own, as far as the values that count need them, with `seed` as the adjoint of
 * the value; gives the adjoint of each of those.
 */
export function instantiate<L extends Level>(
  host: GradientHost<L>,
  { seed, body, gradients }: OwnAdjoint<L>,
  given: ValueId,
  counts: (by: ValueId) => boolean,
): readonly { readonly by: ValueId; readonly value: ValueId }[] {
  const wanted = gradients.filter(({ by }) => counts(by));
  const made = new Map<ValueId, ValueId>([[seed, given]]);
  const rename = (id: ValueId): ValueId => made.get(id) ?? id;
  for (const eqn of neededEqns(body, new Set(wanted.map(({ value }) => value)))) {
    const { name, type } = host.value(eqn.out);
    const known = { ...type, pattern: { kind: "full" as const } };
    made.set(
      eqn.out,
      host.define(name, known, (out) => ({ ...withFreshIndices(mapOperands(eqn, rename), host.range), out })),
    );
  }
  return wanted.map(({ by, value }) => ({ by, value: rename(value) }));
}
