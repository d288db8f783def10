/** Trailing updates as sums of outer products: what is one product for a whole block of steps. */
import { binary, constant, select, unary } from "../../graph/build.js";
import type { IndexId, Scalar, ValueId } from "../../graph/graph.js";
import { constantOf, freeIndices, scalarKey, scalarLoads, substitute } from "../../graph/scalar.js";
import type { Concrete } from "../../types/type.js";

type S = Scalar<Concrete>;

/** multiplier[n, k] * right[k, j] * mask[n, j]; right and mask of null are 1. */
export interface Term {
  /** Of the row and the step: may read states and values of the step. */
  readonly multiplier: S;
  /** Of the step and the column. */
  readonly right: S;
  /** Of the row and the column; applied to the sum over the steps. */
  readonly mask: Mask;
}

/** Factors and conditions; a sum to which a mask is applied is `select(all conditions, factor * sum, 0)`. */
export interface Mask {
  readonly factor: S | null;
  readonly conditions: readonly S[];
}

/** What the expressions of a trailing update may depend on. */
export interface TrailingIndices {
  readonly row: IndexId;
  readonly column: IndexId;
  readonly step: IndexId;
  /** Whether a tensor is a state or a value of the step. */
  readonly changes: (tensor: ValueId) => boolean;
}

type Side = "multiplier" | "right" | "mask";

/** The terms of an expression, or in words what is no outer product in it. */
export function termsOf(body: S, indices: TrailingIndices): readonly Term[] | string {
  const terms: Term[] = [];
  for (const { scalar, negative } of addends(body, false, (node) => sideOf(node, indices) === null)) {
    const term = termOf(scalar, negative, indices);
    if (typeof term === "string") return term;
    terms.push(term);
  }
  return terms;
}

/** What is added to the element itself: the body without the load of it; null where that is not one of its addends. */
export function addedTo(body: S, base: ValueId, at: readonly S[]): S | null {
  const here = at.map((each) => scalarKey(each)).join(";");
  const all = addends(body, false);
  const own = all.filter(
    ({ scalar, negative }) =>
      !negative &&
      scalar.kind === "load" &&
      scalar.tensor === base &&
      scalar.at.map((each) => scalarKey(each)).join(";") === here,
  );
  const rest = all.filter((each) => each !== own[0]);
  if (own.length !== 1 || rest.length === 0) return null;
  return rest
    .map(({ scalar, negative }) => (negative ? unary("negate", scalar) : scalar))
    .reduce((a, b) => binary("add", a, b));
}

interface Addend {
  readonly scalar: S;
  readonly negative: boolean;
}

/**
 * What a scalar is the sum of. Products, quotients and conditions are distributed over sums, where `splits` says so.
 */
function addends(scalar: S, negative: boolean, splits: (scalar: S) => boolean = () => false): readonly Addend[] {
  if (scalar.kind === "unary" && scalar.op === "negate") return addends(scalar.a, !negative, splits);
  if (scalar.kind === "binary" && (scalar.op === "add" || scalar.op === "subtract")) {
    return [
      ...addends(scalar.a, negative, splits),
      ...addends(scalar.b, scalar.op === "subtract" ? !negative : negative, splits),
    ];
  }
  if (!splits(scalar)) return [{ scalar, negative }];
  const over = (parts: readonly Addend[], make: (part: S) => S): readonly Addend[] =>
    parts.map((part) => ({ ...part, scalar: make(part.scalar) }));
  if (scalar.kind === "binary" && scalar.op === "multiply") {
    const [left, right] = [addends(scalar.a, false, splits), addends(scalar.b, false, splits)];
    if (left.length * right.length > 1)
      return left.flatMap((a) =>
        right.map((b) => ({
          scalar: binary("multiply", a.scalar, b.scalar),
          negative: negative !== (a.negative !== b.negative),
        })),
      );
  } else if (scalar.kind === "binary" && scalar.op === "divide") {
    const parts = addends(scalar.a, negative, splits);
    if (parts.length > 1) return over(parts, (part) => binary("divide", part, scalar.b));
  } else if (scalar.kind === "select" && (constantOf(scalar.otherwise) === 0 || constantOf(scalar.then) === 0)) {
    const chosen = constantOf(scalar.otherwise) === 0;
    const parts = addends(chosen ? scalar.then : scalar.otherwise, negative, splits);
    if (parts.length > 1)
      return over(parts, (part) =>
        chosen ? select(scalar.condition, part, constant(0)) : select(scalar.condition, constant(0), part),
      );
  }
  return [{ scalar, negative }];
}

function termOf(scalar: S, negated: boolean, indices: TrailingIndices): Term | string {
  const factors: Record<Side, S | null> = { multiplier: null, right: null, mask: null };
  const conditions: Record<Side, S[]> = { multiplier: [], right: [], mask: [] };
  let negative = negated;
  let fault: string | null = null;
  const put = (node: S, divides: boolean): void => {
    const side = sideOf(node, indices);
    if (side === null) {
      fault = "a factor of it depends on row, column and step together";
      return;
    }
    const sofar = factors[side];
    factors[side] = divides
      ? binary("divide", sofar ?? constant(1), node)
      : sofar === null
        ? node
        : binary("multiply", sofar, node);
  };
  const visit = (node: S): void => {
    if (node.kind === "unary" && node.op === "negate") {
      negative = !negative;
      visit(node.a);
    } else if (node.kind === "binary" && node.op === "multiply") {
      visit(node.a);
      visit(node.b);
    } else if (node.kind === "binary" && node.op === "divide" && sideOf(node, indices) === null) {
      visit(node.a);
      put(node.b, true);
    } else if (
      node.kind === "select" &&
      (constantOf(node.otherwise) === 0 || constantOf(node.then) === 0) &&
      sideOf(node, indices) === null
    ) {
      const chosen = constantOf(node.otherwise) === 0;
      for (const condition of chosen ? conjuncts(node.condition) : [unary("not", node.condition)]) {
        const side = sideOf(condition, indices);
        if (side === null) fault = "a condition of it depends on row, column and step together";
        else conditions[side].push(condition);
      }
      visit(chosen ? node.then : node.otherwise);
    } else put(node, false);
  };
  visit(scalar);
  if (fault !== null) return fault;
  const under = (side: Side): S =>
    conditions[side].reduce<S>((then, condition) => select(condition, then, constant(0)), factors[side] ?? constant(1));
  const multiplier = under("multiplier");
  return {
    multiplier: negative ? unary("negate", multiplier) : multiplier,
    right: under("right"),
    mask: { factor: factors.mask, conditions: conditions.mask },
  };
}

function conjuncts(condition: S): readonly S[] {
  return condition.kind === "binary" && condition.op === "and"
    ? [...conjuncts(condition.a), ...conjuncts(condition.b)]
    : [condition];
}

/** The side that an expression belongs to, or null for none. */
function sideOf(node: S, indices: TrailingIndices): Side | null {
  const free = freeIndices(node);
  if (!free.has(indices.column)) return "multiplier";
  if (scalarLoads(node).some((load) => indices.changes(load.tensor))) return null;
  if (!free.has(indices.row)) return "right";
  return free.has(indices.step) ? null : "mask";
}

/** A sum with the mask applied. */
export function masked(sum: S, mask: Mask): S {
  const product = mask.factor === null ? sum : binary("multiply", mask.factor, sum);
  return mask.conditions.reduce<S>((then, condition) => select(condition, then, constant(0)), product);
}

/** The right side at step `first + offset`. */
export function rightAt(term: Term, step: IndexId, first: S, offset: S): S {
  return substitute(term.right, new Map([[step, binary("add", first, offset)]]));
}
