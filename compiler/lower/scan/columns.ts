/** Where the columns that a step of a scan reads and writes lie, seen from the step's own. */
import type { IndexId, Range, Scalar } from "../../graph/graph.js";
import { intervalOf, withRanges, type Bounds } from "../../graph/analysis/ranges.js";
import { children, constantOf, reduced, scalarKey, type Load } from "../../graph/scalar.js";
import type { Concrete } from "../../types/type.js";

type S = Scalar<Concrete>;

/** Columns `k / group * group + low` to `+ high`, both included, of step k; `high` may be infinite. */
export interface RelativeColumns {
  readonly group: number;
  readonly low: number;
  readonly high: number;
}

/** What is known where an index expression stands. */
export interface ColumnFacts {
  /** The index of the scan's steps. */
  readonly step: IndexId;
  /** The step is known to be a multiple of each: 1, and what conditions around say. */
  readonly divisors: readonly number[];
  readonly bounds: Bounds;
  /** The ranges of the indices in scope. */
  readonly ranges: ReadonlyMap<IndexId, Range<Concrete>>;
}

/** The facts inside of more ranges. What makes one of them not empty is one of the facts. */
export function insideOf(facts: ColumnFacts, ranges: readonly Range<Concrete>[]): ColumnFacts {
  const divisors = ranges.flatMap((range) => divisorsOf(conditionOf(range), facts));
  return {
    ...facts,
    divisors: [...new Set([...facts.divisors, ...divisors])],
    bounds: withRanges(facts.bounds, ranges),
    ranges: new Map([...facts.ranges, ...ranges.map((range) => [range.index, range] as const)]),
  };
}

/** The condition without which a range is empty: c in `k .. select(c, k + 4, k)`; null for none. */
export function conditionOf(range: Range<Concrete>): S | null {
  const { low, high } = range;
  if (high.kind !== "select") return null;
  const empty =
    scalarKey(high.otherwise) === scalarKey(low) || (constantOf(high.otherwise) === 0 && constantOf(low) === 0);
  return empty ? high.condition : null;
}

/** The columns of a range's index, or null where it does not start at the step's column or in its group. */
export function relativeColumnsOfRange(
  range: Range<Concrete>,
  facts: ColumnFacts,
  aligned = 1,
): RelativeColumns | null {
  const low = relativeColumns(range.low, facts, aligned);
  if (low === null) return null;
  const high = relativeColumns(
    conditionOf(range) !== null && range.high.kind === "select" ? range.high.then : range.high,
    facts,
    aligned,
  );
  if (high === null) return { ...low, high: Infinity };
  const group = leastMultiple(low.group, high.group);
  return { group, low: inGroup(low, group).low, high: inGroup(high, group).high - 1 };
}

/** The column seen from the step, or null where it does not follow the step, which is a multiple of `aligned`. */
export function relativeColumns(scalar: S, facts: ColumnFacts, aligned = 1): RelativeColumns | null {
  if (scalar.kind === "index") {
    if (scalar.index === facts.step) return { group: aligned, low: 0, high: 0 };
    const range = facts.ranges.get(scalar.index);
    return range === undefined ? null : relativeColumnsOfRange(range, facts, aligned);
  }
  if (scalar.kind !== "binary") return null;
  const start = startOfGroup(scalar);
  // a quotient is cut off towards zero, so below zero this would be the start of the group after
  if (start !== null && intervalOf(start.of, facts.bounds).low >= 0) {
    const relative = relativeColumns(start.of, facts, aligned);
    if (relative === null) return null;
    const group = leastMultiple(relative.group, start.group);
    const { low, high } = inGroup(relative, group);
    return {
      group,
      low: Math.floor(low / start.group) * start.group,
      high: Math.floor(high / start.group) * start.group,
    };
  }
  const [a, b] = [relativeColumns(scalar.a, facts, aligned), relativeColumns(scalar.b, facts, aligned)];
  switch (scalar.op) {
    case "add": {
      const [relative, other] = a !== null ? [a, scalar.b] : [b, scalar.a];
      if (relative === null) return null;
      const { low, high } = intervalOf(other, facts.bounds);
      return { ...relative, low: relative.low + low, high: relative.high + high };
    }
    case "subtract": {
      if (a === null) return null;
      const { low, high } = intervalOf(scalar.b, facts.bounds);
      return { ...a, low: a.low - high, high: a.high - low };
    }
    case "min": {
      const relative = a ?? b;
      return relative === null ? null : { ...relative, low: -Infinity };
    }
    case "max": {
      const relative = a ?? b;
      return relative === null ? null : { ...relative, high: Infinity };
    }
    default:
      return null;
  }
}

/** Whether a column is in the group of the step that the relative columns name. */
export function inOwnGroup(relative: RelativeColumns): boolean {
  return relative.low >= 0 && relative.high < relative.group;
}

/** The same columns seen from a larger group, a multiple of their own. */
export function inGroup(relative: RelativeColumns, group: number): RelativeColumns {
  return { group, low: relative.low, high: relative.high + group - relative.group };
}

/** The smallest common multiple. */
export function leastMultiple(a: number, b: number): number {
  const divisor = (x: number, y: number): number => (y === 0 ? x : divisor(y, x % y));
  return (a / divisor(a, b)) * b;
}

/** x and g, where the scalar is x / g * g or x - x % g. */
function startOfGroup(scalar: S & { readonly kind: "binary" }): { readonly of: S; readonly group: number } | null {
  const operand = (node: S, op: "divide" | "remainder"): { readonly of: S; readonly group: number } | null => {
    const group = node.kind === "binary" && node.op === op ? constantOf(node.b) : null;
    return node.kind === "binary" && group !== null && group > 0 ? { of: node.a, group } : null;
  };
  if (scalar.op === "multiply") {
    for (const [quotient, by] of [
      [scalar.a, scalar.b],
      [scalar.b, scalar.a],
    ] as const) {
      const found = operand(quotient, "divide");
      if (found !== null && constantOf(by) === found.group) return found;
    }
  }
  if (scalar.op === "subtract") {
    const found = operand(scalar.b, "remainder");
    if (found !== null && scalarKey(found.of) === scalarKey(scalar.a)) return found;
  }
  return null;
}

/**
 * Calls `visit` for each load with what is known where it stands; `always`: whether it is read whatever the conditions
 * around it say.
 */
export function visitLoads(
  scalar: S,
  facts: ColumnFacts,
  visit: (load: Load<Concrete>, facts: ColumnFacts, always: boolean) => void,
  always = true,
): void {
  switch (scalar.kind) {
    case "load":
      for (const at of scalar.at) visitLoads(at, facts, visit, always);
      visit(scalar, facts, always);
      break;
    case "reduce": {
      const inner = insideOf(facts, scalar.over);
      for (const range of scalar.over)
        for (const bound of [range.low, range.high]) visitLoads(bound, inner, visit, always);
      for (const each of reduced(scalar)) visitLoads(each, inner, visit, always);
      break;
    }
    case "select": {
      const divisors = divisorsOf(scalar.condition, facts);
      visitLoads(scalar.condition, facts, visit, always);
      visitLoads(
        scalar.then,
        { ...facts, divisors: [...facts.divisors, ...divisors] },
        visit,
        always && divisors.length === 0,
      );
      visitLoads(scalar.otherwise, facts, visit, always);
      break;
    }
    default:
      for (const child of children(scalar)) visitLoads(child, facts, visit, always);
  }
}

/**
 * What the step is a multiple of where the condition holds: g for k % g == 0, and for k == 0, which that is where one
 * group has all steps.
 */
function divisorsOf(condition: S | null, facts: ColumnFacts): readonly number[] {
  if (condition?.kind !== "binary") return [];
  if (condition.op === "and") return [...divisorsOf(condition.a, facts), ...divisorsOf(condition.b, facts)];
  if (condition.op !== "equal") return [];
  const isStep = (scalar: S): scalar is S & { readonly kind: "index" } =>
    scalar.kind === "index" && scalar.index === facts.step;
  for (const [rest, zero] of [
    [condition.a, condition.b],
    [condition.b, condition.a],
  ] as const) {
    if (constantOf(zero) !== 0) continue;
    if (isStep(rest)) {
      const { low, high } = intervalOf(rest, facts.bounds);
      if (low === 0 && Number.isFinite(high)) return [high + 1];
    }
    if (rest.kind !== "binary" || rest.op !== "remainder" || !isStep(rest.a)) continue;
    const group = constantOf(rest.b);
    if (group !== null && group > 0) return [group];
  }
  return [];
}
