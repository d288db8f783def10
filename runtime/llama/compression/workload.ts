/** How much work the steps of a recipe are, in operations, roughly: what a progress bar is weighted by. */
import type { Recipe, RecipeStep, Condition, Quantity, TrainStep } from "../../../compiler/recipe/recipe.js";
import type { Linear, Model } from "../../model/model.js";
import { comparesWithDense } from "./calibrate.js";
import { isGram, type ObserveStep } from "./calibration-run.js";
import { worksOn } from "./names.js";
import { tensorsOf } from "./tensors.js";
import { stepsFor } from "../training/settings.js";
import { usualWindows } from "../windows.js";

/** What a compression does, by kinds that have a pace each. */
export const stages = ["embed", "observe", "compress", "train", "advance", "evaluate", "save"] as const;
export type Stage = (typeof stages)[number];

/** Operations of single pieces of work. */
export interface Costs {
  /** Embedding all windows. */
  readonly embed: number;
  /** Taking all windows through a block. */
  readonly pass: number;
  /** Observing X^T X of a block's inputs, on all windows. */
  readonly grams: number;
  /** Scoring all windows. */
  readonly evaluate: number;
  treat(linear: Linear): number;
  /** A step of a training over so many tokens. */
  train(step: TrainStep, tokens: number): number;
  save(bytes: number): number;
}

/** What things cost for a model and so many tokens of calibration, in windows of `window`. */
export function costsOf(model: Model, tokens: number, window: number): Costs {
  const { config, blocks } = model;
  const weights = (blocks[0]?.linears ?? []).reduce((sum, { outputs, inputs }) => sum + outputs * inputs, 0);
  const pass = tokens * (2 * weights + 4 * window * config.heads * config.headDim);
  const widths = [config.hiddenSize, config.heads * config.headDim, config.hiddenSize, config.intermediateSize];
  return {
    pass,
    embed: 16 * tokens * config.hiddenSize,
    grams: widths.reduce((sum, width) => sum + 2 * tokens * width * width, 0),
    evaluate: blocks.length * pass + 2 * tokens * config.hiddenSize * config.vocabSize,
    // its operations are the recipe's own: a few hundred for each weight, or a walk over the columns
    treat: ({ outputs, inputs }) => 200 * outputs * inputs,
    // there twice, for the model as it was given comes along, and back, where all is computed again
    train: ({ scope }, some) =>
      (some / Math.max(1, tokens)) *
      (scope === "block" ? 5 * pass : 5 * blocks.length * pass + 6 * tokens * config.hiddenSize * config.vocabSize),
    save: (bytes) => 20 * bytes,
  };
}

/** A run of steps that stand together, each of which is done for a block: what a recipe does to the blocks in turn. */
export function bodyOf(step: RecipeStep): readonly RecipeStep[] | null {
  switch (step.kind) {
    case "blocks":
      return step.body;
    // over all blocks outside of `blocks` is over each block in turn
    case "linears":
      return [step];
    case "tensors":
    case "observe":
    case "scale":
    case "rotate":
    case "round":
    case "train":
    case "expect":
    case "save":
      return null;
    default:
      return step satisfies never;
  }
}

/** The observations of a body, those that stand together in one group: each group is one pass. */
export function observationsOf(body: readonly RecipeStep[]): readonly (readonly ObserveStep[])[] {
  const groups: ObserveStep[][] = [];
  body.forEach((step, at) => {
    if (step.kind !== "observe") return;
    if (at > 0 && body[at - 1]?.kind === "observe") groups.at(-1)?.push(step);
    else groups.push([step]);
  });
  return groups;
}

/** Whether something in a body compares with the model as it was given. */
export function withDense(body: readonly RecipeStep[]): boolean {
  return body.some(
    (step) =>
      (step.kind === "observe" && comparesWithDense(step.graph)) ||
      (step.kind === "train" && step.settings.dense_inputs),
  );
}

/** How many windows there are, of how many tokens. */
export interface WindowCounts {
  readonly calibration: number;
  readonly training: number;
  readonly tokens: number;
}

/**
 * Work of each stage over a whole run. `calibrates` says whether a body is taken through by calibration activations.
 */
export function workOf(
  recipe: Recipe,
  model: Model,
  costs: Costs,
  options: { readonly calibrates: (body: readonly RecipeStep[]) => boolean; readonly windows: WindowCounts },
): Record<Stage, number> {
  const work: Record<Stage, number> = {
    embed: 0,
    observe: 0,
    compress: 0,
    train: 0,
    advance: 0,
    evaluate: 0,
    save: 0,
  };
  const bytes = model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  let dense = false;
  let saves = 0;
  const visit = (step: RecipeStep, times: number): void => {
    const body = bodyOf(step);
    if (step.kind === "expect") {
      const wanted = perplexitiesOf(step.condition);
      work.evaluate += costs.evaluate * (wanted.model * times + (wanted.dense && !dense ? 1 : 0));
      dense ||= wanted.dense;
    }
    if (step.kind === "save") saves += times;
    if (step.kind === "tensors")
      for (const tensor of tensorsOf(model, step.of, null, false)) work.compress += costs.treat(tensor);
    if (step.kind === "train") {
      const windows = step.scope === "block" ? options.windows.calibration : options.windows.training;
      work.train +=
        times * stepsFor(step.settings, windows) * costs.train(step, step.settings.batch * options.windows.tokens);
    }
    if (body === null) return;
    if (options.calibrates(body)) {
      const streams = withDense(body) ? 2 : 1;
      work.embed += streams * costs.embed;
      work.observe +=
        model.blocks.length *
        Math.max(1, observationsOf(body).length) *
        observeCost(
          costs,
          body.filter((inner) => inner.kind === "observe"),
        );
      work.advance += streams * (model.blocks.length - 1) * costs.pass;
    }
    for (const inner of body) {
      if (inner.kind !== "linears") visit(inner, model.blocks.length);
      else for (const linear of model.linears) if (worksOn(inner, linear.name)) work.compress += costs.treat(linear);
    }
  };
  for (const step of recipe.steps) visit(step, 1);
  work.save = Math.max(1, saves) * costs.save(bytes);
  return work;
}

/** One pass that observes. */
export function observeCost(costs: Costs, steps: readonly ObserveStep[]): number {
  const compared = steps.filter(({ graph }) => comparesWithDense(graph)).length;
  // what compares two inputs is most often as much work as X^T X
  return (compared > 0 ? 2 : 1) * costs.pass + ((steps.some(isGram) ? 1 : 0) + compared) * costs.grams;
}

/**
 * How often a condition takes the perplexity of the model as it is, and whether it takes that of the model as given.
 */
function perplexitiesOf(condition: Condition): { readonly model: number; readonly dense: boolean } {
  const visit = (quantity: Quantity): readonly ("model" | "dense")[] => {
    switch (quantity.kind) {
      case "number":
        return [];
      case "perplexity":
        return [quantity.of];
      case "arithmetic":
        return [...visit(quantity.left), ...visit(quantity.right)];
      default:
        return quantity satisfies never;
    }
  };
  if (condition.kind === "and") {
    const [left, right] = [perplexitiesOf(condition.left), perplexitiesOf(condition.right)];
    return { model: left.model + right.model, dense: left.dense || right.dense };
  }
  const found = [...visit(condition.left), ...visit(condition.right)];
  return { model: found.filter((of) => of === "model").length, dense: found.includes("dense") };
}

/** Whether calibration activations are taken through the blocks for this body. */
export function calibrates(
  { layerErrors }: { readonly layerErrors?: boolean | undefined },
  body: readonly RecipeStep[],
): boolean {
  return layerErrors === true || body.some((step) => step.kind === "observe" || step.kind === "train");
}

/** The work of a run, without what was finished before it. */
export function workLeft(
  recipe: Recipe,
  model: Model,
  costs: Costs,
  options: {
    readonly layerErrors?: boolean | undefined;
    readonly evaluation?: ScoredLength | null | undefined;
    readonly windows: WindowCounts;
  },
  finished: number,
): Record<Stage, number> {
  const { windows } = options;
  const work = workOf(recipe, model, costs, { calibrates: (body) => calibrates(options, body), windows });
  const left = 1 - finished / Math.max(1, stepsOf(recipe, model));
  const extra = options.evaluation ? 2 * evaluateCost(model, options.evaluation) : 0;
  return {
    ...work,
    observe: work.observe * left,
    compress: work.compress * left,
    train: work.train * left,
    evaluate: work.evaluate + extra,
  };
}

/** What of a text decides how long it takes to score it. */
interface ScoredLength {
  readonly ids: readonly number[];
  readonly window?: number | undefined;
  readonly windows?: number | undefined;
}

/** Scoring a text, by the tokens of its windows. */
export function evaluateCost(model: Model, { ids, window = 256, windows = usualWindows }: ScoredLength): number {
  const tokens = Math.min(windows * window, ids.length);
  return costsOf(model, tokens, window).evaluate;
}

/** How many steps of work a recipe consists of. */
export function stepsOf(recipe: Recipe, model: Model): number {
  return recipe.steps.reduce((sum, step) => sum + (bodyOf(step) === null ? 1 : model.blocks.length), 0);
}
