import type { RecipeStep } from "../recipe/recipe.js";

/** What of the model as it was given a step takes that has the sizes of its layers, in words; null for nothing. */
export function dependsOnDense(step: RecipeStep): string | null {
  switch (step.kind) {
    case "blocks":
      return step.body.map(dependsOnDense).find((found) => found !== null) ?? null;
    case "observe":
      return step.graph.inputs.length > 1 ? "what a layer receives in the model as it was given" : null;
    case "train":
      return step.settings.dense_inputs
        ? "`dense_inputs`"
        : (step.layers.map(dependsOnDense).find((found) => found !== null) ?? null);
    case "tensors":
    case "linears":
      return step.treatments
        .flatMap(({ inputs, choices, measures, prints }) => [
          inputs,
          ...[...choices, ...measures, ...prints].map((each) => each.inputs),
        ])
        .flat()
        .some(({ kind }) => kind === "original")
        ? "the weight of the model as it was given"
        : null;
    case "scale":
    case "rotate":
    case "round":
    case "expect":
    case "save":
      return null;
    default:
      return step satisfies never;
  }
}
