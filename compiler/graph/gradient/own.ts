/** Adjoints that a program gives itself, put in where a gradient comes to their values. */
import type { Level } from "../../types/type.js";
import { indexOf, integer } from "../build.js";
import { mapEqnScalars, mapOperands, neededEqns } from "../eqn.js";
import type { Eqn, OwnAdjoint, Range, Scalar, ValueId } from "../graph.js";
import { renumber, substitute } from "../scalar.js";
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
      host.define(name, known, (out) => ({ ...freshly(host, mapOperands(eqn, rename)), out })),
    );
  }
  return wanted.map(({ by, value }) => ({ by, value: rename(value) }));
}

/** An equation with indices of its own. */
function freshly<L extends Level>(host: GradientHost<L>, eqn: Eqn<L>): Eqn<L> {
  const fresh = (): number => host.range("i", integer<L>(0), integer<L>(0)).index;
  if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
  const renamed = new Map<number, Scalar<L>>();
  const indices = eqn.indices.map((old): Range<L> => {
    const range = host.range(old.name, old.low, old.high);
    renamed.set(old.index, indexOf<L>(range));
    return range;
  });
  return { ...mapEqnScalars(eqn, (scalar) => renumber(substitute(scalar, renamed), fresh)), indices } as Eqn<L>;
}
