import type { Concrete } from "../../types/type.js";
import { definedBy, eqnOperands, freshIndices, type ScanEqn } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Output, Value, ValueId } from "../graph.js";
import { scalarLoads } from "../scalar.js";

/**
 * The graph with copies where sharing storage would be wrong: an update whose base is needed afterwards, is an input
 * that is not its own to change, or is read by its own body elsewhere than where it writes; the initial state of a
 * scan,
 * likewise; an output that is an input or another output; the final state of a `var` parameter that did not come about
 * in its storage. In the body of a scan the new states end up in the storage of the old ones. `keeps` says of which
 * scans the body is lowered as a whole and stays as it is.
 */
export function insertCopies(
  graph: ConcreteGraph,
  keeps: (scan: ScanEqn<Concrete>) => boolean = () => false,
): ConcreteGraph {
  const values: Value<Concrete>[] = [...graph.values];
  const fresh = freshIndices(graph);
  const mutableInputs = new Set(graph.inputs.filter((input) => input.mutable).map((input) => input.value));
  const inputs = new Set(graph.inputs.map((input) => input.value));
  // the input whose storage a value lives in, if any
  const home = new Map<ValueId, ValueId>([...mutableInputs].map((id) => [id, id]));

  const copy = (eqns: Eqn<Concrete>[], source: ValueId, suffix: string): ValueId => {
    const value = values[source]!;
    const id = values.length;
    values.push({ ...value, id, name: `${value.name}_${suffix}` });
    eqns.push({ kind: "map", out: id, ...identity(value, source, fresh) });
    return id;
  };
  const writeOver = (eqns: Eqn<Concrete>[], target: ValueId, source: ValueId, suffix: string): ValueId => {
    const value = values[target]!;
    const id = values.length;
    values.push({ ...value, id, name: `${value.name}_${suffix}` });
    const { indices, body } = identity(value, source, fresh);
    eqns.push({
      kind: "update",
      out: id,
      base: target,
      indices,
      at: indices.map((range) => ({ kind: "index", index: range.index, name: range.name })),
      body,
      op: "set",
    });
    return id;
  };

  /**
   * Equations in order; `free`: values that may be written over, besides those defined here; `last`: the last uses of
   * all.
   */
  const copyInEqns = (
    list: readonly Eqn<Concrete>[],
    free: ReadonlySet<ValueId>,
    last: ReadonlyMap<ValueId, number>,
  ): Eqn<Concrete>[] => {
    const eqns: Eqn<Concrete>[] = [];
    const own = new Set(free);
    list.forEach((eqn, at) => {
      for (const id of definedBy(eqn)) own.add(id);
      const ends = (id: ValueId): boolean => own.has(id) && last.get(id) === at;
      if (eqn.kind === "update") {
        const inPlace = ends(eqn.base) && !readsElsewhere(eqn);
        const origin = inPlace ? home.get(eqn.base) : undefined;
        if (origin !== undefined) home.set(eqn.out, origin);
        eqns.push({ ...eqn, base: inPlace ? eqn.base : copy(eqns, eqn.base, "copy") });
      } else if (eqn.kind === "scan") {
        const read = new Set([
          ...eqn.body.flatMap((each) => [...eqnOperands(each)]),
          ...eqn.states.map((state) => state.after),
        ]);
        const taken = new Set<ValueId>();
        const states = eqn.states.map((state) => {
          const inPlace = ends(state.initial) && !read.has(state.initial) && !taken.has(state.initial);
          taken.add(state.initial);
          const origin = inPlace ? home.get(state.initial) : undefined;
          if (origin !== undefined) home.set(state.out, origin);
          return inPlace ? state : { ...state, initial: copy(eqns, state.initial, "state") };
        });
        eqns.push(keeps(eqn) ? { ...eqn, states } : copyInBody({ ...eqn, states }));
      } else eqns.push(eqn);
    });
    return eqns;
  };

  const copyInBody = (scan: ScanEqn<Concrete>): ScanEqn<Concrete> => {
    const before = new Set(scan.states.map((state) => state.before));
    const body = copyInEqns(
      scan.body,
      before,
      lastUsesOf(
        scan.body,
        scan.states.map((state) => state.after),
      ),
    );
    // the state whose storage a value lives in
    const storage = new Map<ValueId, ValueId>([...before].map((id) => [id, id]));
    for (const eqn of body) {
      if (eqn.kind === "update" && storage.has(eqn.base)) storage.set(eqn.out, storage.get(eqn.base)!);
      if (eqn.kind === "scan")
        for (const state of eqn.states)
          if (storage.has(state.initial)) storage.set(state.out, storage.get(state.initial)!);
    }
    // first out of the way what stands where another state's new value goes, then all into their places
    const moved = scan.states.map((state) => {
      const elsewhere = storage.get(state.after);
      return elsewhere === undefined || elsewhere === state.before
        ? state
        : { ...state, after: copy(body, state.after, "moved") };
    });
    const states = moved.map((state) =>
      storage.get(state.after) === state.before
        ? state
        : { ...state, after: writeOver(body, state.before, state.after, "next") },
    );
    return { ...scan, states, body };
  };

  const free = new Set([...mutableInputs]);
  const eqns = copyInEqns(graph.eqns, free, lastUses(graph));
  const taken = new Set<ValueId>();
  const outputs: Output[] = graph.outputs.map((output) => {
    if (output.input !== null) {
      if (home.get(output.value) === output.input) return output;
      // the new state was made elsewhere: write it over the parameter
      return { ...output, value: writeOver(eqns, output.input, output.value, "final") };
    }
    if (inputs.has(output.value) || home.has(output.value) || taken.has(output.value))
      return { ...output, value: copy(eqns, output.value, "out") };
    taken.add(output.value);
    return output;
  });
  return { ...graph, values, eqns, outputs };
}

/** For each value, the position of the last eqn that reads it; the number of eqns for outputs. */
export function lastUses(graph: ConcreteGraph): ReadonlyMap<ValueId, number> {
  return lastUsesOf(
    graph.eqns,
    graph.outputs.map((output) => output.value),
  );
}

/** The same for some equations in order, with the values that are needed after them. */
function lastUsesOf(eqns: readonly Eqn<Concrete>[], after: readonly ValueId[]): ReadonlyMap<ValueId, number> {
  const last = new Map<ValueId, number>();
  eqns.forEach((eqn, at) => {
    for (const operand of eqnOperands(eqn)) last.set(operand, at);
  });
  for (const id of after) last.set(id, eqns.length);
  return last;
}

/** Whether the body reads the base anywhere but at the element it writes, so that writing in place would be seen. */
function readsElsewhere(eqn: Eqn<Concrete> & { readonly kind: "update" }): boolean {
  const here = JSON.stringify(eqn.at);
  return (
    scalarLoads(eqn.body).some((load) => load.tensor === eqn.base && JSON.stringify(load.at) !== here) ||
    eqn.at.some((scalar) => scalarLoads(scalar).some((load) => load.tensor === eqn.base))
  );
}

function identity(
  value: Value<Concrete>,
  source: ValueId,
  fresh: () => IndexId,
): { indices: (Eqn<Concrete> & { kind: "map" })["indices"]; body: (Eqn<Concrete> & { kind: "map" })["body"] } {
  const indices = value.type.shape.map((size, axis) => ({
    index: fresh(),
    name: `i${axis}`,
    low: { kind: "constant" as const, value: 0, dtype: "i32" as const },
    high: { kind: "constant" as const, value: size, dtype: "i32" as const },
  }));
  const at = indices.map((range) => ({ kind: "index" as const, index: range.index, name: range.name }));
  return { indices, body: { kind: "load", tensor: source, at, dtype: value.type.dtype, guarded: false } };
}
