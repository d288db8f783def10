import { elementCount } from "../../types/shape.js";
import { productOf, type Product } from "../analysis/product.js";
import type { ConcreteGraph } from "../graph.js";
import type { MapEqn, ScalarEqn } from "./fuse.js";

/** Elements that a workgroup may be left alone with, and the workgroups that fill a device all the same. */
const longestRow = 2 ** 16;
const enoughRows = 256;

/**
 * Whether a map with a reduction should be computed where it is read.
 * - In a row of its own (a norm, a softmax): yes where the consumer reads one element of it for a whole row, since
 *   `rows` then computes it once a row. Not where few rows are so long that most of the device would have no work: the
 *   mean of a matrix's diagonal, which all of the matrix reads.
 * - In a product (a norm, then the product of its rows): where `keepsLeft` says that a workgroup computes the left side
 *   once and keeps it, which costs less than a dispatch; else no.
 */
export function inlineRows(
  graph: ConcreteGraph,
  keepsLeft: (product: Product) => boolean,
): (producer: MapEqn, consumer: ScalarEqn) => boolean {
  return (producer, consumer) => {
    if (consumer.kind !== "map" || productOf(graph, producer) !== null) return false;
    const product = productOf(graph, consumer);
    if (product !== null) return keepsLeft(product) && producer.indices.length === consumer.indices.length;
    if (producer.indices.length >= consumer.indices.length) return false;
    const [rows, elements] = [elementsOf(graph, producer), elementsOf(graph, consumer)];
    return rows >= enoughRows || elements <= rows * longestRow;
  };
}

function elementsOf(graph: ConcreteGraph, { out }: MapEqn | ScalarEqn): number {
  return elementCount(graph.values[out]?.type.shape ?? []);
}
