/**
 * A block is written for tokens that come one after another, with a cache of what those before have left. What else is
 * run of it is made of its graph here: whole sequences without a cache, and a cache in pages.
 */
import { InternalError } from "../../diagnostic.js";
import { multiplySizes, symbolSize, type Size } from "../../types/size.js";
import type { Symbolic } from "../../types/type.js";
import type { Eqn, Input, Scalar, SymbolicGraph, Value, ValueId } from "../graph.js";
import { binary, integer, load, sizeScalar, tensorType } from "../build.js";
import { mapEqnScalars } from "../eqn.js";
import { mapScalar, type Load } from "../scalar.js";
import { numbered, withSize } from "./numbered.js";

type Update = Extract<Eqn, { kind: "update" }>;

/** A state that a graph writes once, a part along one axis: `keys[b, positions[b] + t, g, h] = k[b, t, g, h]`. */
interface CacheWrite {
  readonly update: Update;
  /** What is written, with the axes of the state. */
  readonly source: ValueId;
  /** The one that is written in part. */
  readonly axis: number;
  /** The size parameter that is its length. */
  readonly length: string;
}

/** The states of a graph. @throws InternalError where one is not a cache */
function cachesOf(graph: SymbolicGraph): readonly CacheWrite[] {
  return graph.inputs
    .filter(({ mutable }) => mutable)
    .map(({ name, value }): CacheWrite => {
      const [update, ...others] = graph.eqns.filter((eqn) => eqn.kind === "update" && eqn.base === value) as Update[];
      const fault = (): InternalError =>
        new InternalError(
          `\`${name}\` of ${graph.name} is no cache, which is written once, at the places of the tokens`,
        );
      if (update === undefined || others.length > 0 || update.op !== "set" || update.body.kind !== "load")
        throw fault();
      const isOwn = (scalar: Scalar, axis: number): boolean =>
        scalar.kind === "index" && scalar.index === update.indices[axis]?.index;
      const parts = update.at.flatMap((at, axis) => (isOwn(at, axis) ? [] : [axis]));
      const [axis, ...more] = parts;
      if (axis === undefined || more.length > 0 || !update.body.at.every(isOwn)) throw fault();
      const length = soleSymbol(graph.values[value]?.type.shape[axis]);
      if (length === null) throw fault();
      return { update, source: update.body.tensor, axis, length };
    });
}

function soleSymbol(size: Size | undefined): string | null {
  const [term, ...rest] = size?.terms ?? [];
  const [atom, ...more] = term?.factors ?? [];
  if (term?.coefficient !== 1 || rest.length > 0 || more.length > 0 || atom?.kind !== "symbol") return null;
  return atom.name;
}

/**
 * The graph over whole sequences, which start at position 0: what is read of a cache is what was just written there.
 */
export function withoutCache(graph: SymbolicGraph, name: string): SymbolicGraph {
  const caches = cachesOf(graph);
  const written = new Map(caches.map(({ update, source }) => [update.out, source]));
  const kept = graph.eqns.filter((eqn) => !written.has(eqn.out));
  const whole: SymbolicGraph = {
    ...graph,
    name,
    inputs: graph.inputs.filter(({ mutable }) => !mutable),
    outputs: graph.outputs.filter(({ input }) => input === null),
    eqns: kept.map((eqn) => mapLoads(eqn, (node) => ({ ...node, tensor: written.get(node.tensor) ?? node.tensor }))),
  };
  const lengths = new Map(
    caches.map(({ length, source, axis }) => [length, graph.values[source]!.type.shape[axis]!] as const),
  );
  return numbered([...lengths].reduce((all, [length, tokens]) => withSize(all, length, tokens), whole));
}

/**
 * The graph with its caches [B, C, ...] in pages [POOL, PAGE, ...] that a table finds: c of row b is c % PAGE of page
 * pages[b, c / PAGE], or, where rows take turns among sequences (`shared`), of page pages[places[b], c / PAGE] by tables
 * `pages` [S, L] and `places` [B]. What would be in no page is left out, and reads as zero. POOL is the most pages that
 * there may be: tensors of fewer may be given, so that one program serves them while they grow.
 */
export function cacheInPages(graph: SymbolicGraph, name: string, shared: boolean): SymbolicGraph {
  const caches = cachesOf(graph);
  const [{ length, axis } = { length: "", axis: 0 }] = caches;
  if (caches.length === 0 || axis !== 1 || caches.some((cache) => cache.length !== length || cache.axis !== 1))
    throw new InternalError(`the caches of ${graph.name} are not all [sequences, places, ...]`);
  const [pool, page, count] = [symbolSize("POOL"), symbolSize("PAGE"), symbolSize("L")];
  const states = new Set(caches.flatMap(({ update }) => [update.base, update.out]));
  const rows = graph.values[caches[0]!.update.base]!.type.shape[0]!;
  const table = (at: number, name: string, shape: readonly Size[]): Value => ({
    id: graph.values.length + at,
    name,
    type: tensorType("i32", shape),
    span: null,
  });
  const pages = table(0, "pages", [shared ? symbolSize("S") : rows, count]);
  const places = shared ? table(1, "places", [rows]) : null;
  const tables = places === null ? [pages] : [pages, places];
  const inPages = ([row, place, ...rest]: readonly Scalar[]): readonly Scalar[] => [
    // which page it is, is data
    load(pages, [places === null ? row! : load(places, [row!]), binary("divide", place!, sizeScalar(page))], true),
    binary("remainder", place!, sizeScalar(page)),
    ...rest,
  ];
  const eqns = graph.eqns.map((eqn) => {
    const read = mapLoads(eqn, (node) =>
      states.has(node.tensor) ? { ...node, at: inPages(node.at), guarded: true } : node,
    );
    return read.kind === "update" && states.has(read.out) ? { ...read, at: inPages(read.at) } : read;
  });
  const last = graph.inputs.findLastIndex(({ mutable }) => mutable) + 1;
  const paged: SymbolicGraph = {
    ...graph,
    name,
    inputs: [
      ...graph.inputs
        .slice(0, last)
        .map((input): Input => (states.has(input.value) ? { ...input, open: true } : input)),
      ...tables.map(({ id, name }) => ({ value: id, name, mutable: false })),
      ...graph.inputs.slice(last),
    ],
    values: [
      ...graph.values.map((value) =>
        states.has(value.id)
          ? { ...value, type: { ...value.type, shape: [pool, page, ...value.type.shape.slice(2)] } }
          : value,
      ),
      ...tables,
    ],
    eqns,
    parameters: {
      ...graph.parameters,
      sizes: [...graph.parameters.sizes, "POOL", "PAGE", ...(shared ? ["S"] : []), "L"],
    },
  };
  return numbered(withSize(paged, length, multiplySizes(count, page)));
}

/**
 * The graph whose attention sees the last `window` tokens alone, a number that it is then given: a softmax mean over the
 * keys 0 .. min(last + 1, C) begins at last + 1 - window.
 */
export function withWindow(graph: SymbolicGraph, name: string): SymbolicGraph {
  const window: Value = { id: graph.values.length, name: "window", type: tensorType("i32", []), span: null };
  let found = 0;
  const narrowed = (node: Scalar): Scalar => {
    if (node.kind !== "reduce" || node.op !== "softmax_mean") return node;
    const [over, ...more] = node.over;
    const seen = over?.high.kind === "binary" && over.high.op === "min" ? over.high.a : null;
    if (over === undefined || seen === null || more.length > 0)
      throw new InternalError(`an attention of ${graph.name} is not over keys from the first to that of a token`);
    found += 1;
    const low = binary<Symbolic>("max", binary<Symbolic>("subtract", seen, load<Symbolic>(window)), integer(0));
    return { ...node, over: [{ ...over, low }] };
  };
  const eqns = graph.eqns.map((eqn) => mapEqnScalars(eqn, (scalar) => mapScalar(scalar, narrowed)));
  if (found === 0) throw new InternalError(`${graph.name} has no attention`);
  return numbered({
    ...graph,
    name,
    values: [...graph.values, window],
    inputs: [...graph.inputs, { value: window.id, name: window.name, mutable: false }],
    eqns,
  });
}

function mapLoads(eqn: Eqn, replace: (node: Load<Symbolic>) => Scalar): Eqn {
  return mapEqnScalars(eqn, (scalar) => mapScalar(scalar, (node) => (node.kind === "load" ? replace(node) : node)));
}
