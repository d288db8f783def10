/** What pattern a treatment gives the weight that it stores. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { formatOf } from "../../../compiler/formats/registry.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import { constantSize, sizeValue, substituteSize, type Size } from "../../../compiler/types/size.js";
import { mapFormat } from "../../../compiler/types/type.js";
import type { Linear } from "../../model/model.js";
import type { StoredPattern } from "../../model/packed.js";

/** The pattern of what a treatment stores, as files tell it. */
export function patternOf(linear: Linear, treatment: Treatment): StoredPattern {
  const output = treatment.graph.outputs.find(({ name }) => name === treatment.stores);
  const type = output === undefined ? undefined : treatment.graph.values[output.value]?.type;
  if (type === undefined) throw new InternalError(`a treatment of ${linear.name} stores nothing`);
  const { pattern } = type;
  const format = type.format !== null && "name" in type.format ? type.format : null;
  switch (pattern.kind) {
    case "full":
      return { kind: "full" };
    case "masked":
      return { kind: "masked" };
    // half of each row, say, is no pattern that hardware knows
    case "nm":
      return format !== null && formatOf(format.name)?.pattern(mapFormat(format, () => 1))?.kind === "masked"
        ? { kind: "masked" }
        : { kind: "nm", n: numberOf(pattern.n, linear), m: numberOf(pattern.m, linear), axis: pattern.axis };
    default:
      return pattern satisfies never;
  }
}

/** A size of a treatment for a layer, or one that no layer decides. */
export function numberOf(size: Size, linear: Linear | null): number {
  const sizes: { readonly [name: string]: number } = linear === null ? {} : { N: linear.outputs, K: linear.inputs };
  const value = sizeValue(
    substituteSize(size, (symbol) => (sizes[symbol] === undefined ? null : constantSize(sizes[symbol]))),
  );
  if (value === null) throw new InternalError("a size of a treatment is not known");
  return value;
}
