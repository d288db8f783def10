/** Helpers over equations and whole graphs, for passes. */
import type { Level, Pattern } from "../types/type.js";
import type { Eqn, Graph, IndexId, Range, Scalar, Value, ValueId } from "./graph.js";
import { indexOf, integer } from "./build.js";
import { boundIndices, mapList, mapScalar, renumber, scalarLoads, substitute } from "./scalar.js";

/** A scan, alone. */
export type ScanEqn<L extends Level> = Extract<Eqn<L>, { kind: "scan" }>;

/** The values that the equations after this one see: the last states of a scan, else `out`. */
export function definedBy<L extends Level>(eqn: Eqn<L>): readonly ValueId[] {
  return eqn.kind === "scan" ? eqn.states.map((state) => state.out) : [eqn.out];
}

/** The values that belong to the body of a scan alone: states at the start of a step, and what its equations define. */
export function scanLocals<L extends Level>(scan: ScanEqn<L>): readonly ValueId[] {
  return [...scan.states.map((state) => state.before), ...scan.body.flatMap(definedBy)];
}

/** The values that belong to an adjoint of one's own alone: what stands for the adjoint, and what its body defines. */
export function adjointLocals<L extends Level>(eqn: Eqn<L>): readonly ValueId[] {
  if (eqn.kind !== "map" || eqn.adjoint === undefined) return [];
  const { seed, body } = eqn.adjoint;
  return [seed, ...body.flatMap((each) => [...definedBy(each), ...adjointLocals(each)])];
}

/** The graph with the adjoints that are derived, and no others: for all that takes no gradients of it. */
export function withoutAdjoints<L extends Level>(graph: Graph<L>): Graph<L> {
  const eqns = mapList(graph.eqns, (eqn) => {
    if (eqn.kind !== "map" || eqn.adjoint === undefined) return eqn;
    const { adjoint: _adjoint, ...plain } = eqn;
    return plain;
  });
  return eqns === graph.eqns ? graph : removeDead({ ...graph, eqns });
}

/** Equations with those of the bodies of scans, each body after its scan. */
export function allEqns<L extends Level>(eqns: readonly Eqn<L>[]): readonly Eqn<L>[] {
  return eqns.flatMap((eqn) => (eqn.kind === "scan" ? [eqn, ...allEqns(eqn.body)] : [eqn]));
}

/** The equation with the body of a scan replaced; any other, and one whose body does not change, as it is. */
export function mapBody<L extends Level>(
  eqn: Eqn<L>,
  replace: (body: readonly Eqn<L>[], scan: ScanEqn<L>) => readonly Eqn<L>[],
): Eqn<L> {
  if (eqn.kind !== "scan") return eqn;
  const body = replace(eqn.body, eqn);
  return body === eqn.body ? eqn : { ...eqn, body };
}

/**
 * The scalars of an equation: body, indices written to, and bounds; of a scan also those of its body; none for top,
 * factor and pack.
 */
export function eqnScalars<L extends Level>(eqn: Eqn<L>): readonly Scalar<L>[] {
  switch (eqn.kind) {
    case "map":
      return [...bounds(eqn.indices), eqn.body];
    case "update":
      return [...bounds(eqn.indices), ...eqn.at, eqn.body];
    case "scan":
      return [...bounds([eqn.range]), ...eqn.body.flatMap(eqnScalars)];
    case "top":
    case "factorize":
    case "pack":
    case "plus":
      return [];
    default:
      return eqn satisfies never;
  }
}

function bounds<L extends Level>(ranges: readonly Range<L>[]): readonly Scalar<L>[] {
  return ranges.flatMap((range) => [range.low, range.high]);
}

/**
 * The equation with its scalars (not the bounds of its own ranges, which no tensor decides) replaced, in a scan those
 * of its body; itself where none changes.
 */
export function mapEqnScalars<L extends Level>(eqn: Eqn<L>, replace: (scalar: Scalar<L>) => Scalar<L>): Eqn<L> {
  switch (eqn.kind) {
    case "map": {
      const body = replace(eqn.body);
      return body === eqn.body ? eqn : { ...eqn, body };
    }
    case "update": {
      const at = eqn.at.map(replace);
      const body = replace(eqn.body);
      return body === eqn.body && at.every((scalar, axis) => scalar === eqn.at[axis]) ? eqn : { ...eqn, at, body };
    }
    case "scan":
      return mapBody(eqn, (body) => mapList(body, (each) => mapEqnScalars(each, replace)));
    case "top":
    case "factorize":
    case "pack":
    case "plus":
      return eqn;
    default:
      return eqn satisfies never;
  }
}

/**
 * The tensors that an equation needs whole: base of an update, score of a top, operands of a factor and a pack; of a
 * scan all that it reads.
 */
export function wholeOperands<L extends Level>(eqn: Eqn<L>): readonly ValueId[] {
  switch (eqn.kind) {
    case "map":
      return [];
    case "update":
      return [eqn.base];
    case "top":
      return [eqn.score];
    case "scan":
      return [...eqnOperands(eqn)];
    case "factorize":
      return [eqn.source];
    case "pack":
      return [eqn.source, eqn.scale, eqn.zero].filter((id) => id !== null);
    case "plus":
      return [eqn.packed, eqn.left, eqn.right];
    default:
      return eqn satisfies never;
  }
}

/** The tensors that an equation reads; of a scan those from outside of it. */
export function eqnOperands<L extends Level>(eqn: Eqn<L>): ReadonlySet<ValueId> {
  if (eqn.kind === "scan") {
    const local = new Set(scanLocals(eqn));
    const read = [
      ...eqn.states.map((state) => state.initial),
      ...eqn.body.flatMap((each) => [...eqnOperands(each)]),
      ...eqn.states.map((state) => state.after),
    ];
    return new Set(read.filter((id) => !local.has(id)));
  }
  return new Set([
    ...wholeOperands(eqn),
    ...eqnScalars(eqn).flatMap((scalar) => scalarLoads(scalar).map((load) => load.tensor)),
    ...adjointOperands(eqn),
  ]);
}

/** What an adjoint of one's own reads, and what it is of. */
function adjointOperands<L extends Level>(eqn: Eqn<L>): readonly ValueId[] {
  if (eqn.kind !== "map" || eqn.adjoint === undefined) return [];
  const { body, gradients } = eqn.adjoint;
  const local = new Set([eqn.out, ...adjointLocals(eqn)]);
  const read = [
    ...body.flatMap((each) => [...eqnOperands(each)]),
    ...gradients.flatMap(({ by, value }) => [by, value]),
  ];
  return read.filter((id) => !local.has(id));
}

/** The equation with the tensors it reads replaced, also within the body of a scan; itself where none changes. */
export function mapOperands<L extends Level>(eqn: Eqn<L>, replace: (id: ValueId) => ValueId): Eqn<L> {
  const orNull = (id: ValueId | null): ValueId | null => (id === null ? null : replace(id));
  if (eqn.kind === "scan") {
    const body = mapList(eqn.body, (each) => mapOperands(each, replace));
    const states = mapList(eqn.states, (state) =>
      replace(state.initial) === state.initial && replace(state.after) === state.after
        ? state
        : { ...state, initial: replace(state.initial), after: replace(state.after) },
    );
    return body === eqn.body && states === eqn.states ? eqn : { ...eqn, body, states };
  }
  const mapped = mapEqnScalars(eqn, (scalar) =>
    mapScalar(scalar, (node) =>
      node.kind === "load" && replace(node.tensor) !== node.tensor ? { ...node, tensor: replace(node.tensor) } : node,
    ),
  );
  if (mapped.kind === "scan") return mapped;
  if (mapped.kind !== "map" && wholeOperands(mapped).every((id) => replace(id) === id)) return mapped;
  switch (mapped.kind) {
    case "map":
      return withOperands(mapped, replace);
    case "update":
      return { ...mapped, base: replace(mapped.base) };
    case "top":
      return { ...mapped, score: replace(mapped.score) };
    case "factorize":
      return { ...mapped, source: replace(mapped.source) };
    case "pack":
      return { ...mapped, source: replace(mapped.source), scale: orNull(mapped.scale), zero: orNull(mapped.zero) };
    case "plus":
      return {
        ...mapped,
        packed: replace(mapped.packed),
        left: replace(mapped.left),
        right: replace(mapped.right),
      };
    default:
      return mapped satisfies never;
  }
}

/** An equation by element with what its own adjoint reads replaced. */
function withOperands<L extends Level>(
  eqn: Extract<Eqn<L>, { kind: "map" }>,
  replace: (id: ValueId) => ValueId,
): Eqn<L> {
  if (eqn.adjoint === undefined) return eqn;
  const body = mapList(eqn.adjoint.body, (each) => mapOperands(each, replace));
  const gradients = eqn.adjoint.gradients.map(({ by, value }) => ({ by: replace(by), value: replace(value) }));
  return { ...eqn, adjoint: { ...eqn.adjoint, body, gradients } };
}

/** The equation with every value renamed: those it reads and those it defines, also within the body of a scan. */
export function renameValues<L extends Level>(eqn: Eqn<L>, rename: (id: ValueId) => ValueId): Eqn<L> {
  const read = mapOperands(eqn, rename);
  return defineAnew(read, rename);
}

function defineAnew<L extends Level>(eqn: Eqn<L>, rename: (id: ValueId) => ValueId): Eqn<L> {
  if (eqn.kind === "map" && eqn.adjoint !== undefined) {
    const { seed, body, gradients } = eqn.adjoint;
    const named = { seed: rename(seed), body: body.map((each) => defineAnew(each, rename)), gradients };
    return { ...eqn, out: rename(eqn.out), adjoint: named };
  }
  if (eqn.kind !== "scan") return { ...eqn, out: rename(eqn.out) };
  return {
    ...eqn,
    out: rename(eqn.out),
    states: eqn.states.map((state) => ({ ...state, before: rename(state.before), out: rename(state.out) })),
    body: eqn.body.map((each) => defineAnew(each, rename)),
  };
}

/** An equation, no scan, with indices of its own, which `range` makes. */
export function withFreshIndices<L extends Level>(
  eqn: Eqn<L>,
  range: (name: string, low: Scalar<L>, high: Scalar<L>) => Range<L>,
): Eqn<L> {
  if (eqn.kind !== "map" && eqn.kind !== "update") return eqn;
  const fresh = (): IndexId => range("i", integer<L>(0), integer<L>(0)).index;
  const renamed = new Map<IndexId, Scalar<L>>();
  const indices = eqn.indices.map((old): Range<L> => {
    const own = range(old.name, old.low, old.high);
    renamed.set(old.index, indexOf<L>(own));
    return own;
  });
  return { ...mapEqnScalars(eqn, (scalar) => renumber(substitute(scalar, renamed), fresh)), indices } as Eqn<L>;
}

/** A source of index ids that no equation of the graph uses. */
export function freshIndices<L extends Level>(graph: Graph<L>): () => IndexId {
  let next = 0;
  for (const eqn of allEqns(graph.eqns)) {
    if (eqn.kind === "map" || eqn.kind === "update")
      for (const range of eqn.indices) next = Math.max(next, range.index + 1);
    if (eqn.kind === "scan") next = Math.max(next, eqn.range.index + 1);
    for (const scalar of eqnScalars(eqn)) for (const index of boundIndices(scalar)) next = Math.max(next, index + 1);
  }
  return () => {
    next += 1;
    return next - 1;
  };
}

/**
 * Of equations in order, those that some of the values need, each scan with only the states and equations that it
 * needs; those values, and all that these equations read, are added to `needed`.
 */
export function neededEqns<L extends Level>(eqns: readonly Eqn<L>[], needed: Set<ValueId>): readonly Eqn<L>[] {
  const kept: Eqn<L>[] = [];
  for (const eqn of [...eqns].reverse()) {
    if (!definedBy(eqn).some((id) => needed.has(id))) continue;
    const own = eqn.kind === "scan" ? neededScan(eqn, needed) : eqn;
    for (const id of eqnOperands(own)) needed.add(id);
    kept.push(own);
  }
  const found = kept.reverse();
  return found.length === eqns.length && found.every((eqn, at) => eqn === eqns[at]) ? eqns : found;
}

/** The scan with the states that are needed after it, or by another needed state within a step. */
function neededScan<L extends Level>(scan: ScanEqn<L>, needed: ReadonlySet<ValueId>): ScanEqn<L> {
  let states = scan.states.filter((state) => needed.has(state.out));
  for (;;) {
    const inside = new Set(states.map((state) => state.after));
    const body = neededEqns(scan.body, inside);
    const more = scan.states.filter((state) => states.includes(state) || inside.has(state.before));
    if (more.length > states.length) {
      states = more;
      continue;
    }
    const [first] = states;
    if (first === undefined || (body === scan.body && states.length === scan.states.length)) return scan;
    return { ...scan, out: first.out, states, body };
  }
}

/**
 * The graph without the equations that no output needs, its values numbered anew in order. Inputs stay. A mask that
 * only patterns name is forgotten.
 */
export function removeDead<L extends Level>(graph: Graph<L>): Graph<L> {
  const eqns = neededEqns(graph.eqns, new Set(graph.outputs.map((output) => output.value)));
  const defined = allEqns(eqns).flatMap((eqn) => [
    ...definedBy(eqn),
    ...adjointLocals(eqn),
    ...(eqn.kind === "scan" ? eqn.states.map((state) => state.before) : []),
  ]);
  const kept = new Set([...graph.inputs.map((input) => input.value), ...defined]);
  if (kept.size === graph.values.length) return graph;

  const ids = new Map<ValueId, ValueId>();
  for (const value of graph.values) if (kept.has(value.id)) ids.set(value.id, ids.size);
  const id = (old: ValueId): ValueId => ids.get(old) ?? old;
  const pattern = (old: Pattern<L>): Pattern<L> =>
    old.kind === "full" || old.mask === null ? old : { ...old, mask: ids.get(old.mask) ?? null };
  const values: Value<L>[] = graph.values
    .filter((value) => kept.has(value.id))
    .map((value) => ({ ...value, id: id(value.id), type: { ...value.type, pattern: pattern(value.type.pattern) } }));
  return {
    ...graph,
    values,
    inputs: graph.inputs.map((input) => ({ ...input, value: id(input.value) })),
    outputs: graph.outputs.map((output) => ({
      ...output,
      value: id(output.value),
      input: output.input === null ? null : id(output.input),
    })),
    eqns: eqns.map((eqn) => renameValues(eqn, id)),
  };
}
