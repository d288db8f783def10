/** `retain 0.75 of w by score`: what it takes, and where in a recipe it may stand. */
import type { ValueId } from "../graph/graph.js";
import type { Recipe, RecipeStep, Retention, Treatment } from "../recipe/recipe.js";
import { isDense, printFormat } from "../formats/registry.js";
import type { RetainStatement } from "../syntax/ast.js";
import { symbolSize } from "../types/size.js";
import { typeOf } from "./builder.js";
import { checkElement } from "./element.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { lookup, type Scope } from "./scope.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";
import { dependsOnDense } from "./dense-inputs.js";

/** Checks the statement by itself; null where it is not in order. */
export function checkRetention(
  statement: RetainStatement,
  {
    frame,
    scope,
    layer,
    before,
  }: { readonly frame: Frame; readonly scope: Scope; readonly layer: string; readonly before: Retention | null },
): { readonly score: ValueId; readonly kept: number } | null {
  const place = placeIn(frame, scope);
  const score = checkTensor(statement.score, place);
  const kept = checkElement(statement.kept, place);
  if (statement.target.kind !== "name" || lookup(scope, statement.target.name)?.kind !== "layer")
    return fail(
      frame,
      "E620",
      "what is retained are columns of the layer of the loop",
      statement.target.span,
      `not \`${layer}\``,
      { help: `write \`retain 0.75 of ${layer} by ...\`` },
    );
  if (before !== null)
    return fail(frame, "E620", `of \`${layer}\` is retained twice`, statement.span, "again", {
      labels: [{ span: before.span, message: "first retained here" }],
    });
  if (score === null || kept === null) return null;
  const type = typeOf(frame.builder, score);
  const [length, ...more] = type.shape;
  const fits =
    type.dtype === "f32" &&
    length !== undefined &&
    more.length === 0 &&
    equalSizes(length, symbolSize("K"), frame.builder.constraints);
  if (!fits)
    return fail(
      frame,
      "E620",
      `columns are retained by a score of each, f32[K], and this is ${printType(type)}`,
      statement.score.span,
      printType(type),
    );
  const number = kept.kind === "number" ? kept.value : null;
  if (number === null)
    return fail(
      frame,
      "E620",
      "how much is retained is a number that is known before the recipe runs",
      statement.kept.span,
      "not a constant",
      { help: "give the recipe a parameter: `kept = 0.75`" },
    );
  if (!(number > 0) || (number >= 1 && !Number.isInteger(number)))
    return fail(
      frame,
      "E620",
      `retained is a share above 0 and below 1, or a whole number of columns, heads or channels, and not ${number}`,
      statement.kept.span,
      "neither",
    );
  return { score, kept: number };
}

type Loop = Extract<RecipeStep, { kind: "linears" }>;

/** The retentions of a loop over layers. */
export function retentionsOf({ treatments }: Loop): readonly Retention[] {
  return treatments.flatMap(({ retains }) => retains ?? []);
}

function loopsOf(step: RecipeStep): readonly Loop[] {
  if (step.kind === "linears") return [step];
  return step.kind === "blocks" ? step.body.flatMap(loopsOf) : step.kind === "train" ? step.layers : [];
}

/** Reports retentions where they cannot stand, and what cannot stand with or behind them. */
export function checkRetentions(steps: Recipe["steps"], frame: Frame): void {
  let first: Retention | null = null;
  let stored: RecipeStep["span"] | null = null;
  for (const step of steps) {
    const loops = loopsOf(step);
    const [own] = loops.flatMap(retentionsOf);
    if (own !== undefined) checkNarrowing(step, own, frame);
    if (own !== undefined && stored !== null)
      fail(frame, "E620", "`retain` stands behind what has stored weights already", own.span, "too late", {
        labels: [{ span: stored, message: "weights are stored here" }],
        help: "retain first, in a loop over blocks of its own: what follows is done to the smaller layers",
      });
    if (first !== null) for (const each of step.kind === "blocks" ? step.body : [step]) refuseDense(each, first, frame);
    const changes = ({ kind }: RecipeStep): boolean => ["scale", "rotate", "round", "tensors"].includes(kind);
    if (changes(step) || (step.kind === "blocks" && step.body.some(changes))) stored ??= step.span;
    if (step.kind === "train" || (own === undefined && loops.some(storesAny))) stored ??= step.span;
    first ??= own ?? null;
  }
}

function storesAny({ treatments }: Loop): boolean {
  return treatments.some(({ stores }) => stores !== null);
}

/** What stands beside a retention, in the same loop over blocks. */
function checkNarrowing(step: RecipeStep, own: Retention, frame: Frame): void {
  const wrong = (span: RecipeStep["span"], message: string, help: string): void =>
    void fail(frame, "E620", message, span, "not with `retain`", {
      labels: [{ span: own.span, message: "columns are retained here" }],
      help,
    });
  const behind = "put it into a loop over blocks that follows: there the layers have become smaller";
  const body = step.kind === "blocks" ? step.body : [step];
  for (const each of body) {
    if (!["observe", "linears", "tensors"].includes(each.kind))
      wrong(each.span, `\`${each.kind}\` stands in a loop over blocks that retains`, behind);
    if (each.kind === "tensors")
      wrong(each.span, `the ${each.of} are stored in a loop over blocks that retains`, behind);
    if (each.kind !== "linears") continue;
    for (const treatment of each.treatments) checkTreatment(treatment, each);
  }
  function checkTreatment({ retains, stores, graph, choices }: Treatment, loop: Loop): void {
    const output = retains === null ? undefined : graph.outputs.find(({ name }) => name === stores);
    const value = output === undefined ? undefined : graph.values[output.value];
    const format = value?.type.format ?? null;
    if (format !== null && !("name" in format && isDense({ name: format.name, args: {}, of: null })))
      wrong(
        value?.span ?? loop.span,
        `a layer of which columns are retained is stored as ${printFormat(format, "short")}, and only dense weights become smaller`,
        "store it so in a loop over blocks that follows: there the layers have become smaller",
      );
    if (stores !== null && retains === null)
      wrong(loop.span, "a layer is stored in a loop over blocks that retains, and is not the one retained", behind);
    if (retains !== null && choices.length > 0)
      fail(frame, "E620", "what is retained would be decided at the run", retains.span, "in a branch by data", {
        labels: [{ span: choices[0]!.span, message: "known only when the recipe runs" }],
        help: "the sizes of the model must be known before: put it out of the `if`, and let the score decide",
      });
  }
}

/** The model as it was given has other sizes than what is left of it. */
function refuseDense(step: RecipeStep, first: Retention, frame: Frame): void {
  const named = dependsOnDense(step);
  if (named !== null)
    fail(frame, "E620", `${named} has the sizes of before \`retain\``, step.span, "of other sizes", {
      labels: [{ span: first.span, message: "columns are retained here" }],
      help: "compare with the model as it was given by `perplexity(model.dense, text)`, or by the loss of `train model`",
    });
}
