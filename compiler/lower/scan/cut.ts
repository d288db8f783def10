import { eqnScalars, type ScanEqn } from "../../graph/eqn.js";
import type { ConcreteGraph } from "../../graph/graph.js";
import { scalarLoads } from "../../graph/scalar.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import { columnwise, type Columnwise, type Slot } from "./columnwise.js";
import { exchangeBytes } from "./shared.js";

/** How scans are run; all that is not given is chosen for the device. */
export interface ScanOptions {
  /** Whether to run scans in blocks where that is possible; on by default. */
  readonly blocked?: boolean;
  /** Columns of a block, rounded up to whole groups. */
  readonly block?: number;
  /** Where a row's columns are kept while a block walks over them. */
  readonly memory?: Cut["memory"];
}

/** How a columnwise scan is cut. */
export interface Cut {
  /** Columns of a block. */
  readonly block: number;
  /** Rows of a workgroup, and the invocations that share one. */
  readonly rows: number;
  readonly lanes: number;
  /**
   * Workgroup memory, with a barrier wherever lanes exchange something; or the tensors themselves, with one lane a row
   * and no barriers.
   */
  readonly memory: "workgroup" | "storage";
}

/** Invocations that share a row in workgroup memory. */
const rowLanes = 32;

/** A scan as blocks run it, or in words why it is run column by column. */
export function cutScan(
  graph: ConcreteGraph,
  scan: ScanEqn<Concrete>,
  target: Target,
  options: ScanOptions,
): { readonly shape: Columnwise; readonly cut: Cut } | string {
  if (options.blocked === false) return "blocks are switched off";
  const shape = columnwise(graph, scan);
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
    return `a step uses ${bindings} tensors, and the device binds ${target.maxStorageBuffers}`;
  // on a CPU driver the walk costs far more than the product: short blocks, as long as they hold whole groups
  const wanted = options.block ?? (memory === "storage" ? 64 : 128);
  const block = Math.ceil(Math.max(1, Math.min(wanted, shape.to - shape.from)) / shape.group) * shape.group;
  if (memory === "storage")
    return { shape, cut: { block, rows: Math.min(16, target.maxInvocations), lanes: 1, memory } };
  for (let length = block; length >= 1; length = shorter(length, shape.group)) {
    for (const rows of [4, 2, 1]) {
      if (rows * rowLanes <= target.maxInvocations && workgroupBytes(shape, length) * rows <= target.maxWorkgroupMemory)
        return { shape, cut: { block: length, rows, lanes: rowLanes, memory } };
    }
  }
  return `a row takes ${workgroupBytes(shape, shape.group)} bytes of workgroup memory, and the device has ${target.maxWorkgroupMemory}`;
}

/** Half the length in whole groups; 0 where there is less than a group left. */
function shorter(length: number, group: number): number {
  return Math.floor(length / 2 / group) * group;
}

/** Elements of a row that a slot keeps in workgroup memory; of a number that is a state, to hand it to all lanes. */
export function keptElements(slot: Slot, block: number): number {
  return slot.keep === "number"
    ? slot.state === null
      ? 0
      : 1
    : slot.keep === "columns"
      ? block
      : slot.shape.reduce((product, size) => product * size, 1);
}

function workgroupBytes(shape: Columnwise, block: number): number {
  // arrays are rounded up to 16 bytes
  return [...shape.states, ...shape.values].reduce(
    (sum, slot) => sum + Math.ceil(keptElements(slot, block) / 4) * 16,
    exchangeBytes(rowLanes),
  );
}
