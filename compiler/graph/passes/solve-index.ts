/**
 * Index arithmetic solved for the indices: of which i is `a * c + b`, `i / c`, `i % c` or `(i + c) % n` a given value?
 * What several i share a value of is left to be summed over; what cannot be solved is left as a condition.
 */
import type { Concrete } from "../../types/type.js";
import { intervalOf, isWithin, withRanges, type Bounds, type Interval } from "../analysis/ranges.js";
import { binary, indexOf, integer, range } from "../build.js";
import type { IndexId, Range, Scalar, ValueId } from "../graph.js";
import { constantOf, freeIndices, scalarKey, substitute } from "../scalar.js";
import { linearOf, moved, scaled, type Term } from "./linear.js";
import { allScalarRules, rewriteScalar } from "./simplify.js";

type S = Scalar<Concrete>;

/** That a place is a given value. */
export interface Equation {
  readonly left: S;
  /** Of indices that are given. */
  readonly right: S;
}

/** All indices for which the equations hold. */
export interface Solution {
  /** The indices that are decided, by those that are given and by those of `over`. */
  readonly values: ReadonlyMap<IndexId, S>;
  /** What is left: the equations hold once for each index of these ranges under which the conditions do. */
  readonly over: readonly Range<Concrete>[];
  readonly conditions: readonly S[];
  /** Whether values may be out of their ranges, which a condition then tells. */
  readonly leaves: boolean;
}

/** What is known beside the equations. */
export interface Given {
  /** Intervals of the given indices. */
  readonly bounds: Bounds;
  readonly shape: (tensor: ValueId) => readonly number[];
  readonly fresh: () => IndexId;
}

const i32: Interval = { low: -(2 ** 31), high: 2 ** 31 - 1 };

interface Open {
  readonly range: Range<Concrete>;
  readonly order: number;
  readonly low: number;
  readonly high: number;
}

/** Solves the equations for the indices of the ranges, whose bounds are constants. */
export function solveIndices(
  equations: readonly Equation[],
  ranges: readonly Range<Concrete>[],
  { bounds, shape, fresh }: Given,
): Solution {
  let intervals: Bounds = withRanges(bounds, ranges);
  const simple = (scalar: S): S => rewriteScalar(scalar, { bounds: intervals, shape }, allScalarRules);
  const open = new Map<IndexId, Open>(
    ranges.map((each, order) => [
      each.index,
      { range: each, order, low: Math.max(0, constantOf(each.low) ?? 0), high: constantOf(each.high) ?? 0 },
    ]),
  );
  const values = new Map<IndexId, S>();
  const over: { readonly range: Range<Concrete>; readonly order: number }[] = [];
  const conditions = new Map<string, S>();
  let pending: readonly Equation[] = equations.map(({ left, right }) => ({ left: simple(left), right }));
  let leaves = false;

  const isOpen = (scalar: S): boolean => [...freeIndices(scalar)].some((index) => open.has(index));
  const demand = (condition: S): void => {
    const told = simple(condition);
    if (constantOf(told) !== 1) conditions.set(scalarKey(told), told);
  };
  /** That low <= value < high. */
  const demandWithin = (value: S, low: number, high: number): void => {
    const found = intervalOf(value, intervals);
    const [at, offset] = peel(value);
    if (found.low < low) demand(binary("greater_equal", at, integer(low - offset)));
    if (found.high >= high) demand(binary("less", at, integer(high - offset)));
    if (found.low < low || found.high >= high) leaves = true;
  };
  const assign = (index: IndexId, { low, high }: Open, given: S): void => {
    const value = simple(given);
    open.delete(index);
    values.set(index, value);
    demandWithin(value, low, high);
    const here = new Map([[index, value]]);
    pending = pending.map(({ left, right }) => ({ left: simple(substitute(left, here)), right }));
  };
  /** Leaves an index to be summed over. */
  const release = (index: IndexId): void => {
    const found = open.get(index);
    if (found === undefined) return;
    open.delete(index);
    over.push(found);
  };
  /** A range that is summed over, in the place of the first open index of a scalar. */
  const addRange = (of: S, low: number, high: number): S => {
    const first = [...freeIndices(of)].flatMap((index) => open.get(index) ?? []);
    const order = Math.min(...first.map((each) => each.order));
    const name = first.find((each) => each.order === order)?.range.name ?? "part";
    const added = range<Concrete>(fresh(), name, low, high);
    intervals = withRanges(intervals, [added]);
    over.push({ range: added, order });
    return indexOf(added);
  };
  const replace = (old: readonly Equation[], by: readonly Equation[]): boolean => {
    const next = by.map(({ left, right }) => ({ left: simple(left), right: simple(right) }));
    pending = [...pending.filter((each) => !old.includes(each)), ...next];
    return true;
  };

  /** What has one solution: an index, a multiple, digits, a turn. */
  const solveOne = (equation: Equation): boolean => {
    const { terms, rest, offset } = linearOf(equation.left, isOpen);
    const [term, ...others] = terms;
    if (term === undefined) return false;
    const { atom, coefficient } = term;
    const turned = others.length === 0 && coefficient < 0;
    // what is known goes to the right, numbers last
    const known = linearOf(equation.right, () => false);
    const number = turned ? offset - known.offset : known.offset - offset;
    const [plus, minus] = turned ? [rest, known.rest] : [known.rest, rest];
    const right = simple(
      minus === null
        ? moved(plus ?? integer(0), number)
        : plus === null
          ? binary("subtract", integer(number), minus)
          : moved(binary("subtract", plus, minus), number),
    );
    if (others.length > 0) return splitDigits(equation, terms, right);
    const step = Math.abs(coefficient);
    if (step !== 1) {
      if (!isExact(scaled(intervalOf(atom, intervals), coefficient))) return false;
      demand(binary("equal", binary("remainder", right, integer(step)), integer(0)));
      return replace([equation], [{ left: atom, right: binary("divide", right, integer(step)) }]);
    }
    if (atom.kind === "index") {
      const found = open.get(atom.index);
      if (found === undefined) return false;
      pending = pending.filter((each) => each !== equation);
      assign(atom.index, found, right);
      return true;
    }
    if (atom !== equation.left) return replace([equation], [{ left: atom, right }]);
    return solveTurn(equation);
  };

  /** x % c where x takes each value of a part of 0 .. c once, or turns round. */
  const solveTurn = (equation: Equation): boolean => {
    const { left, right } = equation;
    const modulus = divisorOf(left, "remainder");
    if (modulus === null) return false;
    const [x, c] = modulus;
    const { low, high } = intervalOf(x, intervals);
    if (low < 0 || high - low >= c) return false;
    demandWithin(right, 0, c);
    const first = Math.floor(low / c);
    if (Math.floor(high / c) === first) return replace([equation], [{ left: x, right: moved(right, first * c) }]);
    const around = binary("remainder", moved(right, (c - (low % c)) % c), integer(c));
    return replace([equation], [{ left: x, right: moved(around, low) }]);
  };

  /** Of a sum of multiples, that with the largest factor, where the others stay below the factor. */
  const splitDigits = (equation: Equation, terms: readonly Term[], right: S): boolean => {
    const digits = terms
      .map((term) => ({ ...term, interval: intervalOf(term.atom, intervals) }))
      .map((term) => ({ ...term, reach: scaled(term.interval, term.coefficient) }))
      .sort((a, b) => Math.abs(b.coefficient) - Math.abs(a.coefficient));
    const [top, ...rest] = digits;
    if (top === undefined) return false;
    const sum = (list: readonly (typeof digits)[number][], end: "low" | "high"): number =>
      list.reduce((total, { reach }) => total + reach[end], 0);
    const step = Math.abs(top.coefficient);
    if (!isExact({ low: sum(digits, "low"), high: sum(digits, "high") })) return false;
    if (sum(rest, "high") - sum(rest, "low") >= step) return false;
    const counted = simple(moved(right, -sum(digits, "low")));
    const digit = binary("divide", counted, integer(step));
    const below = rest
      .map(({ atom, coefficient }) => (coefficient === 1 ? atom : binary("multiply", atom, integer(coefficient))))
      .reduce((a, b) => binary("add", a, b));
    return replace(
      [equation],
      [
        {
          left: top.atom,
          right:
            top.coefficient > 0
              ? moved(digit, top.interval.low)
              : binary("subtract", integer(top.interval.high), digit),
        },
        {
          left: below,
          right: moved(binary("remainder", counted, integer(step)), sum(rest, "low")),
        },
      ],
    );
  };

  /** Quotient and remainder of one number, which are its digits. */
  const solvePair = (equation: Equation): boolean => {
    const quotient = divisorOf(equation.left, "divide");
    if (quotient === null) return false;
    const [x, divisor] = quotient;
    if (intervalOf(x, intervals).low < 0) return false;
    for (const other of pending) {
      const remainder = divisorOf(other.left, "remainder");
      if (remainder === null || other === equation) continue;
      const [y, modulus] = remainder;
      const whole = wholeOf(x, divisor, y, modulus);
      if (whole === null) continue;
      demandWithin(other.right, 0, modulus);
      const right = binary("add", binary("multiply", equation.right, integer(modulus)), other.right);
      return replace([equation, other], [{ left: whole, right }]);
    }
    return false;
  };

  /** A quotient or a remainder alone, which several numbers share. */
  const solveSeveral = (equation: Equation): boolean => {
    const { left, right } = equation;
    const [quotient, remainder] = [divisorOf(left, "divide"), divisorOf(left, "remainder")];
    const [x, c] = quotient ?? remainder ?? [null, 0];
    if (x === null) return false;
    const { low, high } = intervalOf(x, intervals);
    if (low < 0 || !isExact({ low, high: high + c })) return false;
    if (quotient !== null) {
      const part = addRange(x, 0, c);
      return replace([equation], [{ left: x, right: binary("add", binary("multiply", right, integer(c)), part) }]);
    }
    demandWithin(right, 0, c);
    const part = addRange(x, Math.floor(low / c), Math.floor(high / c) + 1);
    return replace([equation], [{ left: x, right: binary("add", binary("multiply", part, integer(c)), right) }]);
  };

  /** One index of several, the others being summed over: that of most values. */
  const solveFor = (equation: Equation): boolean => {
    const { terms } = linearOf(equation.left, isOpen);
    const sole = terms.flatMap(({ atom, coefficient }) => {
      const found = atom.kind === "index" ? open.get(atom.index) : undefined;
      if (found === undefined || !isExact(scaled(intervalOf(atom, intervals), coefficient))) return [];
      const elsewhere = terms.some((term) => term.atom !== atom && freeIndices(term.atom).has(found.range.index));
      return elsewhere ? [] : [{ index: found.range.index, size: found.high - found.low }];
    });
    const most = sole.reduce<(typeof sole)[number] | null>(
      (best, each) => (best === null || each.size > best.size ? each : best),
      null,
    );
    for (const index of freeIndices(equation.left)) if (index !== most?.index) release(index);
    return true;
  };

  for (const { range: each, low, high } of [...open.values()])
    if (high - low === 1) assign(each.index, { range: each, order: 0, low, high }, integer(low));
  const stages = [solveOne, solvePair, solveSeveral, solveFor];
  while (pending.length > 0) {
    const closed = pending.filter(({ left }) => !isOpen(left));
    pending = pending.filter((each) => !closed.includes(each));
    for (const { left, right } of closed) demand(binary("equal", left, right));
    stages.some((stage) => pending.some((equation) => stage(equation)));
  }
  for (const index of [...open.keys()]) release(index);
  return {
    values,
    over: over.sort((a, b) => a.order - b.order).map((each) => each.range),
    conditions: [...conditions.values()],
    leaves,
  };
}

function isExact(interval: Interval): boolean {
  return isWithin(interval, i32);
}

/** A scalar as another and what is added to it. */
function peel(scalar: S): readonly [S, number] {
  if (scalar.kind !== "binary" || (scalar.op !== "add" && scalar.op !== "subtract")) return [scalar, 0];
  const added = constantOf(scalar.b);
  // what may wrap around keeps its place
  return added === null || scalar.a.kind !== "index" ? [scalar, 0] : [scalar.a, scalar.op === "add" ? added : -added];
}

/** The number and the constant that it is divided by. */
function divisorOf(scalar: S, op: "divide" | "remainder"): readonly [S, number] | null {
  if (scalar.kind !== "binary" || scalar.op !== op) return null;
  const by = constantOf(scalar.b);
  return by === null || by < 1 ? null : [scalar.a, by];
}

/** Of x / divisor and y % modulus, the number w with w / modulus = x / divisor and w % modulus = y % modulus; else null. */
function wholeOf(x: S, divisor: number, y: S, modulus: number): S | null {
  // x / c and x % c
  if (divisor === modulus && scalarKey(x) === scalarKey(y)) return x;
  // x / (c * d) and (x / d) % c: of x / d
  const inner = divisorOf(y, "divide");
  if (inner !== null && inner[1] * modulus === divisor && scalarKey(inner[0]) === scalarKey(x)) return y;
  // (x % (c * d)) / c and x % c: of x % (c * d)
  const outer = divisorOf(x, "remainder");
  const isPart = outer !== null && divisor === modulus && outer[1] % divisor === 0;
  return isPart && scalarKey(outer[0]) === scalarKey(y) ? x : null;
}
