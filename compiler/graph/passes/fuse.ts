/**
 * Fewer equations that do more: a map is put in the place of the loads from it, where that is no more work and changes
 * no order that storage depends on. Each inlining keeps every rounding, so `evaluate` gives the same bits.
 */
import { elementCount } from "../../types/shape.js";
import type { Concrete, TensorType } from "../../types/type.js";
import { binary, constant, integer, select } from "../build.js";
import {
  definedBy,
  eqnOperands,
  eqnScalars,
  freshIndices,
  mapBody,
  mapEqnScalars,
  removeDead,
  wholeOperands,
} from "../eqn.js";
import type { ScanEqn } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import { printScalar } from "../print.js";
import { intervalOf, isIdentity, withRanges } from "../analysis/ranges.js";
import type { Bounds } from "../analysis/ranges.js";
import {
  children,
  mapChildren,
  mapScalar,
  reduced,
  renumber,
  scalarKey,
  scalarLoads,
  scalarNodes,
  scalarReductions,
  substitute,
  treeSize,
} from "../scalar.js";
import type { Load, Reduce } from "../scalar.js";
import { sharing } from "./share.js";

/** A map, the only kind that is inlined. */
export type MapEqn = Extract<Eqn<Concrete>, { kind: "map" }>;
/** An equation with scalars, into which maps are inlined. */
export type ScalarEqn = Extract<Eqn<Concrete>, { kind: "map" | "update" }>;

export interface FuseOptions {
  /**
   * Whether a map with a reduction is computed again wherever the consumer loads it (a norm into a matrix-vector
   * product). Default: never.
   */
  readonly inlineReductions?: (producer: MapEqn, consumer: ScalarEqn) => boolean;
  /** Ops a map may have to be computed more than once for each of its elements. Default 4. */
  readonly cheapOps?: number;
  /** Nodes an equation may grow to, shared ones counted at each use. Default 400. */
  readonly maxNodes?: number;
  /** Tensors an equation may grow to read. Default: any number. */
  readonly maxTensors?: number;
}

/** What decides whether a map is inlined. */
interface Limits extends Required<FuseOptions> {
  /** The intervals of the indices around the equations: that of a scan's steps. */
  readonly outer: Bounds;
  /** Whether the equations are those of a scan's step. */
  readonly step: boolean;
}

/**
 * The graph with maps inlined, and without the equations this makes useless. Equal subtrees of an equation are one
 * object. Nothing is moved into the body of a scan, where it would be computed at each step. In a step a map is inlined
 * only into another, only if nothing is computed again, and not if it reduces: what a row has one of stays a tensor.
 */
export function fuse(graph: ConcreteGraph, options: FuseOptions = {}): ConcreteGraph {
  const limits: Limits = {
    inlineReductions: options.inlineReductions ?? (() => false),
    cheapOps: options.cheapOps ?? 4,
    maxNodes: options.maxNodes ?? 400,
    maxTensors: options.maxTensors ?? Infinity,
    outer: new Map(),
    step: false,
  };
  const fresh = freshIndices(graph);
  const eqns = fuseEqns(graph, new Set(graph.outputs.map((output) => output.value)), limits, fresh);
  return removeDead({
    ...graph,
    eqns: eqns.map((eqn) => shareEqn(mapBody(eqn, (_, scan) => fuseStep(graph, scan, limits, fresh)))),
  });
}

function fuseStep(
  graph: ConcreteGraph,
  scan: ScanEqn<Concrete>,
  limits: Limits,
  fresh: () => IndexId,
): readonly Eqn<Concrete>[] {
  const inside: Limits = {
    ...limits,
    inlineReductions: () => false,
    outer: withRanges(limits.outer, [scan.range]),
    step: true,
  };
  return fuseEqns(
    { ...graph, eqns: scan.body, outputs: [] },
    new Set(scan.states.map((state) => state.after)),
    inside,
    fresh,
  );
}

/** The graph's equations with maps inlined, but for the values that are needed whole after them. */
function fuseEqns(
  graph: ConcreteGraph,
  outputs: ReadonlySet<ValueId>,
  limits: Limits,
  fresh: () => IndexId,
): readonly Eqn<Concrete>[] {
  let before: readonly Eqn<Concrete>[] = [];
  let eqns = graph.eqns;
  // A map that its consumer had better load may be inlined once that consumer is in another, which needs less of it: to
  // the end of that. Each round but the last has an equation less.
  while (eqns.length !== before.length) {
    before = eqns;
    eqns = fuseOnce({ ...graph, eqns }, outputs, limits, fresh);
  }
  return eqns;
}

function fuseOnce(
  graph: ConcreteGraph,
  outputs: ReadonlySet<ValueId>,
  limits: Limits,
  fresh: () => IndexId,
): readonly Eqn<Concrete>[] {
  let eqns = graph.eqns;
  // in order, so that a chain a -> b -> c ends up in c: when b is looked at, it holds a already
  for (const { out } of graph.eqns) {
    const position = eqns.findIndex((eqn) => eqn.out === out);
    const producer = eqns[position];
    if (producer?.kind !== "map" || outputs.has(out)) continue;
    const inlined = inlineEverywhere({ ...graph, eqns }, producer, position, limits, fresh);
    if (inlined !== null) eqns = inlined;
  }
  return eqns;
}

function shareEqn(eqn: Eqn<Concrete>): Eqn<Concrete> {
  if (eqn.kind === "scan") return { ...eqn, body: eqn.body.map(shareEqn) };
  return mapEqnScalars(eqn, sharing<Concrete>());
}

/**
 * The equations with the producer in the place of all loads from it and without itself, or null where one of its
 * consumers had better load it.
 */
function inlineEverywhere(
  graph: ConcreteGraph,
  producer: MapEqn,
  position: number,
  options: Limits,
  fresh: () => IndexId,
): Eqn<Concrete>[] | null {
  const type = graph.values[producer.out]?.type;
  if (type === undefined || graph.eqns.some((eqn) => wholeOperands(eqn).includes(producer.out))) return null;
  const consumers = graph.eqns.filter(
    (eqn): eqn is ScalarEqn => (eqn.kind === "map" || eqn.kind === "update") && sitesOf(eqn, producer.out).length > 0,
  );
  if (consumers.length === 0) return null;
  const replaced = new Map<Eqn<Concrete>, Eqn<Concrete>>();
  for (const consumer of consumers) {
    if (!isWorthwhile(producer, consumer, consumers.length === 1, type, options)) return null;
    const fused = inline(producer, consumer, type, options.outer, fresh);
    const size = eqnScalars(fused).reduce((sum, scalar) => sum + treeSize(scalar, options.maxNodes + 1), 0);
    if (
      size > options.maxNodes ||
      tensorCount(graph, fused) > options.maxTensors ||
      !keepsOrder(graph, producer, position, consumer, fused)
    )
      return null;
    replaced.set(consumer, fused);
  }
  return graph.eqns.filter((eqn) => eqn !== producer).map((eqn) => replaced.get(eqn) ?? eqn);
}

/** Tensors that an equation reads; scalars of the run are none. */
function tensorCount(graph: ConcreteGraph, eqn: Eqn<Concrete>): number {
  return [...eqnOperands(eqn)].filter((id) => (graph.values[id]?.type.shape.length ?? 0) > 0).length;
}

/** A load from the producer, with how many times an equation computes it. */
interface Site {
  readonly load: Load<Concrete>;
  readonly times: number;
}

/** The loads of an equation from a tensor; those of the same element once. */
function sitesOf(eqn: ScalarEqn, tensor: ValueId, outer: Bounds = new Map()): readonly Site[] {
  const found = new Map<string, Site>();
  const visit = (node: Scalar<Concrete>, bounds: Bounds, times: number): void => {
    if (node.kind === "load" && node.tensor === tensor) {
      const key = scalarKey(node);
      const known = found.get(key);
      if (known === undefined || known.times < times) found.set(key, { load: node, times });
    }
    if (node.kind !== "reduce") {
      for (const child of children(node)) visit(child, bounds, times);
      return;
    }
    for (const range of node.over) for (const bound of [range.low, range.high]) visit(bound, bounds, times);
    const inner = withRanges(bounds, node.over);
    for (const each of reduced(node)) visit(each, inner, times * lengthOf(node.over, bounds));
  };
  const bounds = withRanges(outer, eqn.indices);
  for (const scalar of eqnScalars(eqn))
    if (scalarLoads(scalar).some((load) => load.tensor === tensor)) visit(scalar, bounds, lengthOf(eqn.indices, outer));
  return [...found.values()];
}

/** Upper bound of how many values the indices of ranges take together. */
function lengthOf(ranges: readonly Range<Concrete>[], outer: Bounds): number {
  let length = 1;
  let bounds = outer;
  for (const range of ranges) {
    const [low, high] = [intervalOf(range.low, bounds), intervalOf(range.high, bounds)];
    length *= Math.max(high.high - Math.max(low.low, 0), 0);
    bounds = withRanges(bounds, [range]);
  }
  return length;
}

/** Ops that take a device many cycles. */
const transcendental: ReadonlySet<string> = new Set(["exp", "log", "sin", "cos", "tanh", "power"]);

function isWorthwhile(
  producer: MapEqn,
  consumer: ScalarEqn,
  only: boolean,
  type: TensorType<Concrete>,
  options: Limits,
): boolean {
  const sites = sitesOf(consumer, producer.out, options.outer);
  if (options.step && consumer.kind !== "map") return false;
  if (scalarReductions(producer.body).length > 0) {
    if (options.step) return false;
    return isEpilogue(producer, consumer, sites, only) || options.inlineReductions(producer, consumer);
  }
  const nodes = scalarNodes(producer.body);
  const ops = nodes.filter((node) => ["unary", "binary", "select", "cast"].includes(node.kind));
  const times = sites.reduce((sum, site) => sum + site.times, 0);
  const elements = elementCount(type.shape);
  if (only && times <= elements) return true;
  if (options.step) return false;
  return (
    ops.length <= options.cheapOps &&
    !(times > elements && ops.some((node) => "op" in node && transcendental.has(node.op)))
  );
}

/**
 * Whether a reduction's only consumer is a map that goes on, outside of reductions, with exactly the element it has,
 * and
 * reduces over nothing else itself; or an update that adds it element by element.
 */
function isEpilogue(producer: MapEqn, consumer: ScalarEqn, sites: readonly Site[], only: boolean): boolean {
  if (!only || !sites.every((site) => isIdentity(site.load.at, consumer.indices))) return false;
  if (consumer.kind === "update" && (consumer.op !== "add" || !isIdentity(consumer.at, consumer.indices))) return false;
  if (
    scalarReductions(consumer.body).some((reduce) => scalarLoads(reduce).some((load) => load.tensor === producer.out))
  )
    return false;
  const shapes = new Set([...scalarReductions(producer.body), ...scalarReductions(consumer.body)].map(rangesKey));
  return scalarReductions(consumer.body).length === 0 || shapes.size === 1;
}

/** A text that reductions over the same ranges share. */
function rangesKey(reduce: Reduce<Concrete>): string {
  return reduce.over.map((range) => `${printScalar(range.low)}..${printScalar(range.high)}`).join(", ");
}

/**
 * The consumer with the producer's element in the place of each load from it; zero where a guarded load is out of
 * range.
 */
function inline(
  producer: MapEqn,
  consumer: ScalarEqn,
  type: TensorType<Concrete>,
  outer: Bounds,
  fresh: () => IndexId,
): ScalarEqn {
  const bodies = new Map<string, Scalar<Concrete>>();
  const element = (load: Load<Concrete>, bounds: Bounds): Scalar<Concrete> => {
    const outside = load.guarded ? load.at.flatMap((at, axis) => outOfRange(at, type.shape[axis] ?? 0, bounds)) : [];
    const key = [...load.at, ...outside].map((each) => scalarKey(each)).join(";");
    const known = bodies.get(key);
    if (known !== undefined) return known;
    const own = renumber(producer.body, fresh);
    const body = substitute(
      own,
      new Map(producer.indices.map((range, axis) => [range.index, load.at[axis] ?? integer(0)])),
    );
    const condition = outside.reduce<Scalar<Concrete> | null>(
      (all, each) => (all === null ? each : binary("and", all, each)),
      null,
    );
    // a device may compute the side that is not chosen, so what it loads must be guarded
    const result = condition === null ? body : select(condition, guardLoads(body), constant(0, type.dtype));
    bodies.set(key, result);
    return result;
  };
  const visitor = (bounds: Bounds): ((node: Scalar<Concrete>) => Scalar<Concrete>) => {
    const visit = (node: Scalar<Concrete>): Scalar<Concrete> => {
      const inner = node.kind === "reduce" ? visitor(withRanges(bounds, node.over)) : visit;
      const mapped = mapChildren(node, inner);
      return mapped.kind === "load" && mapped.tensor === producer.out ? element(mapped, bounds) : mapped;
    };
    return visit;
  };
  return mapEqnScalars(consumer, visitor(withRanges(outer, consumer.indices))) as ScalarEqn;
}

/** The conditions under which an index is in range, none for ends that are proven. */
function outOfRange(at: Scalar<Concrete>, extent: number, bounds: Bounds): readonly Scalar<Concrete>[] {
  const { low, high } = intervalOf(at, bounds);
  return [
    ...(low < 0 ? [binary("greater_equal", at, integer(0))] : []),
    ...(high >= extent ? [binary("less", at, integer(extent))] : []),
  ];
}

function guardLoads(body: Scalar<Concrete>): Scalar<Concrete> {
  return mapScalar(body, (node) =>
    node.kind === "load" && !node.guarded && node.at.length > 0 ? { ...node, guarded: true } : node,
  );
}

/**
 * Whether the loads of the producer may happen where the consumer stands: no equation between them replaces what they
 * load from in its storage (an update, or the final state of a mutable input); and if the consumer itself does, it
 * loads only the element that it writes.
 */
function keepsOrder(
  graph: ConcreteGraph,
  producer: MapEqn,
  position: number,
  consumer: ScalarEqn,
  fused: ScalarEqn,
): boolean {
  const loaded = new Set(eqnScalars(producer).flatMap((scalar) => scalarLoads(scalar).map((load) => load.tensor)));
  const until = graph.eqns.indexOf(consumer);
  for (const eqn of graph.eqns.slice(position + 1, until))
    if (replacedBy(graph, eqn).some((id) => loaded.has(id))) return false;
  const written = replacedBy(graph, consumer).filter((id) => loaded.has(id));
  if (written.length === 0) return true;
  const here = fused.kind === "update" ? fused.at : null;
  return eqnScalars(fused).every((scalar) =>
    scalarLoads(scalar).every(
      (load) =>
        !written.includes(load.tensor) ||
        (here === null
          ? isIdentity(load.at, fused.indices)
          : load.at.every((at, axis) => here[axis] !== undefined && scalarKey(at) === scalarKey(here[axis]))),
    ),
  );
}

/** The values whose storage an equation writes over. */
function replacedBy(graph: ConcreteGraph, eqn: Eqn<Concrete>): readonly ValueId[] {
  const states = graph.outputs
    .filter((output) => definedBy(eqn).includes(output.value) && output.input !== null)
    .map((output) => output.input as ValueId);
  if (eqn.kind === "scan") return [...eqn.states.map((state) => state.initial), ...states];
  return eqn.kind === "update" ? [eqn.base, ...states] : states;
}
