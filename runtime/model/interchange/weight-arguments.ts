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
  readonly strategy: "tensor" | "channel" | "group";
  /** Whether groups are of columns that a method put together. */
  readonly isOrdered: boolean;
}

/** In words: `int4, groups of 128, symmetric`. */
export function describeWeights({ type, bits, symmetric, group, strategy, isOrdered }: WeightArguments): string {
  const grid = group === null ? `one scale a ${strategy === "tensor" ? "tensor" : "row"}` : `groups of ${group}`;
  return `${type}${bits}, ${grid}, ${symmetric ? "symmetric" : "asymmetric"}${isOrdered ? ", groups in the order of activations" : ""}`;
}

/**
 * The groups of a row, and the shapes that their scales may have.
 * @throws ModelError M135 where the group does not divide the columns
 */
export function groupsOf(
  module: Module,
  { group, strategy }: WeightArguments,
): { readonly groups: number; readonly shapes: readonly (readonly number[])[] } {
  if (group === null) return { groups: 1, shapes: strategy === "tensor" ? [[1], []] : [[module.outputs, 1]] };
  if (module.inputs % group !== 0)
    throw layerError("M135", module, `its ${module.inputs} columns are no multiple of the group of ${group}`);
  return { groups: module.inputs / group, shapes: [[module.outputs, module.inputs / group]] };
}

/** A scale, or zero point, of a whole tensor for each of its rows; others are as they are. */
export function spreadScales<T extends Float32Array | Uint8Array>({ outputs }: Module, values: T): T {
  const only = values[0];
  if (values.length !== 1 || only === undefined) return values;
  return (values instanceof Float32Array ? new Float32Array(outputs) : new Uint8Array(outputs)).fill(only) as T;
}
