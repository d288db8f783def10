/**
 * Recognises scans whose rows are independent and whose steps change later columns by sums only: these run in blocks.
 */
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ScanState, ValueId } from "../../graph/graph.js";
import { eqnOperands, eqnScalars, type ScanEqn } from "../../graph/eqn.js";
import { boundingRange, intervalOf, withRanges } from "../../graph/analysis/ranges.js";
import {
  constantOf,
  mapScalar,
  scalarKey,
  scalarLoads,
  scalarReductions,
  substitute,
  type Load,
} from "../../graph/scalar.js";
import type { Dtype } from "../../types/dtype.js";
import { elementCount } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import {
  inOwnGroup,
  insideOf,
  leastMultiple,
  relativeColumns,
  relativeColumnsOfRange,
  visitLoads,
  type ColumnFacts,
} from "./columns.js";
import { addedTo, termsOf, type Term } from "./trailing.js";

type S = Scalar<Concrete>;
export type MapEqn = Eqn<Concrete> & { readonly kind: "map" };
export type UpdateEqn = Eqn<Concrete> & { readonly kind: "update" };
type Elements = MapEqn | UpdateEqn;

/** What a row keeps while its columns are walked: a state, or a value of the step. */
export interface Slot {
  readonly name: string;
  readonly dtype: Dtype;
  /** One number; all that the row has; or the columns of the block. */
  readonly keep: "number" | "row" | "columns";
  /** Without the axis of rows. */
  readonly shape: readonly number[];
  readonly state: ScanState | null;
}

/** An equation of a step, as a block runs it. */
export type BlockEqn =
  | { readonly kind: "value"; readonly slot: Slot; readonly eqn: MapEqn; readonly row: IndexId }
  /** Elements of the slot that are not beyond the block. */
  | { readonly kind: "write"; readonly slot: Slot; readonly eqn: UpdateEqn; readonly row: IndexId }
  /**
   * The columns of the slot in `column` increased by the terms; those beyond the block are left to the block's product.
   */
  | {
      readonly kind: "trailing";
      readonly slot: Slot;
      readonly eqn: UpdateEqn;
      readonly row: IndexId;
      readonly column: Range<Concrete>;
      readonly terms: readonly Term[];
    }
  /** The state's new value is a value of the step. */
  | { readonly kind: "carry"; readonly slot: Slot; readonly from: Slot };

/** A scan whose rows are independent, seen from one of them. */
export interface ColumnwiseScan {
  readonly rows: number;
  /** The steps. */
  readonly from: number;
  readonly to: number;
  /** A block has a multiple of so many columns. */
  readonly group: number;
  readonly states: readonly Slot[];
  readonly values: readonly Slot[];
  readonly body: readonly BlockEqn[];
  /** The slot of each state, value and update of the body. */
  readonly slots: ReadonlyMap<ValueId, Slot>;
  /** What is known of the step's columns at the start of a step. */
  readonly facts: ColumnFacts;
  /** Loads of columns that are in the block whatever conditions say, by their keys. */
  readonly unconditional: ReadonlySet<string>;
}

/** The longest row of a state that is kept whole. */
const longestRow = 1024;

class Unfit extends Error {}

/** The scan as blocks can run it, or in words why they cannot. */
export function columnwiseScan(graph: ConcreteGraph, scan: ScanEqn<Concrete>): ColumnwiseScan | string {
  try {
    return recognise(graph, scan);
  } catch (error) {
    if (error instanceof Unfit) return error.message;
    throw error;
  }
}

function recognise(graph: ConcreteGraph, scan: ScanEqn<Concrete>): ColumnwiseScan {
  const valueOf = (id: ValueId): ConcreteGraph["values"][number] => graph.values[id]!;
  const steps = boundingRange(scan.range);
  if (!steps.exact) throw new Unfit("the range of its steps is not constant");
  const rows = valueOf(scan.states[0]!.before).type.shape[0];
  if (rows === undefined || rows === 0) throw new Unfit(`its state ${valueOf(scan.out).name} has no rows`);
  const body = inlineFree(graph, scan);

  const facts: ColumnFacts = {
    step: scan.range.index,
    divisors: [1],
    bounds: withRanges(new Map(), [scan.range]),
    ranges: new Map(),
  };
  const elements = body.map((eqn) => elementsOf(graph, eqn, rows));
  const changing = new Set<ValueId>([...scan.states.map((state) => state.before), ...body.map((eqn) => eqn.out)]);

  // which values are versions of one state
  const stateOf = new Map<ValueId, ScanState>();
  for (const state of scan.states) {
    if (valueOf(state.before).type.shape[0] !== rows)
      throw new Unfit(`its state ${valueOf(state.out).name} does not have a row for each of ${rows}`);
    stateOf.set(state.before, state);
  }
  for (const { eqn } of elements) {
    if (eqn.kind !== "update") continue;
    const state = stateOf.get(eqn.base);
    if (state === undefined) throw new Unfit(`${valueOf(eqn.out).name} is an update of what is not a state`);
    stateOf.set(eqn.out, state);
  }

  const trailing = new Map<
    Eqn<Concrete>,
    { readonly column: Range<Concrete>; readonly terms: readonly Term[] } | string
  >();
  for (const { eqn, row } of elements)
    if (eqn.kind === "update") trailing.set(eqn, trailingOf(eqn, row, facts, changing));

  // a state is kept by columns if all of its accesses follow the step, else whole
  let group = 1;
  const unconditional = new Set<string>();
  const conditional = new Set<string>();
  const slotOfState = new Map<ScanState, Slot>();
  for (const state of scan.states) {
    const { type } = valueOf(state.before);
    const name = valueOf(state.out).name;
    const shape = type.shape.slice(1);
    const common = { name, dtype: type.dtype, shape, state };
    if (type.format !== null) throw new Unfit(`its state ${name} is packed`);
    if (shape.length === 0) {
      slotOfState.set(state, { ...common, keep: "number" });
      continue;
    }
    const accesses =
      shape.length === 1
        ? columnAccesses(elements, trailing, facts, (id) => stateOf.get(id) === state)
        : { group: 1, loads: [], fault: "it has more than one axis beside the rows" };
    if (accesses.fault === null) {
      group = leastMultiple(group, accesses.group);
      for (const { load, always } of accesses.loads) (always ? unconditional : conditional).add(scalarKey(load));
      slotOfState.set(state, { ...common, keep: "columns" });
    } else if (
      elementCount(shape) <= longestRow &&
      !elements.some(({ eqn }) => eqn.kind === "update" && stateOf.get(eqn.out) === state && isFarReaching(eqn, facts))
    ) {
      slotOfState.set(state, { ...common, keep: "row" });
    } else throw new Unfit(`of its state ${name}, ${accesses.fault}`);
  }
  for (const key of conditional) unconditional.delete(key);
  if (steps.low % group !== 0) throw new Unfit(`its steps start at ${steps.low}, which is not a multiple of ${group}`);

  const slots = new Map<ValueId, Slot>();
  for (const [id, state] of stateOf) slots.set(id, slotOfState.get(state)!);
  const values: Slot[] = [];
  const current = new Map<Slot, ValueId>([...slotOfState].map(([state, slot]) => [slot, state.before]));
  const result: BlockEqn[] = [];
  for (const { eqn, row } of elements) {
    for (const load of loadsOf(eqn)) {
      if (!changing.has(load.tensor)) continue;
      const slot = slots.get(load.tensor);
      if (slot === undefined)
        throw new Unfit(`${valueOf(eqn.out).name} reads ${valueOf(load.tensor).name} before its step has it`);
      if (slot.state !== null && current.get(slot) !== load.tensor)
        throw new Unfit(`${valueOf(eqn.out).name} reads ${slot.name} as it was before an update`);
      const at = load.at[0];
      if (at?.kind !== "index" || at.index !== row)
        throw new Unfit(`${valueOf(eqn.out).name} reads another row of ${slot.name} than its own`);
    }
    if (eqn.kind === "map") {
      const { type, name } = valueOf(eqn.out);
      const shape = type.shape.slice(1);
      const slot: Slot = { name, dtype: type.dtype, keep: shape.length === 0 ? "number" : "row", shape, state: null };
      if (elementCount(shape) > longestRow) throw new Unfit(`${name} has more than ${longestRow} elements a row`);
      slots.set(eqn.out, slot);
      values.push(slot);
      result.push({ kind: "value", slot, eqn, row });
      continue;
    }
    const slot = slots.get(eqn.out)!;
    if (current.get(slot) !== eqn.base) throw new Unfit(`${slot.name} is updated as it was before another update`);
    current.set(slot, eqn.out);
    const found = trailing.get(eqn);
    if (slot.keep === "columns" && found !== undefined && typeof found !== "string") {
      if (slot.dtype !== "f32") throw new Unfit(`${slot.name} is ${slot.dtype}, and products are of f32`);
      result.push({ kind: "trailing", slot, eqn, row, ...found });
      continue;
    }
    const single = eqn.indices.every(
      (range) =>
        range.index === row ||
        (boundingRange(range, facts.bounds).exact &&
          intervalOf(range.high, facts.bounds).high - intervalOf(range.low, facts.bounds).low === 1),
    );
    if (!single && readsBaseElsewhere(eqn))
      throw new Unfit(`an update of ${slot.name} reads elements that it writes at others`);
    result.push({ kind: "write", slot, eqn, row });
  }
  for (const [state, slot] of slotOfState) {
    if (current.get(slot) === state.after) continue;
    const from = slots.get(state.after);
    if (from === undefined || from.state !== null || slot.keep === "columns")
      throw new Unfit(`its state ${slot.name} is made anew at each step`);
    result.push({ kind: "carry", slot, from });
  }
  return {
    rows,
    from: steps.low,
    to: steps.high,
    group,
    states: [...slotOfState.values()],
    values,
    body: result,
    slots,
    facts,
    unconditional,
  };
}

/** The body without maps that read nothing that changes: those are put where they are read. */
function inlineFree(graph: ConcreteGraph, scan: ScanEqn<Concrete>): readonly Eqn<Concrete>[] {
  const changing = new Set<ValueId>(scan.states.map((state) => state.before));
  const needed = new Set(scan.states.map((state) => state.after));
  const free = new Map<ValueId, MapEqn>();
  const put = (scalar: S): S =>
    mapScalar(scalar, (node) => {
      const eqn = node.kind === "load" ? free.get(node.tensor) : undefined;
      if (node.kind !== "load" || eqn === undefined) return node;
      if (node.guarded) throw new Unfit(`a read of ${graph.values[node.tensor]!.name} may be out of range`);
      return substitute(eqn.body, new Map(eqn.indices.map((range, axis) => [range.index, node.at[axis]!])));
    });
  const body: Eqn<Concrete>[] = [];
  for (const eqn of scan.body) {
    if (eqn.kind !== "map" && eqn.kind !== "update") throw new Unfit(`its body has a ${eqn.kind}`);
    const own: Elements =
      eqn.kind === "map" ? { ...eqn, body: put(eqn.body) } : { ...eqn, at: eqn.at.map(put), body: put(eqn.body) };
    if (
      own.kind === "map" &&
      !needed.has(own.out) &&
      scalarReductions(own.body).length === 0 &&
      ![...eqnOperands(own)].some((id) => changing.has(id))
    ) {
      free.set(own.out, own);
      continue;
    }
    changing.add(own.out);
    body.push(own);
  }
  return body;
}

/** An equation with the index of its row, which runs over all rows. */
function elementsOf(
  graph: ConcreteGraph,
  eqn: Eqn<Concrete>,
  rows: number,
): { readonly eqn: Elements; readonly row: IndexId } {
  if (eqn.kind !== "map" && eqn.kind !== "update") throw new Unfit(`its body has a ${eqn.kind}`);
  const { name } = graph.values[eqn.out]!;
  const first: S | undefined =
    eqn.kind === "map"
      ? eqn.indices[0] === undefined
        ? undefined
        : { kind: "index", index: eqn.indices[0].index, name: "" }
      : eqn.at[0];
  const range = first?.kind === "index" ? eqn.indices.find((each) => each.index === first.index) : undefined;
  if (range === undefined || constantOf(range.low) !== 0 || constantOf(range.high) !== rows)
    throw new Unfit(`${name} is not computed for all rows`);
  return { eqn, row: range.index };
}

function loadsOf(eqn: Elements): readonly Load<Concrete>[] {
  return eqnScalars(eqn).flatMap((scalar) => scalarLoads(scalar));
}

/** An update of all columns from the step's on, by outer products; or why it is none. */
function trailingOf(
  eqn: UpdateEqn,
  row: IndexId,
  facts: ColumnFacts,
  changing: ReadonlySet<ValueId>,
): { readonly column: Range<Concrete>; readonly terms: readonly Term[] } | string {
  const last = eqn.at[1];
  const column = eqn.indices.find((range) => range.index !== row);
  if (
    eqn.at.length !== 2 ||
    eqn.indices.length !== 2 ||
    column === undefined ||
    last?.kind !== "index" ||
    last.index !== column.index
  )
    return "an update is not one of whole columns";
  const relative = relativeColumnsOfRange(column, facts);
  if (relative === null || relative.low < 0 || relative.high !== Infinity)
    return "the columns of an update do not start at the step's";
  if ((relativeColumns(column.low, facts)?.high ?? Infinity) > relative.group)
    return "an update leaves out columns after the step's";
  if (constantOf(column.high) === null) return "an update ends at a column that is not constant";
  const body = eqn.op === "add" ? eqn.body : addedTo(eqn.body, eqn.base, eqn.at);
  if (body === null) return "an update of columns after the step's does not add to them";
  const terms = termsOf(body, {
    row,
    column: column.index,
    step: facts.step,
    changes: (tensor) => changing.has(tensor),
  });
  return typeof terms === "string"
    ? `an update of columns after the step's is no sum of outer products: ${terms}`
    : { column, terms };
}

/** Whether an update of one axis beside the rows goes on beyond the step's group. */
function isFarReaching(eqn: UpdateEqn, facts: ColumnFacts): boolean {
  const inner = insideOf(facts, eqn.indices);
  return eqn.at.slice(1).some((at) => relativeColumns(at, inner)?.high === Infinity);
}

interface Accesses {
  readonly group: number;
  readonly loads: readonly { readonly load: Load<Concrete>; readonly always: boolean }[];
  /** In words, an access that does not follow the step; null where all do. */
  readonly fault: string | null;
}

/** The accesses of a state along its columns. */
function columnAccesses(
  elements: readonly { readonly eqn: Elements; readonly row: IndexId }[],
  trailing: ReadonlyMap<Eqn<Concrete>, object | string>,
  facts: ColumnFacts,
  mine: (id: ValueId) => boolean,
): Accesses {
  let group = 1;
  let fault: string | null = null;
  const loads: { load: Load<Concrete>; always: boolean }[] = [];
  const access = (at: S | undefined, inner: ColumnFacts, what: string): void => {
    // what a condition says of the step is used only where it is needed, for it asks for whole groups
    const candidates =
      at === undefined
        ? []
        : [...inner.divisors].sort((a, b) => a - b).map((aligned) => relativeColumns(at, inner, aligned));
    const relative = candidates.find((each) => each !== null && inOwnGroup(each));
    if (relative !== null && relative !== undefined) group = leastMultiple(group, relative.group);
    else fault ??= what;
  };
  for (const { eqn } of elements) {
    const inner = insideOf(facts, eqn.indices);
    const isTrailing = eqn.kind === "update" && typeof trailing.get(eqn) === "object";
    if (eqn.kind === "update" && mine(eqn.out)) {
      if (isTrailing)
        group = leastMultiple(
          group,
          relativeColumnsOfRange(
            eqn.indices.find((range) => range.index !== (eqn.at[0] as { index?: IndexId }).index)!,
            facts,
          )!.group,
        );
      else {
        const why = trailing.get(eqn);
        access(
          eqn.at[1],
          inner,
          typeof why === "string" && relativeColumns(eqn.at[1]!, inner)?.high === Infinity
            ? why
            : "columns are written that are not in the group of the step",
        );
      }
    }
    for (const scalar of eqnScalars(eqn)) {
      visitLoads(scalar, inner, (load, where, always) => {
        if (!mine(load.tensor)) return;
        // an update of type "set" reads what it adds to
        if (
          isTrailing &&
          eqn.kind === "update" &&
          load.tensor === eqn.base &&
          load.at.map((at) => scalarKey(at)).join(";") === eqn.at.map((at) => scalarKey(at)).join(";")
        )
          return;
        access(load.at[1], where, "columns are read that are not in the group of the step");
        loads.push({ load, always });
      });
    }
  }
  return { group, loads, fault };
}

/** Whether the body reads the base at another element than that it writes. */
function readsBaseElsewhere(eqn: UpdateEqn): boolean {
  const here = eqn.at.map((at) => scalarKey(at)).join(";");
  return loadsOf(eqn).some((load) => load.tensor === eqn.base && load.at.map((at) => scalarKey(at)).join(";") !== here);
}
