/** What a recipe writes, and where. */
import { join } from "node:path";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import { realpathOfNew } from "../../model/files.js";
import type { Model } from "../../model/model.js";
import { checkOutput } from "../../model/output.js";
import type { CompressOptions } from "./compression.js";
import { stateOf } from "../long-runs/saved-state.js";

/**
 * Checks that what a recipe writes can be written, but for what the run that is to be gone on with has written already;
 * gives the directories of that.
 * @throws ModelError as `checkOutput`
 */
export async function checkOutputs(
  model: Model,
  recipe: Recipe,
  { output, resume, force }: Pick<CompressOptions, "output" | "resume" | "force">,
): Promise<readonly string[]> {
  const written = resume === true ? ((await stateOf(output))?.saved ?? []) : [];
  for (const path of outputsOf(recipe, output))
    if (!written.includes(await realpathOfNew(path)))
      await checkOutput(path, { model: model.directory, force: force === true });
  return written;
}

/** The directories that a recipe writes: those that it names, else the output itself. */
export function outputsOf(recipe: Recipe, output: string): readonly string[] {
  const named = (steps: readonly RecipeStep[]): readonly string[] =>
    steps.flatMap((step) => (step.kind === "save" ? [step.name] : step.kind === "blocks" ? named(step.body) : []));
  const names = named(recipe.steps);
  return names.length === 0 ? [output] : names.map((name) => join(output, name));
}
