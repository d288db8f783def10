/**
 * Which tensors share an axis: what must change places together so that a function gives what it gave. Index notation
 * shows it: an index that only says which element is read, summed over or carried into a result, can be taken in another
 * order wherever it stands.
 */
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import { eqnOperands } from "../eqn.js";
import { children, constantOf, freeIndices, scalarReductions, type Load } from "../scalar.js";
import type { Concrete } from "../../types/type.js";

/**
 * Which places of an axis may be exchanged: place k is channel `k % channels`, and `members` neighbouring runs of
 * channels have one order in common. `channels` of the axis' length: any with any other.
 */
export interface ChannelFamily {
  readonly channels: number;
  readonly members: number;
}

/** An axis of an input, whose places follow: its channel is `k % channels` of the run `k / channels`. */
export interface SharedAxis extends ChannelFamily {
  readonly input: string;
  readonly axis: number;
}

/** The axes that change places together, that of the question among them; or why none may, a sentence without its stop. */
export type SharedAxes =
  | { readonly kind: "shared"; readonly family: ChannelFamily; readonly axes: readonly SharedAxis[] }
  | { readonly kind: "fixed"; readonly reason: string };

/**
 * Whose places follow when those of an input's axis are exchanged: the freest family for which the outputs stay what
 * they are, up to the order of sums.
 */
export function sharedAxes(graph: ConcreteGraph, input: string, axis: number): SharedAxes {
  const seed = graph.inputs.find(({ name }) => name === input);
  const size = graph.values[seed?.value ?? -1]?.type.shape[axis];
  if (seed === undefined || size === undefined)
    return { kind: "fixed", reason: `${graph.name} has no input ${input} with an axis ${axis}` };
  const { runs, divisors } = constantsOf(graph);
  const families: { readonly channels: number; readonly divisor: number | null }[] = [
    { channels: size, divisor: null },
    ...runs
      .filter((run) => run < size && size % run === 0)
      .flatMap((run) => [1, ...divisors].map((members) => ({ channels: run, divisor: run * members }))),
  ];
  let reason: string | null = null;
  for (const { channels, divisor } of families) {
    const labels = spread(graph, channels, seed.value, { axis, group: divisor === null ? null : { axis, divisor } });
    if ("reason" in labels) {
      reason ??= labels.reason;
      continue;
    }
    const axes = graph.inputs.flatMap(({ name, value }): SharedAxis[] => {
      const label = labels.found.get(value);
      if (label === undefined) return [];
      const own = graph.values[value]?.type.shape[label.axis] ?? 0;
      // one order for all: every run of channels is a member of one group
      const members =
        label.group === null ? own / channels : label.group.axis === label.axis ? label.group.divisor / channels : 0;
      return [{ input: name, axis: label.axis, channels, members }];
    });
    const apart = axes.find(({ members }) => !Number.isInteger(members) || members < 1);
    if (apart === undefined) {
      const family = { channels, members: divisor === null ? 1 : divisor / channels };
      return { kind: "shared", family, axes };
    }
    reason ??= `the runs of channels of ${apart.input} lie on another axis`;
  }
  return { kind: "fixed", reason: reason ?? "nothing is known of it" };
}

/** What a value's places are: the axis whose `% channels` is the channel, and the axis whose quotient is its group. */
interface Label {
  readonly axis: number;
  readonly group: { readonly axis: number; readonly divisor: number } | null;
}

/** The same within an equation: the index whose `% channels` is the channel, and that whose quotient is the group. */
interface Key {
  readonly index: IndexId;
  readonly group: { readonly index: IndexId; readonly divisor: number } | null;
}

/** What an expression of a place is made of. */
type Place =
  | { readonly kind: "index"; readonly index: IndexId }
  | { readonly kind: "quotient" | "remainder"; readonly index: IndexId; readonly by: number }
  /** `high * by + low`, low below `by` */
  | { readonly kind: "mixed"; readonly high: IndexId; readonly low: IndexId; readonly by: number }
  | { readonly kind: "other"; readonly free: ReadonlySet<IndexId> };

type Extents = ReadonlyMap<IndexId, number>;

function constantsOf(graph: ConcreteGraph): { readonly runs: readonly number[]; readonly divisors: readonly number[] } {
  const [runs, divisors] = [new Set<number>(), new Set<number>()];
  for (const eqn of graph.eqns) {
    const extents = extentsOf(eqn);
    for (const at of loadsOf(eqn).flatMap((load) => load.at)) {
      const place = placeOf(at, extents);
      if (place.kind === "remainder" || place.kind === "mixed") runs.add(place.by);
      if (place.kind === "quotient") divisors.add(place.by);
    }
  }
  const sorted = (set: Set<number>): readonly number[] => [...set].sort((a, b) => a - b);
  return { runs: [...sorted(runs)].reverse(), divisors: sorted(divisors) };
}

/** Carries a label through all equations, until each has what follows from the others. */
function spread(
  graph: ConcreteGraph,
  channels: number,
  seed: ValueId,
  label: Label,
): { readonly found: ReadonlyMap<ValueId, Label> } | { readonly reason: string } {
  const found = new Map<ValueId, Label>([[seed, label]]);
  const nameOf = (value: ValueId): string => `\`${graph.values[value]?.name ?? value}\``;
  for (let before = 0; before < found.size; ) {
    before = found.size;
    for (const eqn of graph.eqns) {
      const touched = [eqn.out, ...eqnOperands(eqn)].filter((value) => found.has(value));
      if (touched.length === 0) continue;
      if (eqn.kind !== "map")
        return { reason: `${nameOf(eqn.out)} is a \`${eqn.kind}\` of it, which depends on places` };
      const wrong = unify(eqn, channels, found);
      if (wrong !== null) return { reason: `${wrong} in ${nameOf(eqn.out)}` };
    }
  }
  const given = graph.outputs.find(({ value }) => found.has(value));
  return given === undefined ? { found } : { reason: `the result \`${given.name}\` would have them in another order` };
}

/** Gives every tensor of an equation the label that follows; else what does not fit. */
function unify(
  eqn: Extract<Eqn<Concrete>, { kind: "map" }>,
  channels: number,
  found: Map<ValueId, Label>,
): string | null {
  const extents = extentsOf(eqn);
  const uses: readonly { readonly tensor: ValueId; readonly places: readonly Place[] }[] = [
    { tensor: eqn.out, places: eqn.indices.map(({ index }) => ({ kind: "index", index })) },
    ...loadsOf(eqn).map(({ tensor, at }) => ({ tensor, places: at.map((each) => placeOf(each, extents)) })),
  ];
  const keys = new Map<IndexId, Key>();
  for (const { tensor, places } of uses) {
    const label = found.get(tensor);
    if (label === undefined) continue;
    const key = keyOf(label, places, channels);
    if (key === null) return "the places are computed with";
    const known = keys.get(key.index);
    if (known !== undefined && !sameGroup(known.group, key.group)) return "one index has two orders";
    keys.set(key.index, key);
  }
  for (const key of keys.values()) {
    const { index } = key;
    const extent = extents.get(index) ?? 0;
    if (extent === 0 || extent % channels !== 0) return "only a part of the axis is taken";
    if (countsPlaces(eqn, index)) return "the place itself counts";
    for (const { tensor, places } of uses) {
      if (!places.some((place) => usesIndex(place, index))) continue;
      const label = labelOf(key, places, channels);
      if (label === null) {
        if (found.has(tensor) || !places.every((place) => keepsPlace(place, index, channels)))
          return "the places are computed with";
        continue;
      }
      const known = found.get(tensor);
      if (known === undefined) found.set(tensor, label);
      else if (known.axis !== label.axis || !sameGroup(axisGroup(known), axisGroup(label)))
        return "one tensor is read in two orders";
    }
  }
  return null;
}

function axisGroup({ group }: Label): Key["group"] {
  return group === null ? null : { index: group.axis, divisor: group.divisor };
}

function sameGroup(a: Key["group"], b: Key["group"]): boolean {
  return a === null || b === null ? a === b : a.index === b.index && a.divisor === b.divisor;
}

/** What a tensor's label says of the indices that it is read at. */
function keyOf({ axis, group }: Label, places: readonly Place[], channels: number): Key | null {
  const index = channelIndex(places[axis], channels);
  if (index === null) return null;
  if (group === null) return { index, group: null };
  const place = places[group.axis];
  const { divisor } = group;
  switch (place?.kind) {
    case "index":
      return { index, group: { index: place.index, divisor } };
    case "quotient":
      return { index, group: { index: place.index, divisor: divisor * place.by } };
    case "mixed":
      return divisor % place.by === 0 ? { index, group: { index: place.high, divisor: divisor / place.by } } : null;
    case "remainder":
    case "other":
    case undefined:
      return null;
    default:
      return place satisfies never;
  }
}

/** The index whose remainder by the channels is that of a place. */
function channelIndex(place: Place | undefined, channels: number): IndexId | null {
  if (place?.kind === "index") return place.index;
  if (place?.kind === "remainder" && place.by % channels === 0) return place.index;
  return place?.kind === "mixed" && place.by % channels === 0 ? place.low : null;
}

/** The label of a tensor that is read at these places, where it has one. */
function labelOf({ index, group }: Key, places: readonly Place[], channels: number): Label | null {
  const axis = places.findIndex((place) => channelIndex(place, channels) === index);
  if (axis < 0 || !places.every((place, at) => at === axis || keepsPlace(place, index, channels))) return null;
  if (group === null) return { axis, group: null };
  for (const [at, place] of places.entries()) {
    const divisor =
      place.kind === "index" && place.index === group.index
        ? group.divisor
        : place.kind === "quotient" && place.index === group.index && group.divisor % place.by === 0
          ? group.divisor / place.by
          : place.kind === "mixed" && place.high === group.index
            ? group.divisor * place.by
            : null;
    if (divisor !== null) return { axis, group: { axis: at, divisor } };
  }
  return null;
}

function usesIndex(place: Place, index: IndexId): boolean {
  if (place.kind === "other") return place.free.has(index);
  return place.kind === "mixed" ? place.high === index || place.low === index : place.index === index;
}

/** Whether a place stays what it is when the channels of an index are exchanged. */
function keepsPlace(place: Place, index: IndexId, channels: number): boolean {
  return !usesIndex(place, index) || (place.kind === "quotient" && place.by % channels === 0);
}

/** Whether an index is more than a place that is read: a number in the body, a bound, or what an argmax gives. */
function countsPlaces({ body }: Extract<Eqn<Concrete>, { kind: "map" }>, index: IndexId): boolean {
  const visit = (node: Scalar<Concrete>): boolean => {
    switch (node.kind) {
      case "index":
        return node.index === index;
      case "load":
      case "constant":
      case "size":
        return false;
      case "unary":
      case "cast":
        return visit(node.a);
      case "binary":
        return visit(node.a) || visit(node.b);
      case "select":
        return visit(node.condition) || visit(node.then) || visit(node.otherwise);
      case "reduce":
        return (
          node.over.some(
            (range) =>
              visit(range.low) ||
              visit(range.high) ||
              (range.index === index && (node.op === "argmax" || !isWhole(range))),
          ) ||
          (node.score !== null && visit(node.score)) ||
          visit(node.body)
        );
      default:
        return node satisfies never;
    }
  };
  return visit(body);
}

function isWhole({ low, high }: Range<Concrete>): boolean {
  return constantOf(low) === 0 && constantOf(high) !== null;
}

/** The loads of an equation, those within places of others too. */
function loadsOf(eqn: Eqn<Concrete>): readonly Load<Concrete>[] {
  if (eqn.kind !== "map") return [];
  const loads: Load<Concrete>[] = [];
  const visit = (node: Scalar<Concrete>): void => {
    if (node.kind === "load") loads.push(node);
    for (const child of children(node)) visit(child);
  };
  visit(eqn.body);
  return loads;
}

/** How many values each index of an equation takes, from 0; 0 where that is not known. */
function extentsOf(eqn: Eqn<Concrete>): Extents {
  if (eqn.kind !== "map") return new Map();
  const ranges = [...eqn.indices, ...scalarReductions(eqn.body).flatMap(({ over }) => over)];
  return new Map(ranges.map((range) => [range.index, isWhole(range) ? (constantOf(range.high) ?? 0) : 0]));
}

function placeOf(at: Scalar<Concrete>, extents: Extents): Place {
  const other: Place = { kind: "other", free: freeIndices(at) };
  if (at.kind === "index") return { kind: "index", index: at.index };
  if (at.kind !== "binary") return other;
  const by = constantOf(at.b);
  if (at.op === "divide" || at.op === "remainder") {
    if (at.a.kind !== "index" || by === null || by < 1) return other;
    const { index } = at.a;
    if (by === 1) return at.op === "divide" ? { kind: "index", index } : other;
    return { kind: at.op === "divide" ? "quotient" : "remainder", index, by };
  }
  if (at.op !== "add") return other;
  for (const [product, low] of [
    [at.a, at.b],
    [at.b, at.a],
  ] as const) {
    if (product.kind !== "binary" || product.op !== "multiply" || low.kind !== "index") continue;
    for (const [high, factor] of [
      [product.a, constantOf(product.b)],
      [product.b, constantOf(product.a)],
    ] as const)
      if (high.kind === "index" && factor !== null && extents.get(low.index) === factor)
        return { kind: "mixed", high: high.index, low: low.index, by: factor };
  }
  return other;
}
