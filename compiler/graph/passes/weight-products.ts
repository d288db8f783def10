/** The products of a graph with its weights: what each receives, and that rounded to integers. */
import { InternalError } from "../../diagnostic.js";
import { sameDtype, type DtypeRef } from "../../types/dtype.js";
import { constantSize, substituteSize, symbolSize, type Size } from "../../types/size.js";
import type { Symbolic } from "../../types/type.js";
import { tensorType } from "../build.js";
import { freshIndices, mapEqnScalars, removeDead, renameValues } from "../eqn.js";
import type { Eqn, Range, Scalar, SymbolicGraph, Value, ValueId } from "../graph.js";
import { boundIndices, dtypeOf, mapScalar, scalarReductions, withoutCasts, type Load, type Reduce } from "../scalar.js";
import { numbered, sizedEqn, sizedType } from "./numbered.js";

type MapEqn = Extract<Eqn, { kind: "map" }>;

/** A sum over k of x[..., k] * w[n, k], with w an input of the graph. */
interface WeightProduct {
  readonly eqn: MapEqn;
  readonly reduce: Reduce<Symbolic>;
  /** The input that is the weight. */
  readonly weight: string;
  /** The other factor. */
  readonly left: Scalar;
  /** What of it is read. */
  readonly read: Load<Symbolic>;
}

/** The products with weights, in order. */
function productsOf(graph: SymbolicGraph): readonly WeightProduct[] {
  const weights = new Map(
    graph.inputs
      .filter(({ value, mutable }) => !mutable && graph.values[value]?.type.shape.length === 2)
      .map(({ value, name }) => [value, name]),
  );
  return graph.eqns.flatMap((eqn) =>
    eqn.kind !== "map"
      ? []
      : [...new Set(scalarReductions(eqn.body))].flatMap((reduce): readonly WeightProduct[] => {
          const [over, ...more] = reduce.over;
          if (reduce.op !== "sum" || over === undefined || more.length > 0) return [];
          if (reduce.body.kind !== "binary" || reduce.body.op !== "multiply") return [];
          for (const [left, right] of [
            [reduce.body.a, reduce.body.b],
            [reduce.body.b, reduce.body.a],
          ] as const) {
            const [w, read] = [widened(right), widened(left)];
            if (w.kind !== "load" || read.kind !== "load") continue;
            const weight = weights.get(w.tensor);
            if (weight === undefined || !endsIn(w, over) || !endsIn(read, over)) continue;
            return [{ eqn, reduce, weight, left, read }];
          }
          return [];
        }),
  );
}

/** What is converted to f32, which holds every value of f16 and so of a dtype parameter. */
function widened(scalar: Scalar): Scalar {
  const inner = withoutCasts(scalar);
  return inner.kind === "cast" && inner.dtype === "f32" && typeof dtypeOf(inner.a) !== "string"
    ? widened(inner.a)
    : inner;
}

function endsIn(load: Load<Symbolic>, { index }: Range): boolean {
  const last = load.at.at(-1);
  return last?.kind === "index" && last.index === index;
}

/** A tensor that products with weights read. */
export interface Received {
  /** The output of the graph that it is. */
  readonly name: string;
  /** The inputs of the graph that are the weights. */
  readonly weights: readonly string[];
}

/** What the weights of a graph receive, in the order of the products. */
export function receivedOf(graph: SymbolicGraph): readonly Received[] {
  return [...byTensor(graph).values()].map(receivedBy);
}

function receivedBy(weights: readonly string[]): Received {
  return { name: `received by ${weights[0] ?? ""}`, weights };
}

/** Weights by the tensor that their products read. */
function byTensor(graph: SymbolicGraph): ReadonlyMap<ValueId, readonly string[]> {
  const found = new Map<ValueId, readonly string[]>();
  for (const { weight, read } of productsOf(graph)) {
    const known = found.get(read.tensor) ?? [];
    if (!known.includes(weight)) found.set(read.tensor, [...known, weight]);
  }
  return found;
}

/** The graph with what its weights receive as outputs of their own, before its own results or instead of them. */
export function withReceived(graph: SymbolicGraph, name: string, result: boolean): SymbolicGraph {
  const outputs = [...byTensor(graph)].map(([value, weights]) => {
    if (graph.inputs.some((input) => input.value === value))
      throw new InternalError(`${weights[0] ?? ""} of ${graph.name} receives what the function is given`);
    return { name: receivedBy(weights).name, value, input: null };
  });
  return removeDead({ ...graph, name, outputs: [...outputs, ...(result ? graph.outputs : [])] });
}

/** A function of x [B, T, K], and maybe of a number `scale` and a size `group`. */
export interface Rounding {
  readonly graph: SymbolicGraph;
  /** What the size is; null: a size parameter of the graph, too. */
  readonly group: number | null;
  /** The input, f32, that the graph gets for the number; null for a function that takes none. */
  readonly scale: string | null;
}

/**
 * The graph whose products with weights take what they read as `roundingOf` says for a weight; null: as it is. A group
 * that is not said becomes a size parameter of the graph.
 */
export function withRoundedProducts(
  graph: SymbolicGraph,
  roundingOf: (weight: string) => Rounding | null,
  name: string,
): SymbolicGraph {
  const products = productsOf(graph);
  const values: Value[] = [...graph.values];
  const scales = new Map<string, Value>();
  const scaleOf = (name: string): Value => {
    const value = scales.get(name) ?? { id: values.length, name, type: tensorType("f32", []), span: null };
    if (!scales.has(name)) values.push(value);
    scales.set(name, value);
    return value;
  };
  const constraints = [...graph.constraints];
  const fresh = freshIndices(graph);
  const eqns: Eqn[] = [];
  let needsGroup = false;
  for (const eqn of graph.eqns) {
    const own = products.flatMap((product) => {
      const rounding = product.eqn === eqn ? roundingOf(product.weight) : null;
      return rounding === null ? [] : [{ ...product, rounding, key: keyOf(product.read.tensor, rounding) }];
    });
    const rounded = new Map<string, Value>();
    for (const { read, rounding, key } of own) {
      if (rounded.has(key)) continue;
      needsGroup ||= rounding.group === null && rounding.graph.parameters.sizes.includes("group");
      const scale = rounding.scale === null ? null : scaleOf(rounding.scale);
      const call = inlined(rounding, graph.values[read.tensor]!, scale, values, fresh);
      eqns.push(...call.eqns);
      for (const each of call.constraints)
        if (!constraints.some((known) => JSON.stringify({ ...known, span: null }) === JSON.stringify(each)))
          constraints.push(each);
      rounded.set(key, call.result);
    }
    const lefts = new Map(own.map(({ left, read, key }) => [left, { read, by: rounded.get(key)! }]));
    eqns.push(
      lefts.size === 0
        ? eqn
        : mapEqnScalars(eqn, (scalar) =>
            mapScalar(scalar, (node) => {
              const found = lefts.get(node);
              return found === undefined ? node : { ...found.read, tensor: found.by.id, dtype: found.by.type.dtype };
            }),
          ),
    );
  }
  const inputs = [...scales].map(([name, { id }]) => ({ value: id, name, mutable: false }));
  const { parameters } = graph;
  const sizes = !needsGroup || parameters.sizes.includes("group") ? parameters.sizes : [...parameters.sizes, "group"];
  return numbered({
    ...graph,
    name,
    values,
    inputs: [...graph.inputs, ...inputs],
    eqns,
    constraints,
    parameters: { ...parameters, sizes },
  });
}

function keyOf(tensor: ValueId, { graph, group, scale }: Rounding): string {
  return `${tensor} ${graph.name} ${group} ${scale}`;
}

/** A function of one tensor, and of a number where `scale` is one, put in, with fresh values and indices. */
function inlined(
  { graph: callee, group }: Rounding,
  x: Value,
  scale: Value | null,
  values: Value[],
  fresh: () => number,
): { readonly eqns: readonly Eqn[]; readonly result: Value; readonly constraints: SymbolicGraph["constraints"] } {
  const [input, number, ...more] = callee.inputs;
  const given = input === undefined ? undefined : callee.values[input.value];
  if (given === undefined || more.length > 0 || (number?.name === "scale") !== (scale !== null))
    throw new InternalError(`${callee.name} is no function of one tensor${scale === null ? "" : " and a scale"}`);
  if (callee.outputs.length !== 1) throw new InternalError(`${callee.name} gives more than one tensor`);
  const sizes = new Map<string, Size>([["group", group === null ? symbolSize("group") : constantSize(group)]]);
  given.type.shape.forEach((size, axis) => {
    const [atom] = size.terms[0]?.factors ?? [];
    if (atom?.kind === "symbol") sizes.set(atom.name, x.type.shape[axis]!);
  });
  const size = (old: Size): Size => substituteSize(old, (symbol) => sizes.get(symbol) ?? null);
  const dtype = (old: DtypeRef): DtypeRef => (sameDtype(old, given.type.dtype) ? x.type.dtype : old);
  const ids = new Map<ValueId, ValueId>([[given.id, x.id]]);
  if (number !== undefined && scale !== null) ids.set(number.value, scale.id);
  const last = callee.outputs[0]!.value;
  for (const value of callee.values) {
    if (ids.has(value.id)) continue;
    ids.set(value.id, values.length);
    const type = sizedType(value.type, size);
    values.push({
      ...value,
      id: values.length,
      name: value.id === last ? "q" : value.name,
      type: { ...type, dtype: dtype(type.dtype) },
    });
  }
  return {
    eqns: callee.eqns.map((eqn) => {
      const sized = renameValues(sizedEqn(eqn, size), (id) => ids.get(id) ?? id);
      if (sized.kind !== "map") return sized;
      const own = sized.indices.map(({ index }) => index);
      const names = new Map([...own, ...boundIndices(sized.body)].map((index) => [index, fresh()]));
      const named = <T extends { readonly index: number }>(each: T): T => ({ ...each, index: names.get(each.index)! });
      const body = mapScalar(sized.body, (node): Scalar => {
        if (node.kind === "index") return named(node);
        const typed = "dtype" in node ? { ...node, dtype: dtype(node.dtype) } : node;
        return typed.kind === "reduce" ? { ...typed, over: typed.over.map(named) } : typed;
      });
      return { ...sized, indices: sized.indices.map(named), body };
    }),
    result: values[ids.get(last)!]!,
    constraints: callee.constraints.map((each) => ({
      ...each,
      left: size(each.left),
      right: size(each.right),
      span: null,
    })),
  };
}
