import type { ConcreteGraph, Eqn } from "../graph/graph.js";
import type { Target } from "../target.js";
import type { Concrete } from "../types/type.js";

type MapEqn = Eqn<Concrete> & { readonly kind: "map" };

/**
 * Whether a map with a reduction should be computed where it is read, so that a norm or a softmax is one kernel: yes
 * where the consumer reads one element of it for a whole row of its own, since `rows` then computes it once a row.
 */
export function inlineRows(graph: ConcreteGraph, target: Target): (producer: MapEqn, consumer: Eqn<Concrete>) => boolean {
  void target;
  return (producer, consumer) => {
    if (consumer.kind !== "map" || producer.indices.length >= consumer.indices.length) return false;
    void graph;
    return true;
  };
}
