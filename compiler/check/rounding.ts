/** `round w as int8(token)`: in what the layers that read an input take it. */
import type { Recipe, RecipeStep, RoundStep } from "../recipe/recipe.js";
import type { ActivationFormat } from "../types/activation-format.js";
import type { RoundStatement } from "../syntax/ast.js";
import { sizeValue } from "../types/size.js";
import { compileTimeSize } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import type { Scope } from "./scope.js";

/** The format that a statement gives; null where it is none for activations. */
export function checkRounding({ format }: RoundStatement, frame: Frame, scope: Scope): ActivationFormat | null {
  const wrong = (message: string, span = format.span): null =>
    fail(frame, "E621", message, span, "not for activations", {
      help: "write `int8(token)`, a scale for each token, or `int8(128)`, one for each 128 channels of a token",
    });
  if (format.name.name !== "int8" || format.of !== null)
    return wrong(`an input is rounded to int8, and not to \`${format.name.name}\``);
  const [group, ...more] = format.args;
  if (group === undefined || more.length > 0 || group.label !== null)
    return wrong("int8 of an input has one argument: what shares a scale");
  if (group.value.kind === "name" && group.value.name === "token") return { name: "int8", group: "token" };
  const size = compileTimeSize(group.value, placeIn(frame, scope));
  const channels = size === null ? null : sizeValue(size);
  if (channels === null)
    return size === null ? null : wrong("how many channels share a scale is a constant", group.span);
  return channels > 0 && channels % 4 === 0
    ? { name: "int8", group: channels }
    : wrong(`a scale is shared by a multiple of 4 channels, and not by ${channels}`, group.span);
}

/** Reports a training behind a rounding, which it would not see. */
export function checkRoundings(steps: Recipe["steps"], frame: Frame): void {
  let first: RoundStep | null = null;
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") step.body.forEach(visit);
    if (step.kind === "round") first ??= step;
    if (step.kind === "train" && first !== null)
      fail(frame, "E621", "`train` stands behind `round`", step.span, "trained as if nothing were rounded", {
        labels: [{ span: first.at, message: "rounded here" }],
        help: "train first, and round in a loop over blocks that follows",
      });
  };
  steps.forEach(visit);
}
