/** Which steps of a recipe write the model. */
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";

/** Whether a step writes the model. */
export function saves(step: RecipeStep): boolean {
  return step.kind === "save" || (step.kind === "blocks" && step.body.some(saves));
}

/** Whether weights may be stored after the last `save` of a recipe that has one: they are written nowhere. */
export function storesUnsaved(recipe: Recipe): boolean {
  const last = recipe.steps.findLastIndex(saves);
  if (last < 0) return false;
  const stores = (step: RecipeStep): boolean =>
    step.kind === "linears" || step.kind === "tensors"
      ? step.treatments.some((treatment) => treatment.stores !== null || treatment.retains !== null)
      : step.kind === "train" ||
        step.kind === "scale" ||
        step.kind === "rotate" ||
        step.kind === "round" ||
        (step.kind === "blocks" && step.body.some(stores));
  const at = recipe.steps[last];
  const within = at?.kind === "blocks" ? at.body.slice(at.body.findLastIndex(saves) + 1) : [];
  return [...within, ...recipe.steps.slice(last + 1)].some(stores);
}
