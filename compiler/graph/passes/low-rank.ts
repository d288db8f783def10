/** Tensors with a correction of low rank, w = packed + a b, as the three that they are. */
import { correctedSpec, isCorrected, rankOf } from "../../formats/lowrank/meaning.js";
import { formatOfSpec, shapeOf } from "../../formats/registry.js";
import { sectionOf } from "../../formats/layout.js";
import { sliceSpec } from "../../formats/slice/meaning.js";
import type { Concrete, FormatSpec } from "../../types/type.js";
import { full } from "../../types/type.js";
import { binary, indexOf, load, range, reduce } from "../build.js";
import { freshIndices, mapBody, mapEqnScalars } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Input, Range, Scalar, Value, ValueId } from "../graph.js";
import { constantOf, freeIndices, mapChildren, scalarLoads, substitute, type Load, type Reduce } from "../scalar.js";

type S = Scalar<Concrete>;

/** The three tensors that a corrected one is: packed [N, K], left [N, rank], right [rank, K]. */
interface Parts {
  readonly packed: Value<Concrete>;
  readonly left: Value<Concrete>;
  readonly right: Value<Concrete>;
  readonly rank: number;
}

/**
 * The graph in which nothing is read that has a correction of low rank, but its parts: inputs beside the input, in its
 * storage, or what an equation `plus` has joined. A product with it, sum[k] x[k] * w[n, k], becomes three:
 * sum[k] x[k] * packed[n, k] + sum[r] z[r] * left[n, r], with z[r] = sum[k] x[k] * right[r, k]. Everywhere else an element
 * is packed[n, k] + sum[r] left[n, r] * right[r, k].
 */
export function splitLowRank(graph: ConcreteGraph): ConcreteGraph {
  const hasCorrection = (value: Value<Concrete> | undefined): boolean => isCorrected(value?.type.format ?? null);
  if (!graph.values.some(hasCorrection)) return graph;
  const values: Value<Concrete>[] = [...graph.values];
  const inputs: Input[] = [...graph.inputs];
  const parts = new Map<ValueId, Parts>();
  const define = (name: string, shape: readonly number[], format: FormatSpec | null): Value<Concrete> => {
    const value: Value<Concrete> = {
      id: values.length,
      name,
      span: null,
      type: { dtype: "f32", shape, pattern: full, format },
    };
    values.push(value);
    return value;
  };
  for (const { value: id } of graph.inputs) {
    const { name, type } = graph.values[id]!;
    const spec = type.format;
    if (spec === null || !isCorrected(spec)) continue;
    const rank = rankOf(spec);
    const [rows, columns] = [type.shape[0] ?? 1, type.shape[1] ?? 1];
    const layout = formatOfSpec(spec).sections(spec, shapeOf(type.shape));
    const part = (hint: string, shape: readonly number[], format: FormatSpec): Value<Concrete> => {
      const made = define(`${name}_${hint}`, shape, format);
      inputs.push({ value: made.id, name: `${name} ${hint}`, mutable: false, part: id });
      return made;
    };
    parts.set(id, {
      packed: part("packed", type.shape, correctedSpec(spec)),
      left: part("left", [rows, rank], sliceSpec(sectionOf(layout, "left").offset)),
      right: part("right", [rank, columns], sliceSpec(sectionOf(layout, "right").offset)),
      rank,
    });
  }
  const fresh = freshIndices(graph);
  const split = (eqn: Eqn<Concrete>): readonly Eqn<Concrete>[] => {
    if (eqn.kind === "plus") {
      const [packed, left, right] = [eqn.packed, eqn.left, eqn.right].map((id) => values[id]!) as [
        Value<Concrete>,
        Value<Concrete>,
        Value<Concrete>,
      ];
      parts.set(eqn.out, { packed, left, right, rank: right.type.shape[0] ?? 1 });
      return [eqn];
    }
    if (eqn.kind === "scan") return [mapBody(eqn, (body) => body.map((each) => split(each).at(-1)!))];
    if (eqn.kind !== "map" && eqn.kind !== "update") return [eqn];
    const before: Eqn<Concrete>[] = [];
    const rewriter = { parts, fresh, define, values, before, own: graph.eqns.includes(eqn) ? eqn.indices : [] };
    const rewritten = mapEqnScalars(eqn, (scalar) => rewrite(scalar, rewriter));
    return [...before, rewritten];
  };
  const eqns = graph.eqns.flatMap(split);
  return { ...graph, values, inputs, eqns };
}

interface Rewriter {
  readonly parts: ReadonlyMap<ValueId, Parts>;
  readonly fresh: () => IndexId;
  readonly define: (name: string, shape: readonly number[], format: FormatSpec | null) => Value<Concrete>;
  readonly values: readonly Value<Concrete>[];
  /** Equations that are to stand before the one that is rewritten. */
  readonly before: Eqn<Concrete>[];
  /** The indices of that equation; none where no equation can stand before it. */
  readonly own: readonly Range<Concrete>[];
}

function rewrite(scalar: S, rewriter: Rewriter): S {
  const done = new Map<S, S>();
  const visit = (node: S): S => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const found =
      (node.kind === "reduce" ? product(node, rewriter) : null) ?? element(mapChildren(node, visit), rewriter);
    done.set(node, found);
    return found;
  };
  return visit(scalar);
}

/** w[n, k] = packed[n, k] + sum[r] left[n, r] * right[r, k] */
function element(node: S, { parts, fresh }: Rewriter): S {
  const own = node.kind === "load" ? parts.get(node.tensor) : undefined;
  if (node.kind !== "load" || own === undefined) return node;
  const { packed, left, right, rank } = own;
  const [row, column] = node.at as [S, S];
  const r = range(fresh(), "r", 0, rank);
  const correction = binary(
    "multiply",
    load(left, [row, indexOf(r)], node.guarded),
    load(right, [indexOf(r), column], node.guarded),
  );
  return binary("add", { ...node, tensor: packed.id }, reduce("sum", [r], correction));
}

/** sum[k] x * w as the sum of that with the packed weight and of two small products; null where it is no such sum. */
function product(node: Reduce<Concrete>, rewriter: Rewriter): S | null {
  const { parts, own, fresh, before, define } = rewriter;
  const [over, ...others] = node.over;
  if (node.op !== "sum" || over === undefined || others.length > 0) return null;
  const factors = factorsOf(node.body);
  const corrected = factors.filter(
    (factor): factor is Load<Concrete> => factor.kind === "load" && parts.has(factor.tensor),
  );
  const rest = factors.filter((factor) => !corrected.includes(factor as Load<Concrete>));
  const [w, ...more] = corrected;
  if (w === undefined || more.length > 0 || rest.length === 0) return null;
  if (rest.some((factor) => scalarLoads(factor).some(({ tensor }) => parts.has(tensor)))) return null;
  const [row, column] = w.at as [S, S];
  const isK = (at: S): boolean => at.kind === "index" && at.index === over.index;
  // along a row, as in y = x w^T, or along a column, as in its gradient
  const along = isK(column) && !freeIndices(row).has(over.index) ? "row" : null;
  const direction = along ?? (isK(row) && !freeIndices(column).has(over.index) ? "column" : null);
  if (direction === null) return null;
  const outside = direction === "row" ? row : column;
  const inner = new Set([over.low, over.high, ...rest].flatMap((factor) => [...freeIndices(factor)]));
  inner.delete(over.index);
  const needed = new Set([...inner, ...freeIndices(outside)]);
  const whole = own.every(({ low, high }) => constantOf(low) === 0 && constantOf(high) !== null);
  const known = new Set(own.map(({ index }) => index));
  if (!whole || own.length === 0 || [...needed].some((index) => !known.has(index))) return null;
  // where what is summed differs for each element, there is no sum to share
  if (own.every(({ index }) => inner.has(index))) return null;

  const { packed, left, right, rank } = parts.get(w.tensor)!;
  const axes = (indices: ReadonlySet<IndexId>): readonly Range<Concrete>[] =>
    own.filter(({ index }) => indices.has(index));
  const sizes = (ranges: readonly Range<Concrete>[]): readonly number[] =>
    ranges.map(({ high }) => constantOf(high) ?? 1);
  /** An equation of its own, with indices of its own, put before the one that is rewritten. */
  const hoisted = (
    hint: string,
    ranges: readonly Range<Concrete>[],
    sum: Range<Concrete>,
    body: S,
  ): Value<Concrete> => {
    const renamed = new Map([...ranges, sum].map((each) => [each.index, { ...each, index: fresh() }]));
    const indexes = new Map([...renamed].map(([old, each]) => [old, indexOf<Concrete>(each)]));
    const value = define(`${packed.name}_${hint}`, sizes(ranges), null);
    const summed = renamed.get(sum.index)!;
    const bounds = { ...summed, low: substitute(sum.low, indexes), high: substitute(sum.high, indexes) };
    before.push({
      kind: "map",
      out: value.id,
      indices: ranges.map(({ index }) => renamed.get(index)!),
      body: reduce("sum", [bounds], substitute(body, indexes)),
    });
    return value;
  };
  const r = range(fresh(), "r", 0, rank);
  const inside =
    direction === "row" ? load(right, [indexOf(r), column], w.guarded) : load(left, [row, indexOf(r)], w.guarded);
  const small = hoisted("inner", [...axes(inner), r], over, multiplied([...rest, inside]));
  const zAt = [...axes(inner), r].map((each) => indexOf(each));
  const there =
    direction === "row" ? load(left, [row, indexOf(r)], w.guarded) : load(right, [indexOf(r), column], w.guarded);
  const correction = hoisted("correction", axes(needed), r, binary("multiply", load(small, zAt), there));
  const main = substituteFactor(node, w, { ...w, tensor: packed.id });
  return binary(
    "add",
    main,
    load(
      correction,
      axes(needed).map((each) => indexOf(each)),
    ),
  );
}

function factorsOf(scalar: S): readonly S[] {
  if (scalar.kind === "binary" && scalar.op === "multiply") return [...factorsOf(scalar.a), ...factorsOf(scalar.b)];
  return [scalar];
}

function multiplied(factors: readonly S[]): S {
  return factors.reduce((all, factor) => binary("multiply", all, factor));
}

/** The sum with one factor in another's place. */
function substituteFactor(node: Reduce<Concrete>, from: S, to: S): S {
  const within = (scalar: S): S =>
    scalar === from
      ? to
      : scalar.kind === "binary" && scalar.op === "multiply"
        ? { ...scalar, a: within(scalar.a), b: within(scalar.b) }
        : scalar;
  return { ...node, body: within(node.body) };
}
