import type { Computed, ParameterValue, Recipe, RecipeStep } from "../recipe/recipe.js";
import type { RecipeDeclaration, Statement } from "../syntax/ast.js";
import { checkParameters } from "./recipe-parameter.js";
import { checkLoop } from "./recipe-loop.js";
import { checkObserve } from "./observation.js";
import { newBuilder } from "./builder.js";
import { checkCondition, ofModel } from "./condition.js";
import { constantCondition } from "./constant-condition.js";
import { findingsFor } from "./findings.js";
import { fail, type Frame } from "./frame.js";
import type { RecipeContext } from "./recipe-context.js";
import { nest, type Scope } from "./scope.js";
import { checkPermutations } from "./permute.js";
import { checkRetentions } from "./retention.js";
import { checkRoundings } from "./rounding.js";
import { checkRotations } from "./rotation.js";
import { checkSettings, type Settings } from "./settings.js";
import { checkLet } from "./statement.js";
import { checkTraining } from "./training.js";
import { refusedInTraining } from "./training-statements.js";
import { warnUnused } from "./unused.js";

export { checkSettings, type Settings };

/**
 * Checks a recipe; null where it has an error. `settings` are the values of its parameters that are not their defaults.
 */
export function checkRecipe(
  recipe: RecipeDeclaration,
  rest: Pick<Frame, "file" | "report" | "functionOf">,
  constants: Scope,
  settings: ReadonlyMap<string, ParameterValue>,
): Recipe | null {
  const findings = findingsFor(rest);
  const { report, functionOf } = findings;
  const frame: Frame = {
    ...rest,
    report,
    functionOf,
    builder: newBuilder(),
    dtypes: new Set(),
    formats: new Set(),
    layer: null,
  };
  const scope = nest(constants);
  const parameters = checkParameters(recipe, frame, scope, settings);
  const inside = nest(scope);
  const context: RecipeContext = {
    frame,
    recipe,
    observed: [],
    measured: [],
    complete: new Set(),
    permuted: [],
    steps: inside,
    block: null,
    training: null,
  };
  const steps = checkSteps(recipe.body, context, inside);
  checkPermutations(steps, frame);
  checkRetentions(steps, frame);
  checkRoundings(steps, frame);
  checkRotations(steps, frame);
  findings.finish();
  if (findings.failed()) return null;
  return { name: recipe.name.name, span: recipe.name.span, parameters, needsText: steps.some(needsText), steps };
}

/** Checks the statements of a recipe or of a loop over its blocks. */
function checkSteps(statements: readonly Statement[], context: RecipeContext, scope: Scope): readonly RecipeStep[] {
  const steps: RecipeStep[] = [];
  for (const statement of statements) {
    steps.push(...checkStep(statement, context, scope));
    // a loop over blocks, or over all layers, is over
    if (context.block === null) for (const { id } of context.measured) context.complete.add(id);
  }
  warnUnused(scope, context.frame);
  return steps;
}

function checkStep(statement: Statement, context: RecipeContext, scope: Scope): readonly RecipeStep[] {
  const { frame } = context;
  if (context.training !== null && refusedInTraining(statement, context)) return [];
  switch (statement.kind) {
    case "let": {
      if (statement.value.kind === "observe") return checkObserve(statement, statement.value, context, scope);
      checkLet(statement, frame, scope);
      const made = frame.builder.eqns.length;
      if (made > 0) {
        fail(
          frame,
          "E602",
          "tensors are computed inside `for w in ...linears`",
          statement.span,
          "outside the loop over layers there are only constants",
        );
        frame.builder.eqns.length = 0;
      }
      return [];
    }
    case "for":
      return checkLoop(statement, context, scope, checkSteps);
    case "if": {
      const chosen = constantCondition(statement.condition, frame, scope);
      if (chosen === null) return [];
      return checkSteps(chosen ? statement.then : statement.otherwise, context, nest(scope));
    }
    case "train":
      return checkTraining(statement, context, scope, checkSteps);
    case "expect": {
      const condition = checkCondition(statement.condition, frame, scope);
      const { start, end } = statement.condition.span;
      // what compares numbers only holds, or was reported
      return condition === null || !ofModel(condition)
        ? []
        : [{ kind: "expect", condition, text: frame.file.source.slice(start, end), span: statement.span }];
    }
    case "save":
      if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(statement.name.value))
        fail(
          frame,
          "E605",
          `\`${statement.name.value}\` cannot be the name of a folder`,
          statement.name.span,
          "not a plain name",
          { help: "use letters, digits, `-`, `_` and `.`" },
        );
      return [{ kind: "save", name: statement.name.value, span: statement.span }];
    case "scan":
      fail(frame, "E602", "`scan` stands in functions, and in `for w in ...linears`", statement.span, "not here");
      return [];
    case "store":
      fail(frame, "E602", "`store` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "permute":
      fail(frame, "E602", "`permute` stands in a loop over layers", statement.span, "the channels of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "scale":
    case "round":
      fail(frame, "E602", `\`${statement.kind}\` stands in a loop over inputs`, statement.span, "of which input?", {
        help: "inside `for w in block.inputs { }`",
      });
      return [];
    case "print":
      fail(frame, "E602", "`print` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "measure":
      fail(frame, "E602", "`measure` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "retain":
      fail(frame, "E602", "`retain` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "var":
    case "update":
      fail(
        frame,
        "E602",
        `\`${statement.kind === "var" ? "var" : "an update"}\` stands in a function or in a loop over layers`,
        statement.span,
        "not here",
      );
      return [];
    case "return":
      fail(frame, "E602", "a recipe returns nothing", statement.span, "only functions do", {
        help: "`store` puts a weight into the model, `save` writes the model",
      });
      return [];
    default:
      return statement satisfies never;
  }
}

function needsText(step: RecipeStep): boolean {
  switch (step.kind) {
    case "blocks":
      return step.body.some(needsText);
    case "observe":
    case "expect":
      return true;
    case "tensors":
    case "linears":
      return step.treatments.some((treatment) =>
        [
          ...treatment.inputs,
          ...[...treatment.choices, ...treatment.measures, ...treatment.prints].flatMap(({ inputs }) => inputs),
          ...(treatment.permutes?.score.inputs ?? []),
          ...(treatment.retains?.inputs ?? []),
        ].some((input) => input.kind === "windows" || input.kind === "tokens"),
      );
    case "train":
      return true;
    case "save":
    case "rotate":
      return false;
    case "round":
      return step.activations.group === "tensor" && takesCounts(step.activations.scale);
    case "scale":
      return takesCounts(step.computed);
    default:
      return step satisfies never;
  }
}

/** Whether a value depends on how long the text is. */
function takesCounts({ inputs }: Computed): boolean {
  return inputs.some(({ kind }) => kind === "windows" || kind === "tokens");
}
