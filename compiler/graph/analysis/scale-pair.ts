/**
 * Scales that cancel: which inputs of a function are divided by what the columns of its weights are multiplied by, so that
 * the function gives what it gave. A search goes back from what the weights read to inputs that can take the scale; a
 * proof goes forward through the whole graph and accepts or refuses what was found. Neither knows an architecture.
 */
import type { Concrete } from "../../types/type.js";
import { eqnOperands } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Scalar, ValueId } from "../graph.js";
import { constantOf, scalarLoads, scalarReductions, type Load } from "../scalar.js";
import { agree, channelsAt, noChannel, placesOf, type Channels } from "./channels.js";

/** An input that is divided by the scale along one axis. */
export interface ScaledInput {
  readonly input: string;
  readonly axis: number;
  /** Which channel each place of the axis is divided by; -1: by none. */
  readonly channels: Int32Array;
}

/** A pair of scales that cancels, or why there is none: a sentence without its stop, for each way that was tried. */
export type ScalePair =
  | {
      readonly kind: "pair";
      /** The channel that each column of the weights is multiplied by: columns of one channel have one scale. */
      readonly columns: Int32Array;
      readonly producers: readonly ScaledInput[];
    }
  | { readonly kind: "none"; readonly ways: readonly RefusedWay[] };

/** A way that a scale could have been taken, and why it cannot. */
export interface RefusedWay {
  /** The inputs that it ends at. */
  readonly producers: readonly string[];
  readonly reason: string;
}

/** What a value is multiplied by: the scale, or its inverse, of the channel of each place of some axes. */
interface Label {
  readonly axes: readonly number[];
  readonly channels: Int32Array;
  readonly power: 1 | -1;
}

/** The same of an element of an equation, by indices. Null: it stays what it is. */
type Factor = (Channels & { readonly power: 1 | -1 }) | null;

/** Inputs that together take a scale, by what they are divided by, and the channels that must be one. */
interface Way {
  readonly inputs: ReadonlyMap<ValueId, Label>;
  readonly ties: readonly (readonly [number, number])[];
}

type MapEqn = Extract<Eqn<Concrete>, { kind: "map" }>;

/** What the search or the proof comes to where it cannot go on: not an error of anybody. */
type Refusal = { readonly refused: string; readonly at: readonly string[] };

/** The most ways that are looked at. */
const mostWays = 32;

/**
 * The inputs that are divided, where the columns of the weights (inputs [N, K], all of one K) are multiplied by a positive
 * scale each. `allowed` says which inputs may be changed, `chosen` which of their sets is wanted.
 */
export function scalePair(
  graph: ConcreteGraph,
  weights: readonly string[],
  allowed: (input: string) => boolean,
  chosen: (producers: readonly string[]) => boolean = () => true,
): ScalePair {
  const seeds = graph.inputs.filter(({ name }) => weights.includes(name)).map(({ value }) => value);
  const columns = graph.values[seeds[0] ?? -1]?.type.shape[1] ?? 0;
  const all = Int32Array.from({ length: columns }, (_, k) => k);
  const names = new Map(graph.inputs.map(({ value, name }) => [value, name]));
  const refused: RefusedWay[] = [];
  const search = searchOf(graph, (input) => allowed(input) && !weights.includes(input));
  let ways: readonly Way[] = [{ inputs: new Map(), ties: [] }];
  for (const seed of seeds)
    for (const eqn of graph.eqns)
      if (eqn.kind === "map")
        for (const load of scalarLoads(eqn.body).filter(({ tensor }) => tensor === seed))
          ways = both(ways, search.balance(eqn, load, all));
  for (const way of ways) {
    const producers = [...way.inputs.keys()].map((value) => names.get(value) ?? "");
    if (producers.length === 0 || !chosen(producers)) continue;
    const classes = classesOf(columns, way.ties);
    const labels = new Map<ValueId, Label>(
      [...way.inputs].map(([value, label]) => [value, { ...label, channels: renamed(label.channels, classes) }]),
    );
    for (const seed of seeds) labels.set(seed, { axes: [1], channels: renamed(all, classes), power: 1 });
    const wrong = disproof(graph, labels);
    if (wrong !== null) {
      refused.push({ producers, reason: wrong });
      continue;
    }
    const found = [...way.inputs.keys()].map((value): ScaledInput => {
      const { axes, channels } = labels.get(value)!;
      return { input: names.get(value) ?? "", axis: axes[0] ?? 0, channels };
    });
    return { kind: "pair", columns: renamed(all, classes), producers: found };
  }
  const unfound = search.refusals.map(({ refused: reason, at }) => ({ producers: at, reason }));
  return { kind: "none", ways: [...refused, ...unfound] };
}

/** The search back: from an element that is to be divided to the inputs that can be. */
function searchOf(
  graph: ConcreteGraph,
  allowed: (input: string) => boolean,
): {
  balance(eqn: MapEqn, weight: Load<Concrete>, channels: Int32Array): readonly Way[];
  readonly refusals: readonly Refusal[];
} {
  const refusals: Refusal[] = [];
  const nameOf = (value: ValueId): string => `\`${graph.values[value]?.name ?? value}\``;
  const refuse = (refused: string, at: readonly string[] = []): readonly Way[] => {
    if (!refusals.some((each) => each.refused === refused)) refusals.push({ refused, at });
    return [];
  };
  const demand = (value: ValueId, label: Label): readonly Way[] => {
    const input = graph.inputs.find((each) => each.value === value);
    if (input !== undefined) {
      if (!allowed(input.name)) return refuse(`\`${input.name}\` is given to the block`);
      if (label.axes.length !== 1)
        return refuse(`more than one axis of \`${input.name}\` would be scaled`, [input.name]);
      return [{ inputs: new Map([[value, label]]), ties: [] }];
    }
    const eqn = graph.eqns.find(({ out }) => out === value);
    if (eqn?.kind !== "map")
      return refuse(`${nameOf(value)} is a \`${eqn?.kind ?? "part"}\`, through which no scale goes`);
    const indices = label.axes.map((axis) => eqn.indices[axis]!.index);
    const extents = label.axes.map((axis) => graph.values[value]?.type.shape[axis] ?? 0);
    return absorb(eqn, eqn.body, { indices, extents, channels: label.channels });
  };
  /** Ways to divide what a scalar gives. */
  const absorb = (eqn: MapEqn, node: Scalar<Concrete>, key: Channels): readonly Way[] => {
    switch (node.kind) {
      case "load": {
        const places = placesOf(node, key, graph.values[node.tensor]?.type.shape ?? []);
        if (places === null) return refuse(`places are computed with in ${nameOf(eqn.out)}`);
        const { axes, channels, ties } = places;
        if (axes.length === 0) return refuse(`${nameOf(node.tensor)} has no channel for each column`);
        return demand(node.tensor, { axes, channels, power: -1 }).map((way) => ({
          ...way,
          ties: [...way.ties, ...ties],
        }));
      }
      case "constant":
        return node.value === 0 ? [{ inputs: new Map(), ties: [] }] : refuse(`a number is added in ${nameOf(eqn.out)}`);
      case "cast":
        return absorb(eqn, node.a, key);
      case "unary":
        return node.op === "negate" || node.op === "abs"
          ? absorb(eqn, node.a, key)
          : refuse(notLinear(nameOf(eqn.out), node.op));
      case "binary":
        if (node.op === "multiply") return [...absorb(eqn, node.a, key), ...absorb(eqn, node.b, key)];
        if (node.op === "divide") return absorb(eqn, node.a, key);
        if (node.op === "add" || node.op === "subtract")
          return both(absorb(eqn, node.a, key), absorb(eqn, node.b, key));
        return refuse(notLinear(nameOf(eqn.out), node.op));
      case "select":
        return both(absorb(eqn, node.then, key), absorb(eqn, node.otherwise, key));
      case "reduce":
        return isSum(node.op) ? absorb(eqn, node.body, key) : refuse(notLinear(nameOf(eqn.out), node.op));
      case "index":
      case "size":
        return refuse(`a place counts in ${nameOf(eqn.out)}`);
      default:
        return node satisfies never;
    }
  };
  return {
    refusals,
    balance(eqn, weight, channels) {
      const last = weight.at[1];
      if (last?.kind !== "index") return refuse(`the columns of ${nameOf(weight.tensor)} are computed with`);
      const key: Channels = { indices: [last.index], extents: [channels.length], channels };
      const visit = (node: Scalar<Concrete>): readonly Way[] => {
        if (node === weight) return [];
        if (node.kind === "cast") return visit(node.a);
        if (node.kind !== "binary" || node.op !== "multiply")
          return refuse(`${nameOf(weight.tensor)} is no factor of a product in ${nameOf(eqn.out)}`);
        const [own, other] = holds(node.a, weight) ? [node.a, node.b] : [node.b, node.a];
        return [...absorb(eqn, other, key), ...visit(own)];
      };
      const sum = scalarReductions(eqn.body).find(
        (each) => isSum(each.op) && each.over.some(({ index }) => index === last.index) && holds(each.body, weight),
      );
      return sum === undefined
        ? refuse(`${nameOf(weight.tensor)} is read otherwise than in a product in ${nameOf(eqn.out)}`)
        : visit(sum.body);
    },
  };
}

/** The proof forward: why some result is not what it was, null where all are. */
function disproof(graph: ConcreteGraph, given: ReadonlyMap<ValueId, Label>): string | null {
  const labels = new Map(given);
  for (const eqn of graph.eqns) {
    const name = `\`${graph.values[eqn.out]?.name ?? eqn.out}\``;
    if (![...eqnOperands(eqn)].some((value) => labels.has(value))) continue;
    if (eqn.kind !== "map") return `${name} is a \`${eqn.kind}\`, through which no scale goes`;
    const factor = factorOf(graph, eqn, name, labels);
    if (typeof factor === "string") return factor;
    if (factor === null) continue;
    const axes = factor.indices.map((index) => eqn.indices.findIndex((each) => each.index === index));
    if (axes.some((axis) => axis < 0)) return `${name} sums over channels that are scaled`;
    labels.set(eqn.out, { axes, channels: factor.channels, power: factor.power });
  }
  const changed = graph.outputs.find(({ value }) => labels.has(value));
  return changed === undefined ? null : `the result \`${changed.name}\` would be scaled`;
}

/** What the elements of an equation are multiplied by; a sentence where that is not one scale each. */
function factorOf(
  graph: ConcreteGraph,
  eqn: MapEqn,
  name: string,
  labels: ReadonlyMap<ValueId, Label>,
): Factor | string {
  const extents = extentsOf(eqn);
  const known = new Map<Scalar<Concrete>, Factor | string>();
  const visit = (node: Scalar<Concrete>): Factor | string => {
    const before = known.get(node);
    if (before !== undefined) return before;
    const found = compute(node);
    known.set(node, found);
    return found;
  };
  /** What does not vary with the scale, or a refusal. */
  const fixed = (nodes: readonly Scalar<Concrete>[], op: string): Factor | string => {
    for (const node of nodes) {
      const factor = visit(node);
      if (factor !== null) return typeof factor === "string" ? factor : notLinear(name, op);
    }
    return null;
  };
  const same = (a: Scalar<Concrete>, b: Scalar<Concrete>): Factor | string => {
    const [left, right] = [visit(a), visit(b)];
    if (typeof left === "string" || typeof right === "string") return typeof left === "string" ? left : right;
    if (isZero(a)) return right;
    if (isZero(b)) return left;
    if (left === null && right === null) return null;
    if (left === null || right === null || left.power !== right.power || !agree(left, right))
      return `${name} adds what is scaled to what is scaled otherwise, or not`;
    return left;
  };
  const times = (left: Factor | string, right: Factor | string): Factor | string => {
    if (typeof left === "string" || left === null) return left ?? right;
    if (typeof right === "string" || right === null) return right ?? left;
    return left.power !== right.power && agree(left, right)
      ? null
      : `${name} multiplies two values that are scaled, and the scales do not cancel`;
  };
  const compute = (node: Scalar<Concrete>): Factor | string => {
    switch (node.kind) {
      case "constant":
      case "index":
      case "size":
        return null;
      case "load": {
        const inner = fixed(node.at, "index");
        const label = labels.get(node.tensor);
        if (inner !== null || label === undefined) return inner;
        const sizes = label.axes.map((axis) => graph.values[node.tensor]?.type.shape[axis] ?? 0);
        const found = channelsAt(node, label.axes, sizes, label.channels, extents);
        if (found === null) return `places are computed with in ${name}`;
        return found.channels.every((channel) => channel === noChannel) ? null : { ...found, power: label.power };
      }
      case "cast":
        return node.dtype === "f32" || node.dtype === "f16" ? visit(node.a) : fixed([node.a], "a conversion");
      case "unary":
        return node.op === "negate" || node.op === "abs" ? visit(node.a) : fixed([node.a], node.op);
      case "binary": {
        if (node.op === "multiply") return times(visit(node.a), visit(node.b));
        if (node.op === "divide") return times(visit(node.a), inverse(visit(node.b)));
        if (node.op === "add" || node.op === "subtract") return same(node.a, node.b);
        return fixed([node.a, node.b], node.op);
      }
      case "select": {
        const condition = fixed([node.condition], "select");
        return condition ?? same(node.then, node.otherwise);
      }
      case "reduce": {
        const around = [...node.over.flatMap(({ low, high }) => [low, high]), ...(node.score ? [node.score] : [])];
        const outer = fixed(around, node.score === null ? "a bound" : "softmax");
        if (outer !== null) return outer;
        if (!isSum(node.op)) return fixed([node.body], node.op);
        const factor = visit(node.body);
        if (factor === null || typeof factor === "string") return factor;
        return node.over.some(({ index }) => factor.indices.includes(index))
          ? `${name} sums over channels that are scaled`
          : factor;
      }
      default:
        return node satisfies never;
    }
  };
  return visit(eqn.body);
}

function inverse(factor: Factor | string): Factor | string {
  if (factor === null || typeof factor === "string") return factor;
  return { ...factor, power: factor.power === 1 ? -1 : 1 };
}

function notLinear(name: string, op: string): string {
  return `${name} takes \`${op}\` of what would be scaled: an activation, and only what is linear takes a scale`;
}

function isSum(op: string): boolean {
  return op === "sum" || op === "mean" || op === "softmax_mean";
}

function isZero(node: Scalar<Concrete>): boolean {
  return constantOf(node) === 0;
}

function holds(node: Scalar<Concrete>, load: Load<Concrete>): boolean {
  return scalarLoads(node).includes(load);
}

/** How many values each index takes from 0; none for one whose range is not known. */
function extentsOf(eqn: MapEqn): ReadonlyMap<IndexId, number> {
  const ranges = [...eqn.indices, ...scalarReductions(eqn.body).flatMap(({ over }) => over)];
  return new Map(
    ranges.flatMap(({ index, low, high }): [IndexId, number][] => {
      const [from, to] = [constantOf(low), constantOf(high)];
      return from === 0 && to !== null ? [[index, to]] : [];
    }),
  );
}

/** The ways of both together: one of each. */
function both(left: readonly Way[], right: readonly Way[]): readonly Way[] {
  const found: Way[] = [];
  for (const a of left)
    for (const b of right) {
      const inputs = new Map(a.inputs);
      const ties = [...a.ties, ...b.ties];
      let fits = true;
      for (const [value, label] of b.inputs) {
        const known = inputs.get(value);
        if (known === undefined) {
          inputs.set(value, label);
          continue;
        }
        if (known.axes[0] !== label.axes[0]) fits = false;
        // a place that both divide has one channel
        const channels = known.channels.map((channel, at) => {
          const other = label.channels[at] ?? noChannel;
          if (channel !== noChannel && other !== noChannel && channel !== other) ties.push([channel, other]);
          return channel === noChannel ? other : channel;
        });
        inputs.set(value, { ...known, channels });
      }
      if (fits && found.length < mostWays) found.push({ inputs, ties });
    }
  return found;
}

/** The first of the channels that are one with each. */
function classesOf(count: number, ties: readonly (readonly [number, number])[]): Int32Array {
  const parent = Int32Array.from({ length: count }, (_, at) => at);
  const root = (at: number): number => {
    while (parent[at] !== at) at = parent[at] = parent[parent[at]!]!;
    return at;
  };
  for (const [a, b] of ties) {
    const [x, y] = [root(a), root(b)];
    parent[Math.max(x, y)] = Math.min(x, y);
  }
  return Int32Array.from({ length: count }, (_, at) => root(at));
}

function renamed(channels: Int32Array, classes: Int32Array): Int32Array {
  return channels.map((channel) => (channel === noChannel ? noChannel : (classes[channel] ?? noChannel)));
}
