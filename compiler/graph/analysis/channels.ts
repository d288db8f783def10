/** Channels of the places of tensors, told by counting all places: what is read where, whatever the places are made of. */
import { elementCount } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import type { IndexId, Scalar } from "../graph.js";
import { freeIndices, type Load } from "../scalar.js";

/** The channel of each combination of some indices, the last index fastest; -1: none. */
export interface Channels {
  readonly indices: readonly IndexId[];
  readonly extents: readonly number[];
  readonly channels: Int32Array;
}

export const noChannel = -1;

/** The most combinations that are counted. */
const mostPlaces = 2 ** 24;

/**
 * The axes of a load whose places depend on the channels' indices, and the channel of each of their places; channels that
 * one place stands for are tied. Null where a place depends on other indices too.
 */
export function placesOf(
  load: Load<Concrete>,
  { indices, extents, channels }: Channels,
  shape: readonly number[],
): {
  readonly axes: readonly number[];
  readonly channels: Int32Array;
  readonly ties: readonly (readonly [number, number])[];
} | null {
  const axes: number[] = [];
  for (const [axis, at] of load.at.entries()) {
    const free = [...freeIndices(at)];
    if (!free.some((index) => indices.includes(index))) continue;
    if (!free.every((index) => indices.includes(index))) return null;
    axes.push(axis);
  }
  const sizes = axes.map((axis) => shape[axis] ?? 0);
  const count = elementCount(sizes);
  if (count > mostPlaces) return null;
  const places = axes.map((axis) => placeFunction(load.at[axis]!, indices));
  if (places.some((place) => place === null)) return null;
  const found = new Int32Array(count).fill(noChannel);
  const ties: (readonly [number, number])[] = [];
  const complete = eachCombination(extents, (values, at) => {
    const channel = channels[at] ?? noChannel;
    if (channel === noChannel) return true;
    const flat = flatPlace(places, sizes, values);
    if (flat === null) return false;
    const before = found[flat] ?? noChannel;
    if (before !== noChannel && before !== channel) ties.push([before, channel]);
    else found[flat] = channel;
    return true;
  });
  return complete ? { axes, channels: found, ties } : null;
}

/** The channel that a load reads, for each combination of the indices that it depends on; null where that is not known. */
export function channelsAt(
  load: Load<Concrete>,
  axes: readonly number[],
  sizes: readonly number[],
  channels: Int32Array,
  extentOf: ReadonlyMap<IndexId, number>,
): Channels | null {
  const indices = [...new Set(axes.flatMap((axis) => [...freeIndices(load.at[axis]!)]))];
  const extents = indices.map((index) => extentOf.get(index) ?? 0);
  const count = elementCount(extents);
  if (count === 0 || count > mostPlaces) return null;
  const places = axes.map((axis) => placeFunction(load.at[axis]!, indices));
  if (places.some((place) => place === null)) return null;
  const found = new Int32Array(count);
  const complete = eachCombination(extents, (values, at) => {
    const flat = flatPlace(places, sizes, values);
    if (flat === null) return false;
    found[at] = channels[flat] ?? noChannel;
    return true;
  });
  return complete ? { indices, extents, channels: found } : null;
}

/** Whether two agree at every combination of the indices of both. */
export function agree(left: Channels, right: Channels): boolean {
  const indices = [...new Set([...left.indices, ...right.indices])];
  const extents = indices.map((index) => {
    const own = left.indices.indexOf(index);
    return (own >= 0 ? left.extents[own] : right.extents[right.indices.indexOf(index)]) ?? 0;
  });
  if (elementCount(extents) > mostPlaces) return false;
  const [a, b] = [stridesIn(left, indices), stridesIn(right, indices)];
  return eachCombination(extents, (values) => left.channels[dot(a, values)] === right.channels[dot(b, values)]);
}

function stridesIn({ indices, extents }: Channels, all: readonly IndexId[]): readonly number[] {
  return all.map((index) => {
    const at = indices.indexOf(index);
    return at < 0 ? 0 : elementCount(extents.slice(at + 1));
  });
}

function dot(strides: readonly number[], values: readonly number[]): number {
  return strides.reduce((sum, stride, at) => sum + stride * (values[at] ?? 0), 0);
}

type Place = (values: readonly number[]) => number;

/** A place as a function of the values of indices; null for one that depends on more than these and numbers. */
function placeFunction(at: Scalar<Concrete>, indices: readonly IndexId[]): Place | null {
  if (at.kind === "constant") return () => at.value;
  if (at.kind === "size") return () => at.size;
  if (at.kind === "index") {
    const own = indices.indexOf(at.index);
    return own < 0 ? null : (values) => values[own] ?? 0;
  }
  if (at.kind !== "binary") return null;
  const [a, b] = [placeFunction(at.a, indices), placeFunction(at.b, indices)];
  if (a === null || b === null) return null;
  switch (at.op) {
    case "add":
      return (values) => a(values) + b(values);
    case "subtract":
      return (values) => a(values) - b(values);
    case "multiply":
      return (values) => a(values) * b(values);
    case "divide":
      return (values) => Math.trunc(a(values) / b(values));
    case "remainder":
      return (values) => a(values) % b(values);
    default:
      return null;
  }
}

/** The number of a place, the last axis fastest; null where it is out of range. */
function flatPlace(
  places: readonly (Place | null)[],
  sizes: readonly number[],
  values: readonly number[],
): number | null {
  let flat = 0;
  for (const [axis, place] of places.entries()) {
    const [at, size] = [place?.(values) ?? -1, sizes[axis] ?? 0];
    if (!(at >= 0 && at < size)) return null;
    flat = flat * size + at;
  }
  return flat;
}

/** Visits all combinations, the last fastest, until one says no; whether none did. */
function eachCombination(
  extents: readonly number[],
  visit: (values: readonly number[], at: number) => boolean,
): boolean {
  const values = extents.map(() => 0);
  const count = elementCount(extents);
  for (let at = 0; at < count; at++) {
    if (!visit(values, at)) return false;
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      values[axis] = (values[axis] ?? 0) + 1;
      if ((values[axis] ?? 0) < (extents[axis] ?? 0)) break;
      values[axis] = 0;
    }
  }
  return true;
}
