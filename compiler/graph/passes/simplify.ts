/** The graph made smaller without a change of its meaning. Rewrites are in `rules.ts`, `index-rules.ts` and below. */
import type { Concrete } from "../../types/type.js";
import { mapBody, mapEqnScalars, mapOperands, removeDead } from "../eqn.js";
import type { ConcreteGraph, Eqn, Range, Scalar, ValueId } from "../graph.js";
import { indexRules } from "./index-rules.js";
import { printType } from "../print.js";
import { isIdentity, withRanges } from "../analysis/ranges.js";
import type { Bounds } from "../analysis/ranges.js";
import { scalarRules } from "./rules.js";
import type { Facts, ScalarRule } from "./rules.js";
import { mapChildren, mapList, mapRange, mapReduced, scalarKey } from "../scalar.js";
import { sharing } from "./share.js";

/** A rewrite of a whole graph; the graph itself where it does not apply. */
export interface GraphRule {
  readonly name: string;
  readonly rewrite: (graph: ConcreteGraph) => ConcreteGraph;
}

/** All rewrites of scalars, in the order in which they are tried at each node. */
export const allScalarRules: readonly ScalarRule[] = [...scalarRules, ...indexRules];

export const graphRules: readonly GraphRule[] = [
  // y = map i: f(i), z = map i: f(i)  =>  z is y
  { name: "common-equations", rewrite: mergeEquals },
  // y = map i: x[i]  =>  y is x
  { name: "copies", rewrite: removeCopies },
  // an equation that no output needs
  { name: "dead-equations", rewrite: removeDead },
];

/** More rounds than any chain of rewrites has needed; stopping early is right too, only less simple. */
const maxRounds = 8;

/** The graph after all rewrites, again and again until none applies. */
export function simplify(graph: ConcreteGraph): ConcreteGraph {
  let current = graph;
  for (let round = 0; round < maxRounds; round += 1) {
    const next = graphRules.reduce((each, rule) => rule.rewrite(each), simplifyScalars(current, allScalarRules));
    if (next === current) break;
    current = next;
  }
  return current;
}

/**
 * The graph with its scalars rewritten by the rules given; itself where none applies. Equal subtrees of an equation are
 * one object afterwards.
 */
export function simplifyScalars(graph: ConcreteGraph, rules: readonly ScalarRule[]): ConcreteGraph {
  const shape = (tensor: ValueId): readonly number[] => graph.values[tensor]?.type.shape ?? [];
  const simplifyEqn = (eqn: Eqn<Concrete>, outer: Bounds): Eqn<Concrete> => {
    if (eqn.kind === "scan")
      return mapBody(eqn, (body) => mapList(body, (each) => simplifyEqn(each, withRanges(outer, [eqn.range]))));
    if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
    const bounds = withRanges(outer, eqn.indices);
    const share = sharing<Concrete>();
    return mapEqnScalars(eqn, (scalar) => share(rewriteScalar(share(scalar), { bounds, shape }, rules)));
  };
  const eqns = mapList(graph.eqns, (eqn) => simplifyEqn(eqn, new Map()));
  return eqns === graph.eqns ? graph : { ...graph, eqns };
}

/** A scalar after the rules, from the leaves up; the first that applies at a node, until none does. */
export function rewriteScalar(scalar: Scalar<Concrete>, facts: Facts, rules: readonly ScalarRule[]): Scalar<Concrete> {
  const inScope = (bounds: Bounds): ((node: Scalar<Concrete>) => Scalar<Concrete>) => {
    const here: Facts = { ...facts, bounds };
    const done = new Map<Scalar<Concrete>, Scalar<Concrete>>();
    const visit = (node: Scalar<Concrete>): Scalar<Concrete> => {
      const known = done.get(node);
      if (known !== undefined) return known;
      const result = settle(node.kind === "reduce" ? reduce(node) : mapChildren(node, visit));
      done.set(node, result);
      done.set(result, result);
      return result;
    };
    const reduce = (node: Extract<Scalar<Concrete>, { kind: "reduce" }>): Scalar<Concrete> => {
      const over: Range<Concrete>[] = [];
      let inner = bounds;
      let rewrite = visit;
      for (const range of node.over) {
        const next = mapRange(range, rewrite);
        over.push(next);
        inner = withRanges(inner, [next]);
        rewrite = inScope(inner);
      }
      return mapReduced(node, over.every((range, at) => range === node.over[at]) ? node.over : over, rewrite);
    };
    const settle = (node: Scalar<Concrete>): Scalar<Concrete> => {
      for (const rule of rules) {
        const next = rule.rewrite(node, here);
        // what a rule makes may have new operands that are not simple yet
        if (next !== null) return visit(next);
      }
      return node;
    };
    return visit;
  };
  return inScope(facts.bounds)(scalar);
}

/** The values whose storage may be written over later: reading them instead of another value could cost a copy. */
function writtenOver(graph: ConcreteGraph): ReadonlySet<ValueId> {
  const mutable = graph.inputs.filter((input) => input.mutable).map((input) => input.value);
  return new Set([
    ...mutable,
    ...graph.eqns.flatMap((eqn) =>
      eqn.kind === "update" ? [eqn.base] : eqn.kind === "scan" ? eqn.states.map((state) => state.initial) : [],
    ),
  ]);
}

function outputsOf(graph: ConcreteGraph): ReadonlySet<ValueId> {
  return new Set(graph.outputs.map((output) => output.value));
}

function mergeEquals(graph: ConcreteGraph): ConcreteGraph {
  const unstable = writtenOver(graph);
  const outputs = outputsOf(graph);
  const first = new Map<string, ValueId>();
  const same = new Map<ValueId, ValueId>();
  for (const eqn of graph.eqns) {
    const key = eqnKey(
      graph,
      mapOperands(eqn, (id) => same.get(id) ?? id),
    );
    if (key === null || unstable.has(eqn.out)) continue;
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, eqn.out);
    else if (!outputs.has(eqn.out)) same.set(eqn.out, earlier);
  }
  return replaceValues(graph, same);
}

/** A text that equations with the same result share; null for updates and scans, each of which has its own storage. */
function eqnKey(graph: ConcreteGraph, eqn: Eqn<Concrete>): string | null {
  const type = graph.values[eqn.out]?.type;
  if (type === undefined) return null;
  switch (eqn.kind) {
    case "map":
      return `map ${printType(type)} ${scalarKey(eqn.body, new Map(eqn.indices.map((range, axis) => [range.index, `i${axis}`])))}`;
    case "update":
    case "scan":
      return null;
    case "factorize":
      return `${eqn.op} ${eqn.source}`;
    case "top":
      return `top ${eqn.score} ${eqn.n} ${eqn.m} ${eqn.axis}`;
    case "pack":
      return `pack ${eqn.source} ${eqn.scale} ${eqn.zero} ${JSON.stringify(type.format)}`;
    case "plus":
      return `plus ${eqn.packed} ${eqn.left} ${eqn.right}`;
    default:
      return eqn satisfies never;
  }
}

function removeCopies(graph: ConcreteGraph): ConcreteGraph {
  const unstable = writtenOver(graph);
  const outputs = outputsOf(graph);
  const same = new Map<ValueId, ValueId>();
  for (const eqn of graph.eqns) {
    if (eqn.kind !== "map" || eqn.body.kind !== "load" || !isIdentity(eqn.body.at, eqn.indices)) continue;
    const source = same.get(eqn.body.tensor) ?? eqn.body.tensor;
    if (outputs.has(eqn.out) || unstable.has(eqn.out) || unstable.has(source)) continue;
    const [from, to] = [graph.values[source]?.type, graph.values[eqn.out]?.type];
    // a copy of a packed tensor is a decoded one: whoever reads it often should not decode it each time
    if (from?.format === null && to !== undefined && printType({ ...from, pattern: to.pattern }) === printType(to))
      same.set(eqn.out, source);
  }
  return replaceValues(graph, same);
}

/**
 * The graph with every use of some values replaced by others; the equations that defined them stay, for
 * `dead-equations`.
 */
function replaceValues(graph: ConcreteGraph, same: ReadonlyMap<ValueId, ValueId>): ConcreteGraph {
  const eqns = mapList(graph.eqns, (eqn) => mapOperands(eqn, (id) => same.get(id) ?? id));
  return eqns === graph.eqns ? graph : { ...graph, eqns };
}
