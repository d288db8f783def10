/**
 * That parts of an axis may be taken out of a graph: the graph with the smaller sizes, given what is left of the weights,
 * is the graph with the weights of those parts zeroed in the sum that the axis ends in.
 *
 * Every element of what has parts is named by its part and its rank in it. If each equation reads, for an element of a
 * part, elements of that part alone whose ranks depend on its own rank and nothing else, and nothing that is common
 * depends on the part, at the sizes before and at the sizes after, then the parts do not see each other, nor how many
 * they are; and the sum adds, for each part, products with elements of the weight, which are zero where those are.
 */
import type { IndexId, Range, Scalar, SymbolicGraph, ValueId } from "../graph.js";
import { elementCount } from "../../types/shape.js";
import { sizeSymbols } from "../../types/size.js";
import { children, freeIndices, scalarNodes } from "../scalar.js";
import { eqnOperands } from "../eqn.js";
import { indexFunction, isIndexExpression, sizeAt, type Sizes } from "./index-values.js";
import {
  allRanges,
  lengthOf,
  readingOf,
  removableParts,
  unflatten,
  type RemovableParts,
  type Unremovable,
} from "./removable-parts.js";

/** What is to be taken out of the weights of a graph. */
export interface Removal {
  readonly before: RemovableParts;
  readonly after: RemovableParts;
}

/** For each row (axis 0) or column (axis 1) that a weight has after, the one that it was. */
export interface Selection {
  readonly parameter: string;
  readonly axis: number;
  readonly from: Int32Array;
}

/** Proves that the parts of a weight's columns may be taken out, from the sizes `before` to `after`. */
export function removal(graph: SymbolicGraph, weight: string, before: Sizes, after: Sizes): Removal | Unremovable {
  const old = removableParts(graph, weight, before);
  if ("because" in old) return old;
  const now = removableParts(graph, weight, after, old);
  if ("because" in now) return now;
  const changed = new Set(graph.parameters.sizes.filter((symbol) => before[symbol] !== after[symbol]));
  const [first, second] = [dependencies(old, changed), dependencies(now, changed)];
  if ("because" in first) return first;
  if ("because" in second) return second;
  for (const [key, { value, name }] of first.found)
    if (second.found.get(key)?.value !== value) return { because: `\`${name}\` depends on how many parts there are` };
  if (first.found.size !== second.found.size)
    return { because: "what is computed depends on how many parts there are" };
  return { before: old, after: now };
}

/** What is left of each weight when of the parts those of these numbers, in order, are kept. */
export function selections({ before, after }: Removal, kept: readonly number[]): readonly Selection[] {
  if (kept.length !== after.count) throw new RangeError(`${kept.length} parts are kept, not ${after.count}`);
  return before.graph.inputs.flatMap(({ value, name }): readonly Selection[] => {
    const [old, now] = [before.values.get(value), after.values.get(value)];
    const [axis, ...more] = old?.axes ?? [];
    if (old === undefined || now === undefined || axis === undefined) return [];
    if (more.length > 0) throw new RangeError(`${name} has parts along two axes`);
    const perPart = old.parts.length / before.count;
    const places = new Int32Array(old.parts.length);
    old.parts.forEach((part, at) => (places[part * perPart + old.ranks[at]!] = at));
    const from = now.parts.map((part, at) => places[kept[part]! * perPart + now.ranks[at]!]!);
    return [{ parameter: name, axis, from }];
  });
}

interface Dependencies {
  /** What each reading is at each rank, with the name of the value that reads. */
  readonly found: ReadonlyMap<string, { readonly value: number; readonly name: string }>;
}

/** What the equations read by rank; why not, where it depends on the part. */
function dependencies(axis: RemovableParts, changed: ReadonlySet<string>): Dependencies | Unremovable {
  const { graph, sizes, values, sum } = axis;
  const found = new Map<string, { value: number; name: string }>();
  const nameOf = (id: ValueId): string => graph.values[id]?.name ?? "";
  const grows = (id: ValueId): readonly number[] =>
    graph.values[id]!.type.shape.flatMap((size, at) =>
      [...sizeSymbols(size)].some((symbol) => changed.has(symbol)) ? [at] : [],
    );
  for (const { id } of graph.values) {
    const own = values.get(id)?.axes ?? [];
    if (own.length > 0 ? grows(id).some((at) => !own.includes(at)) : grows(id).length > 0)
      return { because: `\`${nameOf(id)}\` becomes smaller, and is read by all parts` };
  }
  for (const input of graph.inputs) {
    const own = values.get(input.value);
    if (own === undefined) continue;
    const { shape } = graph.values[input.value]!.type;
    if (own.axes.length > 1 || own.lengths[0] !== sizeAt(shape[own.axes[0]!]!, sizes))
      return { because: `\`${input.name}\` has it along more than one axis` };
  }
  for (const { value } of graph.outputs)
    if (values.has(value)) return { because: `\`${nameOf(value)}\`, a result, has it` };
  for (const [nth, eqn] of graph.eqns.entries()) {
    const name = nameOf(eqn.out);
    if (eqn.kind !== "map") {
      if ([...eqnOperands(eqn), eqn.out].some((id) => values.has(id)))
        return { because: `\`${name}\` is computed otherwise than element by element` };
      continue;
    }
    const isSum = eqn === sum.eqn;
    const own = isSum ? values.get(sum.load.tensor) : values.get(eqn.out);
    const ranges = allRanges(eqn);
    const carried = isSum ? [sum.over] : (own?.axes ?? []).map((at) => eqn.indices[at]!);
    const problem = walk(eqn.body, { nth, name, own, ranges, carried, isSum });
    if (problem !== null) return problem;
  }
  return { found };

  interface Place {
    readonly nth: number;
    readonly name: string;
    readonly own: ReturnType<typeof values.get>;
    readonly ranges: readonly Range[];
    readonly carried: readonly Range[];
    readonly isSum: boolean;
  }
  function walk(body: Scalar, place: Place): Unremovable | null {
    const { nth, name, own, ranges, carried, isSum } = place;
    let number = 0;
    const note = (key: string, value: number): boolean => {
      const full = `${nth} ${number} ${key}`;
      const known = found.get(full);
      if (known === undefined) found.set(full, { value, name });
      return known === undefined || known.value === value;
    };
    const dependsOnPart = { because: `\`${name}\` depends on which part it is` };
    const visit = (node: Scalar): Unremovable | null => {
      number += 1;
      if (isIndexExpression(node)) return plain(node);
      if (node.kind === "load") {
        if (node === sum.load) return null;
        const of = values.get(node.tensor);
        if (of === undefined) return first(node.at, visit);
        const reading = readingOf(node, ranges, carried, sizes);
        if (reading === null || "because" in reading || own === undefined || reading.axes.join() !== of.axes.join())
          return { because: `\`${nameOf(node.tensor)}\` is read by \`${name}\`, which is not of the same part` };
        let same = true;
        reading.each(of.lengths, (entry, element, others) => {
          same &&= of.parts[entry] === own.parts[element] && note(`${own.ranks[element]} ${others}`, of.ranks[entry]!);
        });
        if (!same) return dependsOnPart;
        return first(
          node.at.filter((_, at) => !of.axes.includes(at)),
          visit,
        );
      }
      if (node.kind === "reduce" && isSum && node === sum.reduce) return visit(node.body);
      return first(children(node), visit);
    };
    /** An integer that is computed of indices and sizes. */
    const plain = (node: Scalar): Unremovable | null => {
      const free = freeIndices(node);
      const isOwn = carried.some(({ index }) => free.has(index));
      const isSized = scalarNodes(node).some(
        (each) => each.kind === "size" && [...sizeSymbols(each.size)].some((symbol) => changed.has(symbol)),
      );
      if (!isOwn && !isSized) return null;
      const value = indexFunction(node, sizes);
      const others = ranges.filter(({ index }) => free.has(index) && !carried.some((each) => each.index === index));
      const indices = [...(isOwn ? carried : []), ...others];
      const lengths = indices.map((range) => lengthOf(range, sizes)).filter((each) => each !== null);
      if (value === null || lengths.length < indices.length) return dependsOnPart;
      const at = new Map<IndexId, number>();
      const perElement = elementCount(lengths.slice(isOwn ? carried.length : 0));
      for (let flat = 0; flat < elementCount(lengths); flat++) {
        unflatten(flat, lengths).forEach((each, nthIndex) => at.set(indices[nthIndex]!.index, each));
        const rank = isOwn ? own?.ranks[Math.floor(flat / perElement)] : "all";
        if (!note(`${rank} ${flat % perElement}`, value(at))) return dependsOnPart;
      }
      return null;
    };
    return visit(body);
  }
}

function first(nodes: readonly Scalar[], visit: (node: Scalar) => Unremovable | null): Unremovable | null {
  for (const node of nodes) {
    const found = visit(node);
    if (found !== null) return found;
  }
  return null;
}
