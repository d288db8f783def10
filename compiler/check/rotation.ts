/** `for w in model.stream { scale w by q }`: the residual stream, multiplied by an orthogonal matrix. */
import type { ValueId } from "../graph/graph.js";
import type { Recipe, RecipeStep, RotateStep } from "../recipe/recipe.js";
import type { ForStatement, ScaleStatement } from "../syntax/ast.js";
import { symbolSize } from "../types/size.js";
import { typeOf } from "./builder.js";
import { dependsOnDense } from "./dense-inputs.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { openLoopBody } from "./loop-body.js";
import type { RecipeContext } from "./recipe-context.js";
import type { Scope } from "./scope.js";
import { equalSizes } from "./sizes.js";
import { checkStatements } from "./statement.js";
import { graphOf } from "./treatment.js";
import { warnUnused } from "./unused.js";
import { checkTensor } from "./whole.js";

/** Checks the loop; no step where there is an error. Its `w` has `w.columns`, the features of the stream, alone. */
export function checkRotation(statement: ForStatement, context: RecipeContext, outer: Scope): readonly RotateStep[] {
  const name = statement.name.name;
  const wrong = (message: string, span = statement.over.span, label = "not here", help: string | null = null): [] => {
    fail(context.frame, "E602", message, span, label, help === null ? {} : { help });
    return [];
  };
  if (context.block !== null)
    return wrong("the stream is of the model, not of a block", undefined, "at each block", "put it before the loop");
  if (context.training !== null) return wrong("`stream` cannot stand in a training");
  const [pattern] = [...statement.matching, ...statement.except];
  if (pattern !== undefined) return wrong("the stream of a model is one", pattern.span, "selects nothing");
  const loop = openLoopBody(statement, context, outer);
  const { frame, builder, inputs, scope: body } = loop;
  let scaled: { readonly by: ScaleStatement; readonly value: ValueId } | null = null;
  checkStatements(statement.body, frame, body, (each, inner) => {
    if (each.kind !== "scale" || each.through !== null)
      return void fail(
        frame,
        "E602",
        `\`${each.kind}\` cannot stand in a loop over the stream`,
        each.span,
        "not here",
        {
          help: `it has one statement, \`scale ${name} by random_hadamard(${name}.columns, u32(1))\``,
        },
      );
    if (each.name.name !== name)
      return void fail(frame, "E604", "what is rotated is the stream of the loop", each.name.span, `not \`${name}\``);
    if (scaled !== null)
      return void fail(frame, "E604", `\`${name}\` is rotated twice`, each.span, "rotated again", {
        labels: [{ span: scaled.by.span, message: "first rotated here" }],
      });
    const value = checkTensor(each.by, placeIn(frame, inner));
    if (value === null) loop.giveUp();
    else scaled = { by: each, value };
  });
  warnUnused(body, frame);
  // the callback above sets it
  const found = scaled as { readonly by: ScaleStatement; readonly value: ValueId } | null;
  if (loop.hasFailed()) return [];
  if (found === null) {
    fail(frame, "E604", "this loop rotates nothing", statement.name.span, "no weight is changed");
    return [];
  }
  const { by, value } = found;
  const type = typeOf(builder, value);
  const fits =
    type.dtype === "f32" &&
    type.format === null &&
    type.shape.length === 2 &&
    type.shape.every((size) => equalSizes(size, symbolSize("K"), builder.constraints));
  if (!fits) {
    fail(
      frame,
      "E604",
      `the stream is rotated by an orthogonal matrix, f32[${name}.columns, ${name}.columns], and this is ${printType(type)}`,
      by.by.span,
      printType(type),
    );
    return [];
  }
  const computed = graphOf(value, "rotation", context, builder, inputs);
  if (computed.inputs.length > 0)
    return wrong(
      "a rotation is made of the number of features alone",
      by.by.span,
      "of a weight",
      `take \`${name}.columns\``,
    );
  return [{ kind: "rotate", graph: computed.graph, at: by.span, span: statement.span }];
}

/** Reports a second rotation, and what compares with the model as it was given, whose stream has other channels. */
export function checkRotations(steps: Recipe["steps"], frame: Frame): void {
  const first = steps.find((step): step is RotateStep => step.kind === "rotate");
  if (first === undefined) return;
  const labels = [{ span: first.at, message: "rotated here" }];
  const activations = (step: RecipeStep): RecipeStep[] =>
    step.kind === "blocks" ? step.body.flatMap(activations) : ["observe", "train"].includes(step.kind) ? [step] : [];
  for (const step of steps) {
    if (step.kind === "rotate" && step !== first)
      fail(frame, "E604", "the stream is rotated twice", step.at, "rotated again", { labels });
    for (const each of activations(step)) {
      const compares = dependsOnDense(each) !== null || each.kind === "train";
      if (compares)
        fail(
          frame,
          "E602",
          "what compares with the model as it was given cannot stand beside a rotation",
          each.span,
          "of other channels",
          {
            labels,
            help: "rotate in a recipe of its own, and go on from the model that it writes",
          },
        );
    }
  }
}
