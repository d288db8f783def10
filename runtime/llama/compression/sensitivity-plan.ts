/** What a search for the sensitivity of layers tries, and what comes of it. */
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Linear, Model } from "../../model/model.js";
import { LlamaError } from "../error.js";
import { measuresOrChooses } from "./measured.js";
import { isSelected, treatmentOf } from "./names.js";
import type { Warning } from "./outcome.js";
import { kindOf } from "../kind.js";
import { checkContext, type ScoredWindows, type Windows } from "../windows.js";

/** A recipe to try, and what it is called. */
export interface Try {
  readonly name: string;
  readonly recipe: Recipe;
}

/** Layers that are treated together. */
export interface LayerGroup {
  /** A layer's name, `down_proj`, or `block 3`. */
  readonly name: string;
  readonly layers: readonly Linear[];
}

/** What came of a treatment of a group, all other layers as they were given. */
export interface SensitivityRow {
  readonly treatment: string;
  readonly group: string;
  readonly layers: readonly string[];
  /** NaN where what the model computes then is NaN or infinite; Infinity above every number. */
  readonly perplexity: number;
  /** What the perplexity grew by; NaN and Infinity as there. */
  readonly delta: number;
  /** ||W' - W|| / ||W||, the mean over the layers of the group. */
  readonly relativeError: number;
  /**
   * ||(W' - W) X|| / ||W X|| on the calibration windows, the mean over the layers; null where a device cannot measure
   * it.
   */
  readonly layerError: number | null;
  /** Of the new weight of the group's first layer. */
  readonly pattern: string;
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly seconds: number;
}

export interface Sensitivity {
  /** Perplexity of the model as given. */
  readonly perplexity: number;
  /** Tokens scored for each row. */
  readonly tokens: number;
  readonly windows: number;
  /** The worst first; worst of all are those that have no perplexity. */
  readonly rows: readonly SensitivityRow[];
  /** What makes the result worth less than it looks. */
  readonly warnings: readonly Warning[];
  readonly seconds: number;
}

export interface SensitivityOptions {
  /** What is scored. */
  readonly scored: ScoredWindows;
  /** What statistics are observed on. */
  readonly calibration: Windows;
  readonly by: "layer" | "kind" | "block";
  /** Gets a line for people now and then. */
  readonly note?: ((line: string) => void) | undefined;
  readonly onProgress?:
    | ((progress: {
        readonly subject: string;
        readonly done: number;
        readonly total: number;
        readonly share: number;
        readonly secondsLeft: number | null;
      }) => void)
    | undefined;
}

/** The groups of a model's layers, in order. */
export function groupsOf(model: Model, by: SensitivityOptions["by"]): readonly LayerGroup[] {
  const groups = new Map<string, Linear[]>();
  for (const linear of model.linears) {
    const name = by === "layer" ? linear.name : by === "block" ? `block ${linear.block}` : kindOf(linear.name);
    groups.set(name, [...(groups.get(name) ?? []), linear]);
  }
  return [...groups].map(([name, layers]) => ({ name, layers }));
}

/** A recipe on a group: the layers of it that the recipe treats. */
export interface PlannedTry extends Try {
  readonly group: LayerGroup;
}

/**
 * What is tried, in order. Layers that a recipe leaves alone are left out.
 * @throws LlamaError recipe, bad-window
 */
export function plannedTries(
  model: Model,
  tries: readonly Try[],
  { scored, calibration, by }: Pick<SensitivityOptions, "scored" | "calibration" | "by">,
): readonly PlannedTry[] {
  for (const windows of [scored, calibration]) checkContext(windows, model.config.contextLength);
  for (const { recipe } of tries)
    if (trains(recipe.steps))
      throw new LlamaError(
        "recipe",
        `The recipe ${recipe.name} trains, which takes a whole block or model: a layer alone is treated in one shot. Leave the training out.`,
      );
  for (const { recipe } of tries)
    if (measuresOrChooses(recipe))
      throw new LlamaError(
        "recipe",
        `The recipe ${recipe.name} measures layers, chooses by what it computes, or moves channels: what it does to a layer alone would not be what it does to the model.`,
      );
  const groups = groupsOf(model, by);
  const wanted = tries.flatMap((one) =>
    groups.flatMap((group) => {
      const layers = group.layers.filter((linear) => treats(one.recipe, linear));
      return layers.length === 0 ? [] : [{ ...one, group: { ...group, layers } }];
    }),
  );
  if (wanted.length === 0) throw new LlamaError("recipe", "The treatments take no layer of the model.");
  return wanted;
}

/** Whether a recipe stores anything for a layer. */
function treats(recipe: Recipe, linear: Linear): boolean {
  return linearSteps(recipe.steps).some(
    (step) => isSelected(step, linear.name) && treatmentOf(step.treatments, linear.name) !== null,
  );
}

/** The steps of a recipe that treat layers. */
export function linearSteps(steps: readonly RecipeStep[]): readonly (RecipeStep & { readonly kind: "linears" })[] {
  return steps.flatMap((step) =>
    step.kind === "linears" ? [step] : step.kind === "blocks" ? linearSteps(step.body) : [],
  );
}

function trains(steps: readonly RecipeStep[]): boolean {
  return steps.some((step) => step.kind === "train" || (step.kind === "blocks" && trains(step.body)));
}
