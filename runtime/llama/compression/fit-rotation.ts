/** Whether the stream of a model can be rotated, and where a recipe may do so: told before a weight is read. */
import { error, type Diagnostic, type Span } from "../../../compiler/diagnostic.js";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/model.js";
import type { Functions } from "../functions.js";
import { rotatedBlock, rotatesFrame } from "./stream.js";

/** E613 for a stream that is touched otherwise than by sums, norms and products, E614 for a rotation that comes late. */
export function rotationFindings(functions: Functions, model: Model, recipe: Recipe): readonly Diagnostic[] {
  const at = recipe.steps.findIndex(({ kind }) => kind === "rotate");
  const step = recipe.steps[at];
  if (step?.kind !== "rotate") return [];
  const found: Diagnostic[] = [];
  const before = recipe.steps
    .slice(0, at)
    .map(changedAt)
    .find((span) => span !== null);
  if (before != null)
    found.push(
      error(
        "E614",
        "the stream is rotated after weights were changed",
        { span: step.at, message: "what was chosen for other values" },
        { labels: [{ span: before, message: "changed here" }], help: "rotate first, then scale and store" },
      ),
    );
  const refused = (where: string, reason: string): Diagnostic =>
    error(
      "E613",
      `the stream cannot be rotated in ${where}`,
      { span: step.at, message: "not folded into the weights" },
      { notes: [reason], help: "leave the loop over `model.stream` out for this model" },
    );
  const frame = rotatesFrame(functions);
  if (frame.kind === "none") found.push(refused("the embedding and the head", frame.reason));
  for (const block of model.blocks) {
    const rotation = rotatedBlock(functions, block);
    if (rotation.kind === "none")
      return [...found, refused(`${block.name}, ${block.layout.function}`, rotation.reason)];
  }
  return found;
}

/** Where a step changes weights, or what layers take. */
function changedAt(step: RecipeStep): Span | null {
  if (step.kind === "blocks") return step.body.map(changedAt).find((span) => span !== null) ?? null;
  if (step.kind === "scale" || step.kind === "round") return step.at;
  const stores =
    step.kind === "linears" || step.kind === "tensors"
      ? step.treatments.some(
          ({ stores: name, retains, permutes }) => name !== null || retains !== null || permutes !== null,
        )
      : step.kind === "train";
  return stores ? step.span : null;
}
