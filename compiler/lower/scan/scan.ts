/** Scans: in blocks where rows are independent and later columns change by sums only, else step by step. */
import { binary, indexOf, integer, load, range, reduce } from "../../graph/build.js";
import { freshIndices, type ScanEqn } from "../../graph/eqn.js";
import type { ConcreteGraph, Eqn, Range, Scalar, Value } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import { storageBytes, type Storage } from "../../graph/storage.js";
import { full, type Concrete } from "../../types/type.js";
import { lowerEqn, type Wanted } from "../schedules/choose.js";
import { boundingRange } from "../../graph/analysis/ranges.js";
import { kernelStep, type Lowered, type LoweredStep } from "../lowered.js";
import { createLowering, parameterName, type Lowering } from "../toolkit/lowering.js";
import { blockKernel } from "./block.js";
import type { BlockEqn, UpdateEqn } from "./columnwise.js";
import type { BlockedScan } from "./cut.js";
import { masked, rightAt } from "./trailing.js";

type Trailing = BlockEqn & { readonly kind: "trailing" };

/** Options of the lowering of a scan. */
export interface ScanLowering {
  /** How it is run. */
  readonly cut: BlockedScan | string;
  /** The schedules to take where they apply. */
  readonly wanted: Wanted;
  /** Lowers an equation of its body. */
  readonly lowerStep: (inner: Lowering, eqn: Eqn<Concrete>) => Lowered;
}

/** The steps of a scan. */
export function lowerScan(lowering: Lowering, scan: ScanEqn<Concrete>, options: ScanLowering): Lowered {
  const { low, high } = boundingRange(scan.range, lowering.bounds);
  if (high <= low) return { steps: [], scratch: [], notes: [] };
  const { cut } = options;
  if (typeof cut !== "string") return blocks(lowering, scan, cut, options.wanted);
  const parameter = parameterName(lowering, scan.range.name);
  const inner = inside(lowering, lowering.graph, lowering.storage, scan, parameter, low, high - 1);
  const body = scan.body.map((eqn) => options.lowerStep(inner, eqn));
  return {
    steps: [{ kind: "repeat", parameter, from: low, to: high, by: 1, steps: body.flatMap((each) => each.steps) }],
    scratch: body.flatMap((each) => each.scratch),
    notes: [noteOf(lowering.graph, scan, cut), ...body.flatMap((each) => each.notes)],
  };
}

/** For people, why a scan is not run in blocks. */
function noteOf(
  { name, values }: ConcreteGraph,
  { range: { name: index }, out, writtenIn = name }: ScanEqn<Concrete>,
  why: string,
): string {
  const { span } = values[out]!;
  return `the scan over ${index} in ${writtenIn}${span === null ? "" : ` (${span.file})`} runs column by column and not in blocks, which is slow: ${why}.`;
}

/** The lowering of what stands in the body of a scan, whose index takes values of `low .. high`, high included. */
function inside(
  lowering: Lowering,
  graph: ConcreteGraph,
  storage: Lowering["storage"],
  scan: ScanEqn<Concrete>,
  parameter: string,
  low: number,
  high: number,
): Lowering {
  return createLowering(graph, storage, lowering.target, [
    ...lowering.outer,
    { index: scan.range.index, parameter, interval: { low, high: Math.max(low, high) } },
  ]);
}

/** Blocks of columns: the walk over each, then a product for all that comes after it. */
function blocks(
  lowering: Lowering,
  scan: ScanEqn<Concrete>,
  { shape, blocking }: BlockedScan,
  wanted: Wanted,
): Lowered {
  const { from, to } = shape;
  const { block } = blocking;
  const parameter = parameterName(lowering, `${scan.range.name}block`);
  const updates = shape.body.filter((each) => each.kind === "trailing");

  // the graph with the multipliers of a block as tensors, and the states after its product
  const values: Value<Concrete>[] = [...lowering.graph.values];
  const storage: (Storage | null)[] = [...lowering.storage];
  const define = (name: string, shapeOf: readonly number[], given: Storage | null): Value<Concrete> => {
    const value: Value<Concrete> = {
      id: values.length,
      name,
      span: null,
      type: { dtype: "f32", shape: shapeOf, pattern: full, format: null },
    };
    values.push(value);
    storage.push(
      given ?? { name: `${name}.${value.id}.${scan.out}`, bytes: storageBytes(value.type), role: "temporary" },
    );
    return value;
  };
  const multipliers = updates.map((each) =>
    each.terms.map(() => define(`${each.slot.name}_multipliers`, [shape.rows, block], null)),
  );
  const after = updates.map((each) =>
    define(`${each.slot.name}_after`, lowering.graph.values[each.eqn.base]!.type.shape, storage[each.eqn.base]!),
  );
  const graph: ConcreteGraph = { ...lowering.graph, values };
  const fresh = freshIndices(lowering.graph);
  const scratch = multipliers.flat().map((value) => storage[value.id]!);

  /** The walk and the products of the blocks that start at `low`, ..., `high`, of `length` steps each. */
  const blocksOf = (low: number, high: number, length: number): readonly LoweredStep[] => {
    const inner = inside(lowering, graph, storage, scan, parameter, low, high);
    const offset = range(fresh(), "i", 0, length);
    const products = updates.flatMap((each, at) => {
      const end = constantOf(each.column.high)!;
      if (low + block >= end) return [];
      const eqn = product(each, after[at]!, multipliers[at]!, scan, offset, block);
      return lowerEqn(inner.including(eqn), eqn, wanted).map(kernelStep);
    });
    const walk = blockKernel(inner, scan, shape, blocking, scratch);
    return [{ kind: "repeat", parameter, from: low, to: high + 1, by: block, steps: [kernelStep(walk), ...products] }];
  };
  // the last block may be shorter, and mostly has nothing after it
  const last = from + Math.floor((to - from - 1) / block) * block;
  return {
    steps: [...(last > from ? blocksOf(from, last - block, block) : []), ...blocksOf(last, last, to - last)],
    scratch,
    notes: [],
  };
}

/**
 * What the steps of a block add to the columns after it: state[n, j] += sum of multipliers[n, i] * right[first + i, j].
 */
function product(
  each: Trailing,
  out: Value<Concrete>,
  multipliers: readonly Value<Concrete>[],
  scan: ScanEqn<Concrete>,
  offset: Range<Concrete>,
  block: number,
): UpdateEqn {
  const first: Scalar<Concrete> = { kind: "index", index: scan.range.index, name: scan.range.name };
  const rows = each.eqn.indices.find((one) => one.index === each.row)!;
  const column = { ...each.column, low: binary("add", first, integer(block)) };
  const at = [indexOf(rows), indexOf(column)];
  const terms = each.terms.map((term, i) => {
    const sum = reduce(
      "sum",
      [offset],
      binary(
        "multiply",
        load(multipliers[i]!, [indexOf(rows), indexOf(offset)]),
        rightAt(term, scan.range.index, first, indexOf(offset)),
      ),
    );
    return masked(sum, term.mask);
  });
  return {
    kind: "update",
    out: out.id,
    base: each.eqn.base,
    indices: [rows, column],
    at,
    body: terms.reduce((a, b) => binary("add", a, b)),
    op: "add",
  };
}
