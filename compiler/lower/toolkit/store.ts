import { isIdentity } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { bufferElement } from "./builder.js";
import type { Lowering } from "./lowering.js";
import { flatten, lowerIndex, type Environment } from "./scalar.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Stores the value of a map or update at the current indices; an update out of bounds is dropped. */
export function storeElement(lowering: Lowering, environment: Environment, eqn: Elements, value: Expr): void {
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

/**
 * Computes what stands at the current indices afterwards, and gives what stores it. Of several elements all may be computed
 * before the first is stored: what one loads would else wait for the store of another, which might be to its place.
 */
export function elementFor(lowering: Lowering, environment: Environment, eqn: Elements, value: Expr): () => void {
  const { build } = environment;
  if (!addsEverywhere(lowering, eqn)) {
    const found = build.bind("value", value);
    return () => storeElement(lowering, environment, eqn, found);
  }
  const { dtype, shape } = lowering.graph.values[eqn.out]!.type;
  const element = bufferElement(dtype);
  const buffer = build.view(lowering.storage[eqn.out]!, element, "read_write");
  const at = eqn.indices.map((range) => environment.indices.get(range.index)!);
  const place = build.bind("place", flatten(shape, at));
  const whole = build.bind("value", k.add(k.loadBuffer(buffer, element, place), k.convert(element, value)));
  return () => build.add(k.store(buffer, place, whole));
}

/** Whether an equation adds to each element of a tensor once, and to nothing beyond it. */
export function addsEverywhere({ graph }: Lowering, eqn: Elements): boolean {
  if (eqn.kind !== "update" || eqn.op !== "add" || !isIdentity(eqn.at, eqn.indices)) return false;
  const { dtype, shape } = graph.values[eqn.out]!.type;
  return (
    dtype !== "bool" &&
    eqn.indices.every(({ low, high }, axis) => constantOf(low) === 0 && constantOf(high) === shape[axis])
  );
}
