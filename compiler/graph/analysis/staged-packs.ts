/** Packs that their readers compute for themselves: activations that a product of integers rounds as it begins. */
import { formatOfSpec } from "../../formats/registry.js";
import { InternalError } from "../../diagnostic.js";
import { isPowerOfTwo } from "../../types/shape.js";
import type { Concrete, FormatSpec } from "../../types/type.js";
import { eqnOperands, freshIndices } from "../eqn.js";
import { binary, integer } from "../build.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import type { ReduceOp } from "../ops.js";
import {
  boundIndices,
  constantOf,
  freeIndices,
  innermostFirst,
  mapScalar,
  renumber,
  scalarKey,
  scalarLoads,
  scalarReductions,
  substitute,
  unorderedKey,
  type Reduce,
} from "../scalar.js";
import type { StorageMap } from "../storage.js";
import { intervalsOf, type Bounds } from "./ranges.js";

type S = Scalar<Concrete>;
type PackEqn = Extract<Eqn<Concrete>, { kind: "pack" }>;
type MapEqn = Extract<Eqn<Concrete>, { kind: "map" }>;

/** A pack as scalars: what it rounds, and by which scales. */
export interface StagedPack {
  readonly spec: FormatSpec;
  /** Columns that share a scale: a power of two, at least 4. */
  readonly group: number;
  /** The indices of an element: those of its row, and its column. */
  readonly row: readonly IndexId[];
  readonly column: IndexId;
  /** The element, f32. */
  readonly value: S;
  /** The index of a group in its row, and the group's scale, f32. */
  readonly groupIndex: IndexId;
  readonly scale: S;
  /** Intervals of these indices and of those that the scalars bind. */
  readonly bounds: Bounds;
  /** Reductions of both that a row has one of; innermost first. */
  readonly ofRow: readonly Reduce<Concrete>[];
  /** Reductions of the scale over the columns of its group, in order. */
  readonly ofGroup: readonly GroupReduce[];
  /** Equations that need not be computed where every reader does this: the pack, its scale, its source. */
  readonly instead: readonly ValueId[];
}

/** Reductions that the lanes of a group compute together. */
const inGroups: ReadonlySet<ReduceOp> = new Set(["sum", "max", "min", "count"]);

/** A reduction over the columns of a group. */
export interface GroupReduce {
  readonly reduce: Reduce<Concrete>;
  /** What it reduces, of the element in column `StagedPack.column`; null where that is not a matter of a column alone. */
  readonly ofColumn: S | null;
}

/** Staged packs by what they define. */
export type StagedPacks = ReadonlyMap<ValueId, StagedPack>;

/**
 * The packs of a graph that all readers can compute for themselves, by what they define. `reads` says of an equation
 * that has a packed operand whether it can.
 */
export function stagedPacks(
  graph: ConcreteGraph,
  storage: StorageMap,
  reads: (eqn: Eqn<Concrete>) => boolean,
): StagedPacks {
  const packs = new Map<ValueId, StagedPack>();
  const fresh = freshIndices(graph);
  for (const eqn of graph.eqns) {
    if (eqn.kind !== "pack" || eqn.scale === null || eqn.zero !== null) continue;
    const readers = graph.eqns.filter((other) => eqnOperands(other).has(eqn.out));
    if (readers.length === 0 || !readers.every(reads) || isOutput(graph, eqn.out)) continue;
    const staged = stagedPack(graph, eqn, fresh);
    if (staged !== null && staysAsItWas(graph, storage, staged)) packs.set(eqn.out, staged);
  }
  return packs;
}

function stagedPack(graph: ConcreteGraph, eqn: PackEqn, fresh: () => IndexId): StagedPack | null {
  const { type } = graph.values[eqn.out]!;
  const [spec, columns] = [type.format, type.shape.at(-1) ?? 0];
  const grid = spec === null ? null : formatOfSpec(spec).grid(spec);
  if (spec === null || grid === null || grid.group === "channel" || spec.of !== null) return null;
  const { group } = grid;
  if (grid.bits !== 8 || !grid.symmetric || grid.scale !== "f32" || grid.shift !== 0) return null;
  if (group < 4 || !isPowerOfTwo(group) || columns % group !== 0) return null;

  const sole = (id: ValueId, readers: readonly ValueId[]): MapEqn | null => {
    const made = graph.eqns.find((other) => other.out === id);
    const others = graph.eqns.filter((other) => !readers.includes(other.out) && eqnOperands(other).has(id));
    return made?.kind === "map" && others.length === 0 && !isOutput(graph, id) ? made : null;
  };
  const scaleEqn = sole(eqn.scale!, [eqn.out]);
  if (scaleEqn === null) return null;
  const source = sole(eqn.source, [eqn.out, scaleEqn.out]);
  // a product, say, is not computed again in every workgroup
  const perColumn = source?.indices.at(-1)?.index;
  const sourceEqn =
    source === null || scalarReductions(source.body).some((reduce) => freeIndices(reduce).has(perColumn ?? -1))
      ? null
      : source;

  const row = type.shape.slice(0, -1).map(fresh);
  const [column, groupIndex] = [fresh(), fresh()];
  const index = (id: IndexId): S => ({
    kind: "index",
    index: id,
    name: id === column ? "k" : id === groupIndex ? "g" : "row",
  });
  const sourceAt = (at: readonly S[]): S => {
    if (sourceEqn === null) return { kind: "load", tensor: eqn.source, at, guarded: false, dtype: "f32" };
    return substitute(
      renumber(sourceEqn.body, fresh),
      new Map(sourceEqn.indices.map((range, axis) => [range.index, at[axis]!])),
    );
  };
  const value = sourceAt([...row, column].map(index));
  const ranges = sourceEqn === null ? [] : sourceEqn.indices;
  // indices that do not begin at 0 are not those of the element
  if ([...ranges, ...scaleEqn.indices].some((range) => constantOf(range.low) !== 0)) return null;
  const scale = mapScalar(
    substitute(
      renumber(scaleEqn.body, fresh),
      new Map(scaleEqn.indices.map((range, axis) => [range.index, index([...row, groupIndex][axis]!)])),
    ),
    (node) => (node.kind === "load" && node.tensor === eqn.source ? sourceAt(node.at) : node),
  );

  const rowIndices = new Set(row);
  const sorted = (scalar: S): readonly Reduce<Concrete>[] => innermostFirst(scalarReductions(scalar));
  const isOfRow = (reduce: Reduce<Concrete>): boolean => [...freeIndices(reduce)].every((free) => rowIndices.has(free));
  const ofRow = [
    ...new Map([...sorted(value), ...sorted(scale)].filter(isOfRow).map((each) => [scalarKey(each), each])).values(),
  ];
  if (scalarReductions(value).some((reduce) => !isOfRow(reduce))) return null;
  const overGroups = sorted(scale).filter((reduce) => !isOfRow(reduce));
  const isOfGroup = (reduce: Reduce<Concrete>): boolean => {
    const [range, ...more] = reduce.over;
    return (
      inGroups.has(reduce.op) &&
      range !== undefined &&
      more.length === 0 &&
      constantOf(range.low) === 0 &&
      constantOf(range.high) === group &&
      scalarReductions(reduce.body).every((inner) => isOfRow(inner)) &&
      // of each of several groups, reduced further: there is no group that it is of
      [...freeIndices(reduce)].every((free) => free === groupIndex || rowIndices.has(free))
    );
  };
  if (!overGroups.every(isOfGroup) || boundIndices(value).has(column)) return null;
  /** What is reduced over a group's columns with those, `g * group + j`, as columns of the row. */
  const ofColumn = ({ over, body }: Reduce<Concrete>): S | null => {
    const { index: inside, name } = over[0]!;
    const first = binary("multiply", index(groupIndex), integer(group));
    const key = unorderedKey(binary("add", first, { kind: "index", index: inside, name }));
    const made = mapScalar(body, (node) =>
      node.kind === "binary" && unorderedKey(node) === key ? index(column) : node,
    );
    const free = freeIndices(made);
    return free.has(inside) || free.has(groupIndex) ? null : made;
  };
  const ofGroup = overGroups.map((reduce) => ({ reduce, ofColumn: ofColumn(reduce) }));
  const instead = [eqn.out, scaleEqn.out, ...(sourceEqn === null ? [] : [sourceEqn.out])];
  const range = (id: IndexId, size: number): Range<Concrete> => ({
    index: id,
    name: "k",
    low: integer(0),
    high: integer(size),
  });
  const rows = row.map((id, axis) => range(id, type.shape[axis]!));
  const bounds = intervalsOf(
    [
      { kind: "map", out: eqn.source, indices: [...rows, range(column, columns)], body: value },
      { kind: "map", out: eqn.scale!, indices: [...rows, range(groupIndex, columns / group)], body: scale },
    ],
    new Map(),
  );
  return { spec, group, row, column, value, groupIndex, scale, bounds, ofRow, ofGroup, instead };
}

/** Whether what a pack is computed from is the same later: nothing takes its storage over. */
function staysAsItWas(graph: ConcreteGraph, storage: StorageMap, { value, scale }: StagedPack): boolean {
  const written = new Set(
    graph.eqns.flatMap((eqn) => (eqn.kind === "update" || eqn.kind === "scan" ? [nameOf(storage, eqn.out)] : [])),
  );
  return [value, scale].every((scalar) =>
    scalarLoads(scalar).every((load) => !written.has(nameOf(storage, load.tensor))),
  );
}

function nameOf(storage: StorageMap, id: ValueId): unknown {
  const found = storage[id];
  if (found === undefined) throw new InternalError(`value ${id} has no storage`);
  return found === null ? null : found.name;
}

function isOutput(graph: ConcreteGraph, id: ValueId): boolean {
  return graph.outputs.some((output) => output.value === id);
}
