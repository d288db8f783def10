import type { MapEqn, ScalarEqn } from "../graph/fuse.js";
import type { ConcreteGraph } from "../graph/graph.js";
import { productOf } from "./product.js";

/**
 * Whether a map with a reduction should be computed where it is read, so that a norm or a softmax is one kernel: yes
 * where the consumer reads one element of it for a whole row of its own, since `rows` then computes it once a row; no
 * where the consumer is a product, whose schedules would compute it once an element.
 */
export function inlineRows(graph: ConcreteGraph): (producer: MapEqn, consumer: ScalarEqn) => boolean {
  return (producer, consumer) =>
    consumer.kind === "map" && producer.indices.length < consumer.indices.length && productOf(graph, producer) === null && productOf(graph, consumer) === null;
}
