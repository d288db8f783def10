/** How compressed-tensors describes the grid of weights. */
import { layerError, type Module } from "./layer.js";

/** The section `weights` of a group in `config_groups`, as far as weights depend on it. */
export interface WeightArguments {
  readonly type: "int" | "float";
  /** Of a code: 1 to 8. */
  readonly bits: number;
  readonly symmetric: boolean;
  /** Columns that share a scale; null: all of a row, or of the tensor. */
  readonly group: number | null;
  readonly strategy: "tensor" | "channel" | "group" | "block";
  /** Rows that share a scale where `strategy` is `block`; null elsewhere. `group` has the columns. */
  readonly blockRows: number | null;
  /** Whether groups are of columns that a method put together. */
  readonly isOrdered: boolean;
}

/** In words: `int4, groups of 128, symmetric`. */
export function describeWeights(args: WeightArguments): string {
  const { type, bits, symmetric, group, strategy, blockRows, isOrdered } = args;
  const grid =
    group === null
      ? `one scale a ${strategy === "tensor" ? "tensor" : "row"}`
      : blockRows === null
        ? `groups of ${group}`
        : `blocks of ${blockRows} x ${group}`;
  return `${type}${bits}, ${grid}, ${symmetric ? "symmetric" : "asymmetric"}${isOrdered ? ", groups in the order of activations" : ""}`;
}

/**
 * The groups of a row, and the shapes that their scales may have.
 * @throws ModelError M135 where the group does not divide the columns
 */
export function groupsOf(
  module: Module,
  { group, strategy, blockRows }: WeightArguments,
): { readonly groups: number; readonly shapes: readonly (readonly number[])[] } {
  if (group === null) return { groups: 1, shapes: strategy === "tensor" ? [[1], []] : [[module.outputs, 1]] };
  if (module.inputs % group !== 0)
    throw layerError("M135", module, `its ${module.inputs} columns are no multiple of the group of ${group}`);
  const groups = module.inputs / group;
  return { groups, shapes: [[blockRows === null ? module.outputs : Math.ceil(module.outputs / blockRows), groups]] };
}

/** The scales of blocks for each of their rows. */
export function spreadBlocks(
  { outputs }: Module,
  { blockRows }: Pick<WeightArguments, "blockRows">,
  values: Float32Array,
): Float32Array {
  const rows = blockRows ?? 1;
  const groups = values.length / Math.ceil(outputs / rows);
  const spread = new Float32Array(outputs * groups);
  for (let row = 0; row < outputs; row += 1) {
    const own = groups * Math.floor(row / rows);
    spread.set(values.subarray(own, own + groups), row * groups);
  }
  return spread;
}

/** A scale, or zero point, of a whole tensor for each of its rows; others are as they are. */
export function spreadScales<T extends Float32Array | Uint8Array>({ outputs }: Module, values: T): T {
  const only = values[0];
  if (values.length !== 1 || only === undefined) return values;
  return (values instanceof Float32Array ? new Float32Array(outputs) : new Uint8Array(outputs)).fill(only) as T;
}
