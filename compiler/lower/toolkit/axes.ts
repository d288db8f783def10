import type { Scalar } from "../../graph/graph.js";
import { constantOf, scalarKey } from "../../graph/scalar.js";
import type { Concrete } from "../../types/type.js";

type S = Scalar<Concrete>;

/** Indices into a row-major tensor, with the shape they are into. */
export interface Access {
  readonly shape: readonly number[];
  readonly at: readonly S[];
}

/**
 * The same access with neighbouring axes joined where their indices are the parts of one: x[k / H, k % H] of [A, H] is
 * x[k] of [A * H]. A change of shape then costs no division, and a row is seen to be read in order.
 */
export function joinAxes(shape: readonly number[], at: readonly S[]): Access {
  const sizes = [...shape];
  const indices = [...at];
  for (let axis = indices.length - 2; axis >= 0; axis--) {
    const [high, low] = [indices[axis]!, indices[axis + 1]!];
    if (high.kind !== "binary" || high.op !== "divide" || low.kind !== "binary" || low.op !== "remainder") continue;
    const size = sizes[axis + 1]!;
    if (constantOf(high.b) !== size || constantOf(low.b) !== size || scalarKey(high.a) !== scalarKey(low.a)) continue;
    sizes.splice(axis, 2, sizes[axis]! * size);
    indices.splice(axis, 2, high.a);
  }
  return { shape: sizes, at: indices };
}
