import { counted } from "../../words.js";
import { allEqns, eqnScalars, type ScanEqn } from "../../graph/eqn.js";
import type { ConcreteGraph, ValueId } from "../../graph/graph.js";
import { scalarLoads } from "../../graph/scalar.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { exchangeBytes, rowPitch, type Blocking, type ScanOptions } from "./blocking.js";
import { columnwiseScan, type ColumnwiseScan } from "./columnwise.js";

/** Invocations that share a row in workgroup memory, and rows of a workgroup, the most wanted first. */
const rowLanes = 32;
const rowCounts = [4, 2, 1] as const;

/** A scan as blocks run it. */
export interface BlockedScan {
  readonly shape: ColumnwiseScan;
  readonly blocking: Blocking;
}

/** How each scan of a graph is run, by what it defines: in blocks, or in words why column by column. */
export type CutScans = ReadonlyMap<ValueId, BlockedScan | string>;

/** Cuts all scans of a graph. */
export function cutScans(graph: ConcreteGraph, target: Target, options: ScanOptions): CutScans {
  const scans = allEqns(graph.eqns).filter((eqn) => eqn.kind === "scan");
  return new Map(scans.map((scan) => [scan.out, cutScan(graph, scan, target, options)]));
}

function cutScan(
  graph: ConcreteGraph,
  scan: ScanEqn<Concrete>,
  target: Target,
  options: ScanOptions,
): BlockedScan | string {
  if (options.blocked === false) return "blocks are switched off";
  const shape = columnwiseScan(graph, scan);
  if (typeof shape === "string") return shape;
  const memory = options.memory ?? (target.kind === "cpu" ? "storage" : "workgroup");
  const terms = shape.body.reduce((sum, each) => sum + (each.kind === "trailing" ? each.terms.length : 0), 0);
  const tensors = new Set(
    scan.body.flatMap((eqn) => eqnScalars(eqn).flatMap((scalar) => scalarLoads(scalar).map((load) => load.tensor))),
  );
  const outer = [...tensors].filter(
    (id) => !shape.slots.has(id) && graph.values[id]!.type.shape.length > 0 && !scan.body.some((eqn) => eqn.out === id),
  ).length;
  const arrays = memory === "storage" ? shape.values.filter((slot) => slot.keep === "row").length : 0;
  const bindings = outer + shape.states.length + terms + arrays;
  if (bindings > target.maxStorageBuffers)
    return `a step uses ${counted(bindings, "tensor")}, and the device binds ${target.maxStorageBuffers}`;
  // on a CPU driver the walk costs far more than the product: short blocks, as long as they hold whole groups
  const wanted = options.block ?? (memory === "storage" ? 64 : 128);
  const block = Math.ceil(Math.max(1, Math.min(wanted, shape.to - shape.from)) / shape.group) * shape.group;
  if (memory === "storage")
    return { shape, blocking: { block, rows: Math.min(16, target.maxInvocations), lanes: 1, memory } };
  const lanes = options.lanes ?? rowLanes;
  for (let length = block; length >= 1; length = shorter(length, shape.group)) {
    for (const rows of options.rows === undefined ? rowCounts : [options.rows]) {
      const blocking: Blocking = { block: length, rows, lanes, memory };
      if (rows * lanes <= target.maxInvocations && workgroupBytes(shape, blocking) <= target.maxWorkgroupMemory)
        return { shape, blocking };
    }
  }
  return `a row takes ${counted(workgroupBytes(shape, { block: shape.group, rows: 1, lanes, memory }), "byte")} of workgroup memory, and the device has ${target.maxWorkgroupMemory}`;
}

/** Half the length in whole groups; 0 where there is less than a group left. */
function shorter(length: number, group: number): number {
  return Math.floor(length / 2 / group) * group;
}

function workgroupBytes(shape: ColumnwiseScan, blocking: Blocking): number {
  // arrays are rounded up to 16 bytes
  return [...shape.states, ...shape.values].reduce(
    (sum, slot) => sum + Math.ceil((blocking.rows * rowPitch(slot, blocking)) / 4) * 16,
    blocking.rows * exchangeBytes(blocking.lanes),
  );
}
