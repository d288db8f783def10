/** The kernel of a block: walks the block's columns in order, a few rows a workgroup. */
import type { ScanEqn } from "../../graph/eqn.js";
import type { Range } from "../../graph/graph.js";
import { eqnScalars } from "../../graph/eqn.js";
import { extent, boundingRange, intervalOf, withRanges } from "../../graph/analysis/ranges.js";
import { scalarLoads } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Storage } from "../../graph/storage.js";
import { elementCount } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { spread, unflatten, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerIndex, lowerRange, lowerScalar, withIndices, type Environment } from "../toolkit/scalar.js";
import type { BlockContext, Blocking } from "./blocking.js";
import type { BlockEqn, ColumnwiseScan, Slot, UpdateEqn } from "./columnwise.js";
import { shareReductions, type ExchangeArrays } from "./shared.js";
import { createMemory, type SlotReader, type StepMemory } from "./memory.js";

/**
 * The kernel for the block whose first column is the value of the scan's index in `lowering`. `multipliers[i]` takes
 * that of the i-th term of all trailing updates for each row and column, [rows, blocking.block].
 */
export function blockKernel(
  lowering: Lowering,
  scan: ScanEqn<Concrete>,
  shape: ColumnwiseScan,
  blocking: Blocking,
  multipliers: readonly Storage[],
): Kernel {
  const build = lowering.builder();
  const base = lowering.environment(build);
  const step = scan.range;
  const first = build.bind("first", lowerIndex(base, { kind: "index", index: step.index, name: step.name }));
  const count = Math.ceil(shape.rows / blocking.rows);
  const workgroups = spread(count);
  const local = k.builtin("local_index");
  const team = blocking.rows === 1 ? k.u32(0) : build.bind("team", k.div(local, blocking.lanes));
  const lane = blocking.lanes === 1 ? k.u32(0) : build.bind("lane", k.rem(local, blocking.lanes));
  const wanted = build.bind("row", k.add(k.mul(workgroupPosition(workgroups), blocking.rows), team));
  const exact = workgroups[0] * workgroups[1] * blocking.rows === shape.rows;
  const inside = exact ? null : build.bind("inside", k.less(wanted, shape.rows));

  const body = (row: Expr, mine: Expr | null): void => {
    const context: BlockContext = { build, shape, blocking, row, lane, team, first, inside: mine };
    const storageOf = (slot: Slot): Storage =>
      lowering.storage[[...shape.slots].find(([, each]) => each === slot)![0]]!;
    const memory = createMemory(context, storageOf);
    const arrays: ExchangeArrays = new Map();
    const changed = new Set(shape.body.filter((each) => each.kind !== "value").map((each) => each.slot));
    memory.walk(changed, (column, step) => {
      const environment = withIndices(base, [[scan.range.index, build.bind(scan.range.name, k.add(first, column))]]);
      let term = 0;
      for (const each of shape.body) {
        if (each.kind === "trailing") {
          trailing(environment, context, step, each, column, multipliers.slice(term, term + each.terms.length));
          term += each.terms.length;
        } else lowerOne(environment, context, step, each, arrays);
      }
    });
  };
  // without barriers an invocation that has no row is done; with them it repeats the last one and stores nothing
  if (blocking.memory === "storage") {
    if (inside === null) body(wanted, null);
    else build.when(inside, () => body(wanted, null));
  } else body(exact ? wanted : build.bind("row", k.min(wanted, shape.rows - 1)), inside);
  return build.finish({
    name: `${lowering.nameOf(scan)}_block`,
    workgroupSize: [blocking.rows * blocking.lanes, 1, 1],
    workgroups,
    schedule: "block",
    values: lowering.valuesOf(scan),
  });
}

/** Any equation of a step but a trailing update. */
function lowerOne(
  outer: Environment,
  context: BlockContext,
  memory: StepMemory,
  each: Exclude<BlockEqn, { kind: "trailing" }>,
  arrays: ExchangeArrays,
): void {
  const { row, shape } = context;
  const { slot } = each;
  if (each.kind === "carry") {
    memory.writing(slot, [each.from], (writer) => {
      if (slot.keep === "number") writer.define(writer.element(each.from, []));
      else overRow(context, slot, (at) => writer.store(at, writer.element(each.from, at)));
    });
    return;
  }
  const reads = readBy(shape, each);
  const environmentOf = ({ readers }: SlotReader): Environment => withIndices({ ...outer, readers }, [[each.row, row]]);
  if (slot.keep === "number") {
    memory.writing(slot, reads, (writer) => {
      const { eqn } = each;
      const environment = environmentOf(writer);
      const value = lowerScalar(shareReductions(context, environment, eqn.body, shape.facts, arrays), eqn.body);
      writer.define(eqn.kind === "update" && eqn.op === "add" ? k.add(writer.element(slot, []), value) : value);
    });
    return;
  }
  if (each.kind === "value") {
    memory.writing(slot, reads, (writer) => {
      const environment = environmentOf(writer);
      overRow(context, slot, (at) => {
        const indices = each.eqn.indices.slice(1).map((range, axis) => [range.index, at[axis]!] as const);
        writer.store(at, lowerScalar(withIndices(environment, indices), each.eqn.body));
      });
    });
    return;
  }
  const { eqn: update } = each;
  // of all steps: what is known of the step's index outside is where blocks start
  const bounds = withRanges(shape.facts.bounds, update.indices);
  const others = update.indices.filter((range) => range.index !== each.row);
  if (others.every((range) => boundingRange(range, bounds).exact && extent(range, bounds) === 1)) {
    const indices = others.map((range) => [range.index, k.u32(intervalOf(range.low, bounds).low)] as const);
    writeOne(context, memory, update, slot, reads, (reader) => withIndices(environmentOf(reader), indices));
  } else writeMany(context, memory, update, slot, reads, others, environmentOf);
}

/** An update of one element: computed by all lanes, stored by the first. */
function writeOne(
  { build, blocking, lane }: BlockContext,
  memory: StepMemory,
  update: UpdateEqn,
  slot: Slot,
  reads: readonly Slot[],
  environmentOf: (reader: SlotReader) => Environment,
): void {
  const { value, at } = memory.reading(reads, (reader) => {
    const environment = environmentOf(reader);
    const name = build.fresh(slot.name);
    build.add(k.letIs(name, lowerScalar(environment, update.body)));
    return {
      value: k.local(name, slot.dtype),
      at: update.at.slice(1).map((index) => build.bind("at", lowerIndex(environment, index))),
    };
  });
  memory.writing(slot, [], (writer) => {
    const store = (): void => writer.store(at, value, update.op === "add");
    if (blocking.lanes === 1) store();
    else build.when(k.equal(lane, 0), store);
  });
}

/** An update of several elements, the innermost of its ranges shared among the lanes. */
function writeMany(
  { build, blocking, lane }: BlockContext,
  memory: StepMemory,
  update: UpdateEqn,
  slot: Slot,
  reads: readonly Slot[],
  ranges: readonly Range<Concrete>[],
  environmentOf: (reader: SlotReader) => Environment,
): void {
  const others = reads.filter((other) => other !== slot);
  memory.writing(slot, others, (writer) => {
    const nest = (inner: Environment, depth: number): void => {
      const range = ranges[depth];
      if (range === undefined) {
        writer.store(
          update.at.slice(1).map((index) => build.bind("at", lowerIndex(inner, index))),
          lowerScalar(inner, update.body),
          update.op === "add",
        );
        return;
      }
      const { from, to } = lowerRange(inner, range);
      const shared = depth === ranges.length - 1 && blocking.lanes > 1;
      build.loop(
        range.name,
        shared ? k.add(from, lane) : from,
        to,
        (index) => nest(withIndices(inner, [[range.index, index]]), depth + 1),
        shared ? blocking.lanes : 1,
      );
    };
    nest(environmentOf(writer), 0);
  });
}

/**
 * A trailing update: its multipliers are kept for the block's product, and the columns of the block are changed at
 * once.
 */
function trailing(
  outer: Environment,
  context: BlockContext,
  memory: StepMemory,
  each: BlockEqn & { readonly kind: "trailing" },
  column: Expr,
  multipliers: readonly Storage[],
): void {
  const { build, blocking, lane, row, first, inside } = context;
  const environmentOf = ({ readers }: SlotReader): Environment => withIndices({ ...outer, readers }, [[each.row, row]]);
  const factors = memory.reading(readBy(context.shape, each), (reader) =>
    each.terms.map((term, at) => {
      const value = build.bind("multiplier", lowerScalar(environmentOf(reader), term.multiplier));
      const store = (): void =>
        build.add(
          k.store(build.view(multipliers[at]!, "f32", "read_write"), k.add(k.mul(row, blocking.block), column), value),
        );
      const conditions = [...(blocking.lanes === 1 ? [] : [k.equal(lane, 0)]), ...(inside === null ? [] : [inside])];
      if (conditions.length === 0) store();
      else build.when(conditions.reduce(k.and), store);
      return value;
    }),
  );
  memory.writing(each.slot, [], (writer) => {
    const environment = environmentOf(writer);
    const { from, to } = lowerRange(environment, each.column);
    const end = build.bind("end", k.min(to, k.add(first, blocking.block)));
    build.loop(
      each.column.name,
      blocking.lanes === 1 ? from : k.add(from, lane),
      end,
      (at) => {
        const inner = withIndices(environment, [[each.column.index, at]]);
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
        writer.store([at], sum, true);
      },
      blocking.lanes,
    );
  });
}

/** Runs `body` for each element of a row of a slot, shared among the lanes. */
function overRow({ build, blocking, lane }: BlockContext, slot: Slot, body: (at: readonly Expr[]) => void): void {
  const count = elementCount(slot.shape);
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
    blocking.lanes,
  );
}

/** The slots that an equation reads. */
function readBy(shape: ColumnwiseScan, each: Exclude<BlockEqn, { kind: "carry" }>): readonly Slot[] {
  const loads = eqnScalars(each.eqn).flatMap((scalar) => scalarLoads(scalar));
  return [...new Set(loads.flatMap((load) => shape.slots.get(load.tensor) ?? []))];
}
