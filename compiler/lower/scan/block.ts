/** The kernel of a block: walks the block's columns in order, a few rows a workgroup. */
import type { ScanEqn } from "../../graph/eqn.js";
import { eqnScalars } from "../../graph/eqn.js";
import { extent, hullOf, intervalOf, withRanges } from "../../graph/analysis/ranges.js";
import { scalarLoads } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Storage } from "../../graph/storage.js";
import type { Concrete } from "../../types/type.js";
import { spread, unflatten, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerIndex, lowerRange, lowerScalar, withIndices, type Scope } from "../toolkit/scalar.js";
import type { BlockEqn, Columnwise, Slot } from "./columnwise.js";
import type { Cut } from "./cut.js";
import { shareReductions, type ExchangeArrays } from "./shared.js";
import { createMemory, type BlockMemory, type BlockPlace } from "./memory.js";

/**
 * The kernel for the block whose first column is the value of the scan's index in `lowering`. `multipliers[i]` takes
 * that of the i-th term of all trailing updates for each row and column, [rows, cut.block].
 */
export function blockKernel(
  lowering: Lowering,
  scan: ScanEqn<Concrete>,
  shape: Columnwise,
  cut: Cut,
  multipliers: readonly Storage[],
): Kernel {
  const build = lowering.builder();
  const base = lowering.scope(build);
  const step = scan.range;
  const first = build.bind("first", lowerIndex(base, { kind: "index", index: step.index, name: step.name }));
  const count = Math.ceil(shape.rows / cut.rows);
  const workgroups = spread(count);
  const local = k.builtin("local_index");
  const team = cut.rows === 1 ? k.u32(0) : build.bind("team", k.div(local, cut.lanes));
  const lane = cut.lanes === 1 ? k.u32(0) : build.bind("lane", k.rem(local, cut.lanes));
  const wanted = build.bind("row", k.add(k.mul(workgroupPosition(workgroups), cut.rows), team));
  const exact = workgroups[0] * workgroups[1] * cut.rows === shape.rows;
  const inside = exact ? null : build.bind("inside", k.less(wanted, shape.rows));

  const body = (row: Expr, mine: Expr | null): void => {
    const place: BlockPlace = { build, shape, cut, row, lane, team, first, inside: mine };
    const storageOf = (slot: Slot): Storage =>
      lowering.storage[[...shape.slots].find(([, each]) => each === slot)![0]]!;
    const memory = createMemory(place, storageOf);
    const arrays: ExchangeArrays = new Map();
    memory.load();
    const columns = build.bind("columns", k.min(k.sub(k.u32(shape.to), first), cut.block));
    build.loop("column", k.u32(0), columns, (column) => {
      const scope = withIndices({ ...base, held: memory.held }, [
        [step.index, build.bind(step.name, k.add(first, column))],
      ]);
      let term = 0;
      for (const each of shape.body) {
        if (each.kind === "trailing") {
          trailing(lowering, scope, place, memory, each, column, multipliers.slice(term, term + each.terms.length));
          term += each.terms.length;
        } else lowerOne(lowering, scope, place, memory, each, arrays);
      }
      memory.settle();
    });
    memory.save(new Set(shape.body.filter((each) => each.kind !== "value").map((each) => each.slot)));
  };
  // without barriers an invocation that has no row is done; with them it repeats the last one and stores nothing
  if (cut.memory === "storage") {
    if (inside === null) body(wanted, null);
    else build.when(inside, () => body(wanted, null));
  } else body(exact ? wanted : build.bind("row", k.min(wanted, shape.rows - 1)), inside);
  return build.finish({
    name: `${lowering.nameOf(scan)}_block`,
    workgroupSize: [cut.rows * cut.lanes, 1, 1],
    workgroups,
    schedule: "block",
    values: lowering.valuesOf(scan),
  });
}

/** Any equation of a step but a trailing update. */
function lowerOne(
  lowering: Lowering,
  outer: Scope,
  place: BlockPlace,
  memory: BlockMemory,
  each: Exclude<BlockEqn, { kind: "trailing" }>,
  arrays: ExchangeArrays,
): void {
  const { build, cut, lane, row } = place;
  const { slot } = each;
  if (each.kind === "carry") {
    memory.prepare([each.from], [slot]);
    if (slot.keep === "number") memory.define(slot, memory.element(each.from, []));
    else overRow(place, slot, (at) => memory.store(slot, at, memory.element(each.from, at)));
    return;
  }
  const { eqn } = each;
  const reads = readBy(place.shape, each);
  const scope = withIndices(outer, [[each.row, row]]);
  if (slot.keep === "number") {
    memory.prepare(reads, []);
    const value = lowerScalar(shareReductions(place, scope, eqn.body, place.shape.facts, arrays), eqn.body);
    memory.define(slot, eqn.kind === "update" && eqn.op === "add" ? k.add(memory.element(slot, []), value) : value);
    return;
  }
  if (each.kind === "value") {
    memory.prepare(reads, [slot]);
    overRow(place, slot, (at) => {
      const inner = withIndices(
        scope,
        each.eqn.indices.slice(1).map((range, axis) => [range.index, at[axis]!] as const),
      );
      memory.store(slot, at, lowerScalar(inner, each.eqn.body));
    });
    return;
  }
  const update = each.eqn;
  // of all steps: what `lowering` knows of the step's index is where blocks start
  const bounds = withRanges(place.shape.facts.bounds, update.indices);
  const others = update.indices.filter((range) => range.index !== each.row);
  const add = update.op === "add";
  if (others.every((range) => hullOf(range, bounds).exact && extent(range, bounds) === 1)) {
    memory.prepare(reads, []);
    const inner = withIndices(
      scope,
      others.map((range) => [range.index, k.u32(intervalOf(range.low, bounds).low)] as const),
    );
    const name = build.fresh(slot.name);
    build.add(k.letIs(name, lowerScalar(inner, update.body)));
    const value = k.local(name, slot.dtype);
    const at = update.at.slice(1).map((index) => build.bind("at", lowerIndex(inner, index)));
    memory.prepare([], [slot]);
    if (cut.lanes === 1) memory.store(slot, at, value, add);
    else build.when(k.equal(lane, 0), () => memory.store(slot, at, value, add));
    return;
  }
  memory.prepare(
    reads.filter((other) => other !== slot),
    [slot],
  );
  const nest = (inner: Scope, depth: number): void => {
    const range = others[depth];
    if (range === undefined) {
      memory.store(
        slot,
        update.at.slice(1).map((index) => build.bind("at", lowerIndex(inner, index))),
        lowerScalar(inner, update.body),
        add,
      );
      return;
    }
    const { from, to } = lowerRange(inner, range);
    const last = depth === others.length - 1 && cut.lanes > 1;
    build.loop(
      range.name,
      last ? k.add(from, lane) : from,
      to,
      (index) => nest(withIndices(inner, [[range.index, index]]), depth + 1),
      last ? cut.lanes : 1,
    );
  };
  nest(scope, 0);
}

/**
 * A trailing update: its multipliers are kept for the block's product, and the columns of the block are changed at
 * once.
 */
function trailing(
  lowering: Lowering,
  outer: Scope,
  place: BlockPlace,
  memory: BlockMemory,
  each: BlockEqn & { readonly kind: "trailing" },
  column: Expr,
  multipliers: readonly Storage[],
): void {
  const { build, cut, lane, row, first, inside } = place;
  const scope = withIndices(outer, [[each.row, row]]);
  memory.prepare(readBy(place.shape, each), []);
  const factors = each.terms.map((term, at) => {
    const value = build.bind("multiplier", lowerScalar(scope, term.multiplier));
    const store = (): void =>
      build.add(
        k.store(build.view(multipliers[at]!, "f32", "read_write"), k.add(k.mul(row, cut.block), column), value),
      );
    const conditions = [...(cut.lanes === 1 ? [] : [k.equal(lane, 0)]), ...(inside === null ? [] : [inside])];
    if (conditions.length === 0) store();
    else build.when(conditions.reduce(k.and), store);
    return value;
  });
  memory.prepare([], [each.slot]);
  const { from, to } = lowerRange(scope, each.column);
  const end = build.bind("end", k.min(to, k.add(first, cut.block)));
  build.loop(
    each.column.name,
    cut.lanes === 1 ? from : k.add(from, lane),
    end,
    (at) => {
      const inner = withIndices(scope, [[each.column.index, at]]);
      const sum = each.terms
        .map((term, i) => {
          const product = k.mul(factors[i]!, lowerScalar(inner, term.right));
          const scaled = term.mask.factor === null ? product : k.mul(lowerScalar(inner, term.mask.factor), product);
          return term.mask.conditions.reduce<Expr>(
            (then, condition) => k.select(lowerScalar(inner, condition), then, 0),
            scaled,
          );
        })
        .reduce((a, b) => k.add(a, b));
      memory.store(each.slot, [at], sum, true);
    },
    cut.lanes,
  );
}

/** Runs `body` for each element of a row of a slot, shared among the lanes. */
function overRow({ build, cut, lane }: BlockPlace, slot: Slot, body: (at: readonly Expr[]) => void): void {
  const count = slot.shape.reduce((product, size) => product * size, 1);
  build.loop(
    "element",
    lane,
    k.u32(count),
    (element) =>
      body(
        unflatten(
          build,
          element,
          slot.shape,
          slot.shape.map(() => "i"),
        ),
      ),
    cut.lanes,
  );
}

/** The slots that an equation reads. */
function readBy(shape: Columnwise, each: Exclude<BlockEqn, { kind: "carry" }>): readonly Slot[] {
  const loads = eqnScalars(each.eqn).flatMap((scalar) => scalarLoads(scalar));
  return [...new Set(loads.flatMap((load) => shape.slots.get(load.tensor) ?? []))];
}
