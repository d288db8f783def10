/**
 * The parts of an axis of a weight that can be taken out of a graph, each by itself, and with them what belongs to them
 * of every other weight: a channel of a feed-forward, the heads that share keys and values. Nothing is known of any
 * architecture: which elements belong together is found by going back from the sum over the axis, element by element.
 */
import type { SymbolicGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import { freeIndices, scalarLoads, scalarReductions, withoutCasts, type Load, type Reduce } from "../scalar.js";
import { elementCount } from "../../types/shape.js";
import type { Symbolic } from "../../types/type.js";
import { indexFunction, isIndexExpression, sizeAt, type Sizes } from "./index-values.js";

/** Which elements of a value belong to which part: of the axes `axes` alone, the others are all alike. */
export interface Membership {
  readonly axes: readonly number[];
  /** Lengths of those axes. */
  readonly lengths: readonly number[];
  /** The part of each element, axes in order, the last the fastest. */
  readonly parts: Int32Array;
  /** The place of each element among those of its part. */
  readonly ranks: Int32Array;
}

/** The sum that the axis ends in. */
export interface EndingSum {
  readonly eqn: Extract<Eqn, { kind: "map" }>;
  readonly reduce: Reduce<Symbolic>;
  readonly over: Range;
  readonly load: Load<Symbolic>;
}

/** The parts of an axis, for sizes that are known. */
export interface RemovableParts {
  readonly graph: SymbolicGraph;
  readonly sizes: Sizes;
  readonly sum: EndingSum;
  /** How many parts there are, numbered in the order of the axis. */
  readonly count: number;
  /** Every value that has parts. */
  readonly values: ReadonlyMap<ValueId, Membership>;
}

/** Why an axis has no parts: the rest of a sentence whose subject it is. */
export interface Unremovable {
  readonly because: string;
}

/** The most elements of an axis, and readings of one, that are looked at. */
const mostElements = 2 ** 24;

/**
 * The parts of axis 1, the columns, of a weight. `sizes` are those that the weights of the graph show; a graph without
 * caches. Of values that all parts share, `like` tells which: where one part is left, that cannot be seen.
 */
export function removableParts(
  graph: SymbolicGraph,
  weight: string,
  sizes: Sizes,
  like: RemovableParts | null = null,
): RemovableParts | Unremovable {
  const input = graph.inputs.find(({ name }) => name === weight);
  const sum = input === undefined ? null : endingSum(graph, input.value);
  if (input === undefined || sum === null)
    return { because: `\`${weight}\` is read in other ways than in one sum of products over its columns` };
  const length = sizeAt(graph.values[input.value]!.type.shape[1]!, sizes);
  if (length === null || length > mostElements) return { because: "its length is not known, or too large" };
  const sets = createSets(length);
  const touches = new Map<ValueId, Touch[]>();
  const found = new Map<ValueId, Omit<Membership, "parts" | "ranks"> & { readonly members: Int32Array }>();

  const lengthsOf = (value: ValueId, axes: readonly number[]): readonly number[] | null => {
    const lengths = axes.map((axis) => sizeAt(graph.values[value]!.type.shape[axis]!, sizes));
    const known = lengths.filter((each) => each !== null);
    return known.length < lengths.length || elementCount(known) > mostElements ? null : known;
  };
  /** What an eqn reads for its elements, whose indices `carried` and members are given, is touched. */
  const touch = (
    scalars: readonly Scalar[],
    ranges: readonly Range[],
    carried: readonly Range[],
    members: Int32Array,
  ): Unremovable | null => {
    const touched: Touch[] = [];
    for (const load of scalars.flatMap(scalarLoads)) {
      if (load === sum.load) continue;
      const reading = readingOf(load, ranges, carried, sizes);
      if (reading === null) continue;
      if ("because" in reading) return reading;
      const lengths = lengthsOf(load.tensor, reading.axes);
      const name = graph.values[load.tensor]!.name;
      if (lengths === null) return { because: `it reaches \`${name}\` along an axis that is no weight's` };
      const at: number[] = [];
      const of: number[] = [];
      const isRead = reading.each(lengths, (entry, element) => {
        at.push(entry);
        of.push(members[element]!);
      });
      if (!isRead) return { because: `\`${name}\` is read out of its range` };
      touched.push({ tensor: load.tensor, axes: reading.axes, lengths, at, of });
    }
    for (const next of touched) {
      const before = sets.save();
      joinReaders(next, sets);
      // what all parts read alike is common to them, as a norm's gain is
      const isCommon = like === null ? before.count > 1 && sets.count() === 1 : !like.values.has(next.tensor);
      if (isCommon) sets.restore(before);
      else touches.set(next.tensor, [...(touches.get(next.tensor) ?? []), next]);
    }
    return null;
  };
  /** The members of a value by what touches it. */
  const settle = (value: ValueId): Unremovable | null => {
    const own = touches.get(value);
    if (own === undefined) return null;
    const axes = [...new Set(own.flatMap((each) => each.axes))].sort((a, b) => a - b);
    const lengths = lengthsOf(value, axes);
    if (lengths === null) return { because: `\`${graph.values[value]!.name}\` is too large` };
    const members = new Int32Array(elementCount(lengths)).fill(-1);
    for (const each of own) join(members, axes, lengths, each, sets);
    if (members.some((member) => member < 0))
      return { because: `some of \`${graph.values[value]!.name}\` belongs to no part of it` };
    found.set(value, { axes, lengths, members });
    return null;
  };

  const columns = Int32Array.from({ length }, (_, at) => at);
  const begun = touch([sum.reduce.body], allRanges(sum.eqn), [sum.over], columns);
  if (begun !== null) return begun;
  found.set(input.value, { axes: [1], lengths: [length], members: columns });
  for (const eqn of graph.eqns.toReversed()) {
    const failed = settle(eqn.out);
    if (failed !== null) return failed;
    const own = found.get(eqn.out);
    if (own === undefined) continue;
    if (eqn.kind !== "map") return { because: `\`${graph.values[eqn.out]!.name}\` is no map` };
    const carried = own.axes.map((axis) => eqn.indices[axis]!);
    const passed = touch([eqn.body], allRanges(eqn), carried, own.members);
    if (passed !== null) return passed;
  }
  for (const { value } of graph.inputs) {
    const failed = value === input.value ? null : settle(value);
    if (failed !== null) return failed;
  }
  // parts in the order of the axis
  const numbers = new Map<number, number>();
  for (let at = 0; at < length; at++) {
    const root = sets.find(at);
    if (!numbers.has(root)) numbers.set(root, numbers.size);
  }
  const values = new Map<ValueId, Membership>();
  for (const [value, { axes, lengths, members }] of found) {
    const parts = members.map((member) => numbers.get(sets.find(member)) ?? 0);
    const seen = new Int32Array(numbers.size);
    values.set(value, { axes, lengths, parts, ranks: parts.map((part) => seen[part]!++) });
    if (seen.some((each) => each !== seen[0]))
      return { because: `its parts have different shares of \`${graph.values[value]!.name}\`` };
  }
  if (numbers.size === 1 && like === null) return { because: "all of it hangs together" };
  return { graph, sizes, sum, count: numbers.size, values };
}

/** Elements of a value that were read for elements of known membership. */
interface Touch {
  readonly tensor: ValueId;
  readonly axes: readonly number[];
  readonly lengths: readonly number[];
  readonly at: readonly number[];
  readonly of: readonly number[];
}

/** Sets of the elements of the axis that belong together. */
interface Sets {
  find(member: number): number;
  join(a: number, b: number): void;
  count(): number;
  save(): { readonly parents: Int32Array; readonly count: number };
  restore(saved: { readonly parents: Int32Array; readonly count: number }): void;
}

function createSets(length: number): Sets {
  let parents = Int32Array.from({ length }, (_, at) => at);
  let count = length;
  const find = (member: number): number => {
    let root = member;
    while (parents[root] !== root) root = parents[root]!;
    for (let at = member; at !== root; ) {
      const next = parents[at]!;
      parents[at] = root;
      at = next;
    }
    return root;
  };
  return {
    find,
    join(a, b) {
      const [left, right] = [find(a), find(b)];
      if (left === right) return;
      parents[Math.max(left, right)] = Math.min(left, right);
      count -= 1;
    },
    count: () => count,
    save: () => ({ parents: parents.slice(), count }),
    restore(saved) {
      parents = saved.parents.slice();
      count = saved.count;
    },
  };
}

/** Those that read one element belong together. */
function joinReaders({ at, of }: Touch, sets: Sets): void {
  const firsts = new Map<number, number>();
  at.forEach((entry, nth) => {
    const known = firsts.get(entry);
    if (known === undefined) firsts.set(entry, of[nth]!);
    else sets.join(known, of[nth]!);
  });
}

/** Takes over what a touch says: of axes that it does not have, all elements were touched. */
function join(
  members: Int32Array,
  axes: readonly number[],
  lengths: readonly number[],
  touch: Touch,
  sets: Sets,
): void {
  const places = touch.axes.map((axis) => axes.indexOf(axis));
  const rest = axes.flatMap((axis, at) => (touch.axes.includes(axis) ? [] : [at]));
  const restCount = elementCount(rest.map((at) => lengths[at]!));
  const index = new Array<number>(axes.length).fill(0);
  touch.at.forEach((entry, nth) => {
    unflatten(entry, touch.lengths).forEach((each, at) => (index[places[at]!] = each));
    for (let more = 0; more < restCount; more++) {
      unflatten(
        more,
        rest.map((at) => lengths[at]!),
      ).forEach((each, at) => (index[rest[at]!] = each));
      const flat = flatten(index, lengths);
      const known = members[flat]!;
      if (known < 0) members[flat] = touch.of[nth]!;
      else sets.join(known, touch.of[nth]!);
    }
  });
}

/** How a load reads the elements of parts: the axes whose index depends on a carried one. */
export interface Reading {
  readonly axes: readonly number[];
  /** The other indices that these axes depend on. */
  readonly others: readonly Range[];
  /**
   * Visits each element that is read: its place, the reading element's, and the values of the other indices. False where
   * one is out of range.
   */
  each(lengths: readonly number[], visit: (entry: number, element: number, others: string) => void): boolean;
}

/** Null where no axis depends on a carried index. */
export function readingOf(
  load: Load<Symbolic>,
  ranges: readonly Range[],
  carried: readonly Range[],
  sizes: Sizes,
): Reading | Unremovable | null {
  const own = new Set(carried.map(({ index }) => index));
  const axes = load.at.flatMap((at, axis) => ([...freeIndices(at)].some((index) => own.has(index)) ? [axis] : []));
  if (axes.length === 0) return null;
  const places = axes.map((axis) => load.at[axis]!);
  const used = new Set(places.flatMap((at) => [...freeIndices(at)]));
  const others = ranges.filter(({ index }) => used.has(index) && !own.has(index));
  const functions = places.map((at) => (isIndexExpression(at) ? indexFunction(at, sizes) : null));
  const known = functions.filter((each) => each !== null);
  const bounds = [...carried, ...others].map((range) => lengthOf(range, sizes));
  const lengthsOfRanges = bounds.filter((each) => each !== null);
  if (known.length < functions.length || lengthsOfRanges.length < bounds.length || load.guarded)
    return { because: "an element of it is found by what is known at the run alone" };
  if (elementCount(lengthsOfRanges) > mostElements) return { because: "it has too many elements" };
  const perElement = elementCount(lengthsOfRanges.slice(carried.length));
  return {
    axes,
    others,
    each(lengths, visit) {
      const at = new Map<IndexId, number>();
      const indices = [...carried, ...others];
      for (let flat = 0; flat < elementCount(lengthsOfRanges); flat++) {
        const index = unflatten(flat, lengthsOfRanges);
        index.forEach((value, nth) => at.set(indices[nth]!.index, value));
        const read = known.map((each) => each(at));
        if (read.some((each, nth) => each < 0 || each >= lengths[nth]!)) return false;
        visit(flatten(read, lengths), Math.floor(flat / perElement), index.slice(carried.length).join(" "));
      }
      return true;
    },
  };
}

/** How many values an index has that begins at 0. */
export function lengthOf({ low, high }: Range, sizes: Sizes): number | null {
  if (!isIndexExpression(low) || !isIndexExpression(high)) return null;
  if (freeIndices(low).size + freeIndices(high).size > 0) return null;
  const [from, to] = [indexFunction(low, sizes)?.(new Map()), indexFunction(high, sizes)?.(new Map())];
  return from === 0 && to !== undefined ? to : null;
}

/** The ranges of an equation, of its reductions too. */
export function allRanges(eqn: Extract<Eqn, { kind: "map" }>): readonly Range[] {
  return [...eqn.indices, ...scalarReductions(eqn.body).flatMap(({ over }) => over)];
}

/** The one sum that reads the columns of a weight: of products, of which it is a factor. */
function endingSum(graph: SymbolicGraph, weight: ValueId): EndingSum | null {
  const sums: (EndingSum | null)[] = [];
  for (const eqn of graph.eqns) {
    if (eqn.kind !== "map") continue;
    const loads = scalarLoads(eqn.body).filter(({ tensor }) => tensor === weight);
    if (loads.length === 0) continue;
    const reduce = scalarReductions(eqn.body).find(
      (each) => each.op === "sum" && each.over.length === 1 && factorOf(each.body, weight),
    );
    const [over] = reduce?.over ?? [];
    const [load, ...more] = loads;
    const column = load?.at[1];
    const fits = more.length === 0 && load?.at.length === 2 && over !== undefined && reduce !== undefined;
    sums.push(fits && column?.kind === "index" && column.index === over.index ? { eqn, reduce, over, load } : null);
  }
  return sums.length === 1 ? sums[0]! : null;
}

/** Whether a scalar is a product with an element of the weight, so that it is zero where that is. */
function factorOf(scalar: Scalar, weight: ValueId): boolean {
  const inner = withoutCasts(scalar);
  if (inner.kind === "load") return inner.tensor === weight;
  return inner.kind === "binary" && inner.op === "multiply" && (factorOf(inner.a, weight) || factorOf(inner.b, weight));
}

function flatten(index: readonly number[], lengths: readonly number[]): number {
  return index.reduce((flat, each, at) => flat * lengths[at]! + each, 0);
}

/** The index of an element by its place, the last axis the fastest. */
export function unflatten(flat: number, lengths: readonly number[]): number[] {
  const index = new Array<number>(lengths.length);
  let rest = flat;
  for (let at = lengths.length - 1; at >= 0; at--) {
    index[at] = rest % lengths[at]!;
    rest = Math.floor(rest / lengths[at]!);
  }
  return index;
}
