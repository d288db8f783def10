import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { bufferElement } from "./builder.js";
import type { Lowering } from "./lowering.js";
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
    build.add(
      k.store(
        buffer,
        flatten(
          shape,
          eqn.indices.map((range) => environment.indices.get(range.index)!),
        ),
        stored,
      ),
    );
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
