import type { MapEqn, ScalarEqn } from "../graph/fuse.js";
import type { ConcreteGraph } from "../graph/graph.js";
import type { Target } from "../target.js";
import { productOf } from "./product.js";
import { matvecApplies } from "./schedules/matvec.js";
import { canStage } from "./staged.js";

/**
 * Whether a map with a reduction should be computed where it is read.
 * - In a row of its own (a norm, a softmax): yes where the consumer reads one element of it for a whole row, since
 *   `rows` then computes it once a row.
 * - In a product (a norm, then the product of its rows): for a few tokens on a GPU, where `matvec` computes it once a
 *   workgroup and keeps it in workgroup memory, which costs less than a dispatch; else no.
 */
export function inlineRows(graph: ConcreteGraph, target: Target): (producer: MapEqn, consumer: ScalarEqn) => boolean {
  return (producer, consumer) => {
    if (consumer.kind !== "map" || productOf(graph, producer) !== null) return false;
    const product = productOf(graph, consumer);
    if (product !== null) return canStage(product, target) && matvecApplies(product, target) && producer.indices.length === consumer.indices.length;
    return producer.indices.length < consumer.indices.length;
  };
}
