/** What the layer of a recipe's loop has. */
import type { Span } from "../diagnostic.js";
import type { ValueId } from "../graph/graph.js";
import type { TreatmentInput } from "../recipe/recipe.js";
import { symbolSize } from "../types/size.js";
import { full, type TensorType } from "../types/type.js";
import { addInput, type Builder } from "./builder.js";
import type { Layer } from "./frame.js";
import { trainingOf } from "./parameter.js";
import type { RecipeContext } from "./recipe-context.js";
import { bind, type Scope } from "./scope.js";

/** A loop's layer, with what earlier loops have measured. */
interface MeasuredLayer extends Layer {
  /** What was measured of all layers of a loop, f32 [layers]. */
  readonly measured: (measure: number, at: Span) => ValueId;
}

/** What the loop's layer has, each made an input of the treatment's graph when it is first used. */
export function layerOf(
  name: string,
  context: RecipeContext,
  builder: Builder,
  inputs: { readonly input: TreatmentInput; readonly value: ValueId }[],
): MeasuredLayer {
  const made = new Map<string, ValueId>();
  const once = (key: string, wish: string, type: TensorType, describe: (name: string) => TreatmentInput): ValueId => {
    const known = made.get(key);
    if (known !== undefined) return known;
    let unique = wish;
    for (let number = 2; builder.inputs.some((input) => input.name === unique); number++) unique = `${wish}${number}`;
    const value = addInput(builder, unique, type, null);
    inputs.push({ input: describe(unique), value });
    made.set(key, value);
    return value;
  };
  const weight: TensorType = { dtype: "f32", shape: [symbolSize("N"), symbolSize("K")], pattern: full, format: null };
  return {
    name,
    weight: () => once("weight", name, weight, (unique) => ({ name: unique, kind: "weight" })),
    start:
      context.training === null
        ? null
        : () => once("start", `${name}_start`, weight, (unique) => ({ name: unique, kind: "start" })),
    training: context.training === null ? null : trainingOf(builder, inputs, once),
    changes: (value) =>
      inputs.some((each) => each.value === value && ["weight", "clock", "parameter"].includes(each.input.kind)),
    original: () => once("original", `${name}_dense`, weight, (unique) => ({ name: unique, kind: "original" })),
    statistic: (observe) =>
      once(
        `observe ${observe}`,
        context.observed[observe]?.name ?? "statistic",
        context.observed[observe]?.type ?? weight,
        (unique) => ({ name: unique, kind: "statistic", observe }),
      ),
    count: (kind) =>
      once(kind, kind, { dtype: "f32", shape: [], pattern: full, format: null }, (unique) => ({ name: unique, kind })),
    measured: (measure, span) => {
      const { name, count } = context.measured[measure] ?? { name: "measured", count: "L" };
      const type: TensorType = { dtype: "f32", shape: [symbolSize(count)], pattern: full, format: null };
      return once(`measured ${measure}`, name, type, (unique) => ({ name: unique, kind: "measured", measure, span }));
    },
    own: (value, span) => {
      const input = inputs.find((each) => each.value === value)?.input;
      if (input?.kind !== "measured") return null;
      const { measure } = input;
      const type: TensorType = { dtype: "f32", shape: [], pattern: full, format: null };
      return once(`own ${measure}`, `${input.name}_own`, type, (unique) => ({
        name: unique,
        kind: "measured_here",
        measure,
        span,
      }));
    },
  };
}

/** Binds what earlier loops have measured, each f32 [layers]. */
export function bindMeasured(
  scope: Scope,
  { measured, complete, training }: RecipeContext,
  layer: MeasuredLayer,
): void {
  if (training !== null) return;
  for (const { id, name, span } of measured)
    if (complete.has(id)) bind(scope, name, { kind: "tensor", value: layer.measured(id, span), mutable: false }, span);
}
