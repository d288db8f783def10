/** The rewrites of index arithmetic, which know the intervals of indices. i32 only; c, d are positive constants. */
import { binary, constant, integer } from "../build.js";
import type { Scalar } from "../graph.js";
import { intervalOf } from "../analysis/ranges.js";
import type { Bounds, Interval } from "../analysis/ranges.js";
import type { ScalarRule } from "./rules.js";
import { constantOf, dtypeOf } from "../scalar.js";
import type { Concrete } from "../../types/type.js";

type Node = Scalar<Concrete>;
type Binary = Extract<Node, { kind: "binary" }>;

function isI32(node: Node): node is Binary {
  return node.kind === "binary" && dtypeOf(node.a) === "i32";
}

/**
 * The multiple and the rest of `x * m + r`, if m is a multiple of c, all of it is proven not to be negative or to wrap
 * around, and r is not negative.
 */
function splitMultiple(
  node: Node,
  divisor: number,
  bounds: Bounds,
): { readonly factor: Node; readonly times: number; readonly rest: Node } | null {
  if (node.kind !== "binary" || intervalOf(node, bounds).low < 0) return null;
  const parts: readonly (readonly [Node, Node])[] =
    node.op === "add"
      ? [
          [node.a, node.b],
          [node.b, node.a],
        ]
      : node.op === "multiply"
        ? [[node, integer(0)]]
        : [];
  for (const [product, rest] of parts) {
    if (product.kind !== "binary" || product.op !== "multiply") continue;
    const by = constantOf(product.b);
    if (by === null || by <= 0 || by % divisor !== 0) continue;
    if (
      intervalOf(product, bounds).low < 0 ||
      intervalOf(product.a, bounds).low < 0 ||
      intervalOf(rest, bounds).low < 0
    )
      continue;
    return { factor: product.a, times: by / divisor, rest };
  }
  return null;
}

function decide(op: Binary["op"], a: Interval, b: Interval): boolean | null {
  switch (op) {
    case "less":
      return a.high < b.low ? true : a.low >= b.high ? false : null;
    case "less_equal":
      return a.high <= b.low ? true : a.low > b.high ? false : null;
    case "greater":
      return decide("less", b, a);
    case "greater_equal":
      return decide("less_equal", b, a);
    case "equal":
      return a.high < b.low || b.high < a.low
        ? false
        : a.low === a.high && b.low === b.high && a.low === b.low
          ? true
          : null;
    case "not_equal": {
      const equal = decide("equal", a, b);
      return equal === null ? null : !equal;
    }
    default:
      return null;
  }
}

export const indexRules: readonly ScalarRule[] = [
  // (x + c) + d = x + (c + d); (x + c) - d = x + (c - d); (x - c) + d = x + (d - c); (x * c) * d = x * (c * d)
  {
    name: "gather-constants",
    rewrite: (node) => {
      if (!isI32(node) || node.a.kind !== "binary") return null;
      const [outer, inner] = [constantOf(node.b), constantOf(node.a.b)];
      if (outer === null || inner === null) return null;
      if (node.op === "multiply" && node.a.op === "multiply")
        return binary("multiply", node.a.a, integer(Math.imul(inner, outer)));
      const signs = { add: 1, subtract: -1 } as const;
      if ((node.op !== "add" && node.op !== "subtract") || (node.a.op !== "add" && node.a.op !== "subtract"))
        return null;
      const sum = (signs[node.a.op] * inner + signs[node.op] * outer) | 0;
      return sum < 0 && sum !== -(2 ** 31)
        ? binary("subtract", node.a.a, integer(-sum))
        : binary("add", node.a.a, integer(sum));
    },
  },

  // x / c = 0 and x % c = x where 0 <= x < c
  {
    name: "below-divisor",
    rewrite: (node, { bounds }) => {
      if (!isI32(node) || (node.op !== "divide" && node.op !== "remainder")) return null;
      const [a, b] = [intervalOf(node.a, bounds), intervalOf(node.b, bounds)];
      if (a.low < 0 || a.high >= b.low) return null;
      return node.op === "divide" ? integer(0) : node.a;
    },
  },

  // (x * (c * d) + r) / c = x * d + r / c, where r >= 0
  {
    name: "divide-multiple",
    rewrite: (node, { bounds }) => {
      const divisor = isI32(node) && node.op === "divide" ? constantOf(node.b) : null;
      if (divisor === null || divisor <= 0 || !isI32(node)) return null;
      const split = splitMultiple(node.a, divisor, bounds);
      if (split === null) return null;
      return binary(
        "add",
        binary("multiply", split.factor, integer(split.times)),
        binary("divide", split.rest, integer(divisor)),
      );
    },
  },

  // (x * (c * d) + r) % c = r % c, where r >= 0
  {
    name: "remainder-multiple",
    rewrite: (node, { bounds }) => {
      const divisor = isI32(node) && node.op === "remainder" ? constantOf(node.b) : null;
      if (divisor === null || divisor <= 0 || !isI32(node)) return null;
      const split = splitMultiple(node.a, divisor, bounds);
      return split === null ? null : binary("remainder", split.rest, integer(divisor));
    },
  },

  // (x / c) / d = x / (c * d)
  {
    name: "divide-twice",
    rewrite: (node) => {
      if (!isI32(node) || node.op !== "divide" || node.a.kind !== "binary" || node.a.op !== "divide") return null;
      const [inner, outer] = [constantOf(node.a.b), constantOf(node.b)];
      if (inner === null || outer === null || inner <= 0 || outer <= 0 || inner * outer >= 2 ** 31) return null;
      return binary("divide", node.a.a, integer(inner * outer));
    },
  },

  // i < 8 = true where i is in 0..8; and so for the other comparisons
  {
    name: "decided-comparison",
    rewrite: (node, { bounds }) => {
      if (!isI32(node)) return null;
      const decided = decide(node.op, intervalOf(node.a, bounds), intervalOf(node.b, bounds));
      return decided === null ? null : constant(decided ? 1 : 0, "bool");
    },
  },

  // min(i, 8) = i and max(i, 0) = i where i is in 0..8
  {
    name: "decided-minimum",
    rewrite: (node, { bounds }) => {
      if (!isI32(node) || (node.op !== "min" && node.op !== "max")) return null;
      const below = decide("less_equal", intervalOf(node.a, bounds), intervalOf(node.b, bounds));
      const above = decide("greater_equal", intervalOf(node.a, bounds), intervalOf(node.b, bounds));
      if (below === true) return node.op === "min" ? node.a : node.b;
      if (above === true) return node.op === "min" ? node.b : node.a;
      return null;
    },
  },

  // x[i]? = x[i] where i is in range
  {
    name: "in-range",
    rewrite: (node, { bounds, shape }) => {
      if (node.kind !== "load" || !node.guarded) return null;
      const extents = shape(node.tensor);
      const inside = node.at.every((at, axis) => {
        const { low, high } = intervalOf(at, bounds);
        return low >= 0 && high < (extents[axis] ?? 0);
      });
      return inside ? { ...node, guarded: false } : null;
    },
  },
];
