/** `round w as int8(token)`: in what the layers that read an input take it. */
import type { Computed, Recipe, RecipeStep, RoundedActivations, RoundStep } from "../recipe/recipe.js";
import type { ActivationGroup } from "../types/activation-format.js";
import type { Expr, RoundStatement } from "../syntax/ast.js";
import { sizeValue } from "../types/size.js";
import { convert } from "./conversion.js";
import { checkElement, compileTimeSize } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import type { LoopBody } from "./loop-body.js";
import type { RecipeContext } from "./recipe-context.js";
import type { Scope } from "./scope.js";
import { graphOf } from "./treatment.js";
import { materialize } from "./whole.js";

/** What an input has that is made something of. */
const inputKinds: readonly string[] = ["weight", "statistic", "windows", "tokens"];

/** What is computed of an input; null where it takes what an input has not. */
export function onlyOfInputs(computed: Computed, at: Expr, name: string, frame: Frame): Computed | null {
  const other = computed.inputs.find(({ kind }) => !inputKinds.includes(kind));
  if (other === undefined) return computed;
  return fail(
    frame,
    "E602",
    `an input has the weight of its layers and what was observed, and no \`${other.name}\``,
    at.span,
    "of several layers at once",
    { help: `take \`${name}\`, f32[N, K], the rows of all layers that read the input` },
  );
}

/** The format that a statement gives; null where it is none for activations. */
export function checkRounding(
  statement: RoundStatement,
  context: RecipeContext,
  { frame, builder, inputs }: LoopBody,
  scope: Scope,
): RoundedActivations | null {
  const { format, scale, name } = statement;
  const group = groupOf(statement, frame, scope);
  if (group === null) return null;
  if (group !== "tensor") {
    if (scale === null) return { name: "int8", group };
    return fail(
      frame,
      "E621",
      `the scales of \`int8(${group})\` are found as the model runs`,
      scale.span,
      "a scale that is stored",
      { help: "leave `with scale` out, or write `int8(tensor) with scale s` for one scale that is stored" },
    );
  }
  if (scale === null)
    return fail(
      frame,
      "E621",
      "`int8(tensor)` has one scale, which is stored, and none is given",
      format.span,
      "with which scale?",
      {
        help: `observe what the layers receive, and write \`round ${name.name} as int8(tensor) with scale s\`, s one number, f32; or \`int8(token)\`, whose scales are found as the model runs`,
      },
    );
  const place = placeIn(frame, scope);
  const element = checkElement(scale, place);
  const number = element === null ? null : convert(element, "f32", scale.span, place);
  const value = number === null ? null : materialize(number, "f32", "scale", scale.span, place);
  if (value === null) return null;
  const computed = onlyOfInputs(graphOf(value, "scale", context, builder, inputs), scale, name.name, frame);
  return computed === null ? null : { name: "int8", group, scale: computed };
}

function groupOf({ format }: RoundStatement, frame: Frame, scope: Scope): ActivationGroup | null {
  const wrong = (message: string, span = format.span): null =>
    fail(frame, "E621", message, span, "not for activations", {
      help: "write `int8(token)`, a scale for each token, `int8(128)`, one for each 128 channels of a token, or `int8(tensor) with scale s`, one that is stored",
    });
  if (format.name.name !== "int8" || format.of !== null)
    return wrong(`an input is rounded to int8, and not to \`${format.name.name}\``);
  const [group, ...more] = format.args;
  if (group === undefined || more.length > 0 || group.label !== null)
    return wrong("int8 of an input has one argument: what shares a scale");
  if (group.value.kind === "name" && (group.value.name === "token" || group.value.name === "tensor"))
    return group.value.name;
  const size = compileTimeSize(group.value, placeIn(frame, scope));
  const channels = size === null ? null : sizeValue(size);
  if (channels === null)
    return size === null ? null : wrong("how many channels share a scale is a constant", group.span);
  return channels > 0 && channels % 4 === 0
    ? channels
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
