import type { Concrete } from "../../types/type.js";
import type { Scalar } from "../graph.js";
import { children, scalarKey, type Reduce } from "../scalar.js";

/**
 * Whether a scalar has the reductions nowhere but as terms of one sum, each once: then they may be summed together, and
 * the sum stand for one of them and 0 for the others.
 */
export function addedTogether(scalar: Scalar<Concrete>, reductions: readonly Reduce<Concrete>[]): boolean {
  const keys = new Set(reductions.map((each) => scalarKey(each)));
  if (keys.size < reductions.length) return false;
  const isOne = (node: Scalar<Concrete>): boolean => node.kind === "reduce" && keys.has(scalarKey(node));
  const count = (node: Scalar<Concrete>): number =>
    isOne(node) ? 1 : children(node).reduce((sum, child) => sum + count(child), 0);
  const terms = (node: Scalar<Concrete>): readonly Scalar<Concrete>[] =>
    node.kind === "binary" && node.op === "add" ? [...terms(node.a), ...terms(node.b)] : [node];
  /** The sum with all of them; of its operands none has. */
  const find = (node: Scalar<Concrete>): boolean => {
    const all = terms(node);
    if (all.length > 1 && all.filter(isOne).length === reductions.length) return true;
    return children(node).some((child) => !isOne(child) && find(child));
  };
  return count(scalar) === reductions.length && find(scalar);
}
