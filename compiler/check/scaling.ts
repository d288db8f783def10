/** The body of `for w in block.inputs`: a scale for each channel of what linear layers receive, and how it is rounded. */
import type { RoundStep, ScaleStep } from "../recipe/recipe.js";
import type { ForStatement, RoundStatement, ScaleStatement, Statement } from "../syntax/ast.js";
import type { ValueId } from "../graph/graph.js";
import { printSize, symbolSize } from "../types/size.js";
import { typeOf } from "./builder.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { openLoopBody } from "./loop-body.js";
import { checkRounding, onlyOfInputs } from "./rounding.js";
import { namePattern, type RecipeContext } from "./recipe-context.js";
import type { Scope } from "./scope.js";
import { equalSizes } from "./sizes.js";
import { checkStatements } from "./statement.js";
import { graphOf } from "./treatment.js";
import { warnUnused } from "./unused.js";
import { checkTensor } from "./whole.js";

/** What a loop does to an input. */
export interface InputSteps {
  readonly scale: Pick<ScaleStep, "computed" | "through" | "at"> | null;
  readonly round: Pick<RoundStep, "activations" | "at"> | null;
}

/**
 * Checks the body of `for w in block.inputs`; null where there is an error. Its `w` is the weight of all layers that read
 * the input, f32[N, K], their rows one below the other.
 */
export function checkScaling(statement: ForStatement, context: RecipeContext, outer: Scope): InputSteps | null {
  const name = statement.name.name;
  const loop = openLoopBody(statement, context, outer);
  const { frame, builder, inputs, scope: body } = loop;
  let scaled: { readonly by: ScaleStatement; readonly value: ValueId } | null = null;
  let rounded: { readonly by: RoundStatement; readonly activations: RoundStep["activations"] } | null = null;
  checkStatements(statement.body, frame, body, (each, inner) => {
    if (each.kind !== "scale" && each.kind !== "round") return void misplaced(each, frame);
    if (each.name.name !== name)
      return void fail(
        frame,
        "E604",
        `what is ${each.kind}${each.kind === "scale" ? "d" : "ed"} is the input of the loop`,
        each.name.span,
        `not \`${name}\``,
        { help: `write \`${each.kind} ${name} ${each.kind === "scale" ? "by" : "as"} ...\`` },
      );
    if (each.kind === "round") {
      if (rounded !== null)
        return void fail(frame, "E604", `\`${name}\` is rounded twice`, each.span, "rounded again", {
          labels: [{ span: rounded.by.span, message: "first rounded here" }],
        });
      const activations = checkRounding(each, context, loop, inner);
      if (activations === null) loop.giveUp();
      else rounded = { by: each, activations };
      return;
    }
    if (scaled !== null)
      return void fail(frame, "E604", `\`${name}\` is scaled twice`, each.span, "scaled again", {
        labels: [{ span: scaled.by.span, message: "first scaled here" }],
        help: "multiply the two scales",
      });
    const value = checkTensor(each.by, placeIn(frame, inner));
    if (value === null) {
      loop.giveUp();
      return;
    }
    const type = typeOf(builder, value);
    const [length, ...more] = type.shape;
    if (
      type.dtype !== "f32" ||
      length === undefined ||
      more.length > 0 ||
      type.format !== null ||
      !equalSizes(length, symbolSize("K"), builder.constraints)
    )
      return void fail(
        frame,
        "E604",
        `\`${name}\` is scaled by one number for each of its columns, f32[K], and this is ${printType(type)}`,
        each.by.span,
        length === undefined ? "a single number" : `${printSize(length)} of them`,
      );
    scaled = { by: each, value };
  });
  warnUnused(body, frame);
  // the callback above sets it
  const found = scaled as { readonly by: ScaleStatement; readonly value: ValueId } | null;
  const round = rounded as { readonly by: RoundStatement; readonly activations: RoundStep["activations"] } | null;
  if (loop.hasFailed()) return null;
  const rounding = round === null ? null : { activations: round.activations, at: round.by.span };
  if (found === null)
    return rounding !== null
      ? { scale: null, round: rounding }
      : fail(frame, "E604", "this loop scales nothing", statement.name.span, "no weight is changed", {
          help: `end it with \`scale ${name} by ...\`, or with \`round ${name} as int8(token)\``,
        });
  const computed = onlyOfInputs(graphOf(found.value, "scale", context, builder, inputs), found.by.by, name, frame);
  if (computed === null) return null;
  const { through } = found.by;
  const scale = { computed, through: through === null ? null : namePattern(through, frame, body), at: found.by.span };
  return { scale, round: rounding };
}

function misplaced(each: Statement, frame: Frame): void {
  fail(frame, "E602", `\`${each.kind}\` cannot stand in a loop over inputs`, each.span, "not here", {
    help:
      each.kind === "store" || each.kind === "measure" || each.kind === "print"
        ? "each layer by itself is in `for w in block.linears { }`"
        : "choose inputs by `matching` and `except`, by the names of the layers that read them",
  });
}
