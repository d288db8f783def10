import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { elementCount } from "../../types/shape.js";
import { bufferElement, type KernelBuilder } from "./builder.js";
import type { Lowering } from "./lowering.js";
import { placeIn, type MatrixOrder } from "./order.js";
import { flatten, lowerIndex, type Environment } from "./scalar.js";

/** Stores the value of a map or update at the current indices; an update out of bounds is dropped. */
export function storeElement(
  lowering: Lowering,
  environment: Environment,
  eqn: Eqn<Concrete> & { readonly kind: "map" | "update" },
  value: Expr,
): void {
  const { build } = environment;
  const { dtype, shape } = lowering.graph.values[eqn.out]!.type;
  const element = bufferElement(dtype);
  const buffer = build.view(lowering.storage[eqn.out]!, element, "read_write");
  const stored = dtype === "bool" ? k.select(value, k.u32(1), k.u32(0)) : k.convert(element, value);
  if (eqn.kind === "map") {
    const order = lowering.orders.matrices.get(eqn.out);
    const at = eqn.indices.map((range) => environment.indices.get(range.index)!);
    const place = order === undefined || order === "any" ? flatten(shape, at) : placeOf(build, order, shape, at);
    build.add(k.store(buffer, place, stored));
    return;
  }
  const at = eqn.at.map((scalar) => build.bind("at", lowerIndex(environment, scalar)));
  const within = at.map((index, axis) => k.less(index, shape[axis]!)).reduce(k.and, k.bool(true));
  build.when(within, () => {
    const offset = build.bind("place", flatten(shape, at));
    build.add(
      k.store(buffer, offset, eqn.op === "add" ? k.add(k.loadBuffer(buffer, element, offset), stored) : stored),
    );
  });
}

/** The place of an element in an order whose columns may be several of its last axes. */
function placeOf(build: KernelBuilder, order: MatrixOrder, shape: readonly number[], at: readonly Expr[]): Expr {
  let axes = 1;
  while (elementCount(shape.slice(-axes)) < order.columns) axes++;
  const column = build.bind("column", flatten(shape.slice(-axes), at.slice(-axes)));
  return placeIn(order, build.bind("token", flatten(shape.slice(0, -axes), at.slice(0, -axes))), column);
}
