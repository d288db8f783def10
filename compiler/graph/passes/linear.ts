/** Integer scalars as sums of multiples. */
import type { Concrete } from "../../types/type.js";
import type { Interval } from "../analysis/ranges.js";
import { binary, integer } from "../build.js";
import type { Scalar } from "../graph.js";
import { constantOf, scalarKey } from "../scalar.js";

type S = Scalar<Concrete>;

/** `coefficient * atom`. */
export interface Term {
  readonly atom: S;
  readonly coefficient: number;
}

/** A sum of multiples of scalars that count, of others (null: none) and of a number. */
export interface Linear {
  readonly terms: readonly Term[];
  readonly rest: S | null;
  readonly offset: number;
}

/** An i32 scalar as a sum of what counts and the rest; atoms are no sums themselves, and each stands there once. */
export function linearOf(scalar: S, counts: (scalar: S) => boolean): Linear {
  const terms = new Map<string, Term>();
  let rest: S | null = null;
  let offset = 0;
  const visit = (node: S, coefficient: number): void => {
    const number = constantOf(node);
    if (number !== null) {
      offset += coefficient * number;
      return;
    }
    if (!counts(node)) {
      // parts that are numbers are told apart
      if (node.kind === "binary" && (node.op === "add" || node.op === "subtract") && constantOf(node.b) !== null) {
        visit(node.a, coefficient);
        return visit(node.b, node.op === "add" ? coefficient : -coefficient);
      }
      const value = coefficient === 1 || coefficient === -1 ? node : binary("multiply", node, integer(coefficient));
      const negative = coefficient === -1;
      rest =
        rest === null
          ? negative
            ? binary("subtract", integer(0), value)
            : value
          : binary(negative ? "subtract" : "add", rest, value);
      return;
    }
    if (node.kind === "unary" && node.op === "negate") return visit(node.a, -coefficient);
    if (node.kind === "binary") {
      if (node.op === "add" || node.op === "subtract") {
        visit(node.a, coefficient);
        return visit(node.b, node.op === "add" ? coefficient : -coefficient);
      }
      const [a, b] = [constantOf(node.a), constantOf(node.b)];
      if (node.op === "multiply" && (a ?? b) !== null)
        return visit(a === null ? node.a : node.b, Math.imul(coefficient, (a ?? b) as number));
    }
    const key = scalarKey(node);
    const sum = (terms.get(key)?.coefficient ?? 0) + coefficient;
    if (sum === 0) terms.delete(key);
    else terms.set(key, { atom: terms.get(key)?.atom ?? node, coefficient: sum });
  };
  visit(scalar, 1);
  return { terms: [...terms.values()], rest, offset };
}

/** An i32 scalar and a number; wraps around. */
export function moved(scalar: S, by: number): S {
  const number = by | 0;
  if (number === 0) return scalar;
  return number > 0 || number === -(2 ** 31)
    ? binary("add", scalar, integer(number))
    : binary("subtract", scalar, integer(-number));
}

/** The multiples of the values of an interval. */
export function scaled({ low, high }: Interval, factor: number): Interval {
  return factor < 0 ? { low: factor * high, high: factor * low } : { low: factor * low, high: factor * high };
}
