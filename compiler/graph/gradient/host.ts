/** What a derivation of gradients reads and adds to: the checker's builder, or a graph of its own. */
import type { Level, TensorType } from "../../types/type.js";
import type { Eqn, Graph, Range, Scalar, Value, ValueId } from "../graph.js";

/** A graph that is being added to. */
export interface GradientHost<L extends Level> {
  readonly value: (id: ValueId) => Value<L>;
  /** The equations by now, in order. */
  readonly eqns: () => readonly Eqn<L>[];
  /** A fresh index. */
  readonly range: (name: string, low: Scalar<L>, high: Scalar<L>) => Range<L>;
  /** Adds an equation that defines a new value: after all others, or right before the one that defines `before`. */
  readonly define: (name: string, type: TensorType<L>, make: (out: ValueId) => Eqn<L>, before?: ValueId) => ValueId;
  /** Replaces the equation that defines a value by one that gives the same. */
  readonly replace: (out: ValueId, eqn: Eqn<L>) => void;
}

/** A host over a copy of a graph; `graph` gives what it has become, its outputs and inputs as they were. */
export function copyHost<L extends Level>(
  graph: Graph<L>,
  fresh: () => number,
): GradientHost<L> & { readonly graph: () => Graph<L> } {
  const values = [...graph.values];
  const eqns = [...graph.eqns];
  const placeOf = (out: ValueId): number => eqns.findIndex((eqn) => eqn.out === out);
  return {
    value: (id) => {
      const found = values[id];
      if (found === undefined) throw new RangeError(`no value ${id}`);
      return found;
    },
    eqns: () => eqns,
    range: (name, low, high) => ({ index: fresh(), name, low, high }),
    define(name, type, make, before) {
      const id = values.length;
      values.push({ id, name, type, span: null });
      eqns.splice(before === undefined ? eqns.length : placeOf(before), 0, make(id));
      return id;
    },
    replace(out, eqn) {
      eqns[placeOf(out)] = eqn;
    },
    graph: () => ({ ...graph, values, eqns }),
  };
}
