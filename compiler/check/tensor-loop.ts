/** Loops of recipes over what is no linear layer. */
import type { RecipeStep, TensorKind } from "../recipe/recipe.js";
import type { ForStatement } from "../syntax/ast.js";
import { fail } from "./frame.js";
import { namePattern, type RecipeContext } from "./recipe-context.js";
import type { Scope } from "./scope.js";
import { blockTensorKinds } from "./tensors.js";
import { checkTreatments } from "./treatment.js";

/** Checks `for g in model.norms { }` and its kin. */
export function checkTensors(
  statement: ForStatement,
  of: TensorKind,
  ofBlock: boolean,
  context: RecipeContext,
  scope: Scope,
): readonly RecipeStep[] {
  const { frame } = context;
  const { over, span } = statement;
  const wrong = (message: string, label: string, help: string): readonly RecipeStep[] => {
    fail(frame, "E602", message, over.span, label, { help });
    return [];
  };
  if (context.training !== null)
    return wrong(
      `a training takes linear layers, and no ${of}`,
      "not in a training",
      "norms are trained along unless it says `norms: false`; put the loop before it or behind it",
    );
  if (!ofBlock && context.block !== null)
    return blockTensorKinds.includes(of)
      ? wrong(
          `inside a loop over blocks the ${of} are those of the block`,
          "those of the whole model",
          `write \`${context.block}.${of}\``,
        )
      : wrong(
          `\`${of}\` is of the model, not of a block`,
          "at each block",
          "put the loop before or behind that over blocks",
        );
  const matching = statement.matching.map((pattern) => namePattern(pattern, frame, scope));
  const except = statement.except.map((pattern) => namePattern(pattern, frame, scope));
  const shape = blockTensorKinds.includes(of) ? "vector" : "table";
  const treatments = checkTreatments(statement, context, scope, shape);
  return treatments === null ? [] : [{ kind: "tensors", of, matching, except, treatments, span }];
}
