/** Equal subtrees made one object, so that sameness is identity and a subtree is lowered once. */
import type { Level } from "../../types/type.js";
import type { Scalar } from "../graph.js";
import { children, mapChildren, scalarKey } from "../scalar.js";

/**
 * Makes scalars share: within and between all that are given to the function returned. Reductions count as equal when
 * they are so but for the ids of their own indices.
 */
export function sharing<L extends Level>(): (scalar: Scalar<L>) => Scalar<L> {
  const byKey = new Map<string, Scalar<L>>();
  const ids = new Map<Scalar<L>, number>();
  const done = new Map<Scalar<L>, Scalar<L>>();
  const idOf = (node: Scalar<L>): number => {
    const id = ids.get(node) ?? ids.size;
    ids.set(node, id);
    return id;
  };
  const visit = (node: Scalar<L>): Scalar<L> => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const shared = mapChildren(node, visit);
    const key =
      shared.kind === "reduce" ? scalarKey(shared) : `${headOf(shared)}(${children(shared).map(idOf).join(",")})`;
    const first = byKey.get(key) ?? shared;
    byKey.set(key, first);
    done.set(node, first);
    return first;
  };
  return visit;
}

/** All of a node but its operands. */
function headOf<L extends Level>(node: Exclude<Scalar<L>, { kind: "reduce" }>): string {
  switch (node.kind) {
    case "constant":
    case "index":
    case "size":
      return `${node.kind} ${scalarKey(node)}`;
    case "load":
      return `load ${node.tensor} ${node.guarded}`;
    case "unary":
    case "binary":
      return `${node.kind} ${node.op} ${dtypeText(node.dtype)}`;
    case "select":
      return `select ${dtypeText(node.dtype)}`;
    case "cast":
      return `cast ${dtypeText(node.dtype)}`;
    default:
      return node satisfies never;
  }
}

function dtypeText(dtype: Level["dtype"]): string {
  return typeof dtype === "string" ? dtype : `?${dtype.parameter}`;
}
