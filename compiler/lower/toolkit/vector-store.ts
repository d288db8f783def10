/** Results of an equation that are stored four neighbours at a time. */
import { boundingRange } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import { scalarLoads } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "./builder.js";
import type { Lowering } from "./lowering.js";
import { boundsOf } from "./positions.js";
import { flatten, lowerIndex, type Environment } from "./scalar.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Elements that are loaded or stored at once. */
export const four = 4;

/**
 * Whether an equation's result may be stored in vectors along its last index: neighbours of f32 or f16 whose first is at
 * a multiple of four, and none of whose elements the equation reads but to add to it.
 */
export function storesVectors(lowering: Lowering, eqn: Elements): boolean {
  const { shape, dtype, format } = lowering.graph.values[eqn.out]!.type;
  const [size, range] = [shape.at(-1), eqn.indices.at(-1)];
  const storage = lowering.storage[eqn.out];
  if (size === undefined || range === undefined || storage === undefined || storage === null) return false;
  if ((dtype !== "f32" && dtype !== "f16") || format !== null || shape.length !== eqn.indices.length) return false;
  const bounds = boundsOf(lowering, eqn);
  const { low, high } = boundingRange(range, bounds);
  return (
    [size, low, high].every((each) => each % four === 0) &&
    eqn.indices.every((each, axis) => boundingRange(each, bounds).high <= shape[axis]!) &&
    (eqn.kind === "map" || eqn.at.every((at, axis) => at.kind === "index" && at.index === eqn.indices[axis]!.index)) &&
    !scalarLoads(eqn.body).some(({ tensor }) => lowering.storage[tensor]?.name === storage.name)
  );
}

/** Where four neighbours of a result lie, and how they are stored. */
export interface VectorPlaces {
  /** The place of the four whose first has the environment's indices. */
  place(environment: Environment): Expr;
  /** What is there. */
  load(place: Expr): Expr;
  /** Stores values of `element`. */
  store(place: Expr, values: readonly Expr[]): void;
  readonly element: "f32" | "f16";
}

/** For an equation of which `storesVectors` holds. */
export function vectorPlaces(lowering: Lowering, build: KernelBuilder, eqn: Elements): VectorPlaces {
  const { shape, dtype } = lowering.graph.values[eqn.out]!.type;
  const element = dtype === "f16" ? "f16" : "f32";
  const vector = `vec4<${element}>` as const;
  const buffer = build.view(lowering.storage[eqn.out]!, vector, "read_write");
  return {
    place(environment) {
      const at = eqn.indices.map((range, axis) => {
        const index = lowerIndex(environment, { kind: "index", index: range.index, name: range.name });
        return axis === eqn.indices.length - 1 ? k.div(index, four) : index;
      });
      return build.bind("place", flatten([...shape.slice(0, -1), shape.at(-1)! / four], at));
    },
    element,
    load: (place) => k.loadBuffer(buffer, vector, place),
    store: (place, values) => build.add(k.store(buffer, place, k.vector(values))),
  };
}
