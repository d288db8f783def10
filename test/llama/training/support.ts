/** Recipes that train, made of what they store. */
import type { Recipe, TrainSettings, TrainStep } from "../../../compiler/recipe/recipe.js";
import type { Caller } from "../../../runtime/llama/call.js";
import { writtenRecipe, type Written } from "../recipes.js";

/** Settings of a training of a few steps. */
export const settings: TrainSettings = {
  steps: 12,
  epochs: null,
  rate: 3e-3,
  warmup: 2,
  batch: 4,
  clip: 1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  decay: 0,
  final: 0,
  seed: 0,
  norms: true,
  held_out: 0.05,
  watch: 6,
  dense_inputs: false,
};

export interface TrainOptions {
  readonly scope?: "block" | "model";
  readonly loss?: string;
  readonly settings?: Partial<TrainSettings>;
  /** Whether the masks are those of the weights as the training begins, not as they are by then. */
  readonly keepsMask?: boolean;
}

/** A recipe that trains over layers, in which `body` stores. */
export function trainingRecipe(caller: Caller, body: string, options: TrainOptions = {}): Written {
  const { scope = "model", loss = "kl", keepsMask = true } = options;
  const written = writtenRecipe(
    `use prune, quantize\nrecipe trained(model: llama) {\n  for w in model.linears {\n${body}\n  }\n}\n`,
  );
  const layers = written.recipe.steps.flatMap((step) =>
    step.kind === "linears"
      ? [
          {
            ...step,
            treatments: step.treatments.map((treatment) => ({
              ...treatment,
              inputs: treatment.inputs.map((input) =>
                keepsMask && input.kind === "original" ? { name: input.name, kind: "start" as const } : input,
              ),
            })),
          },
        ]
      : [],
  );
  const train: TrainStep = {
    kind: "train",
    scope,
    function: loss,
    loss: caller.functions.get(loss)!,
    settings: { ...settings, ...options.settings },
    layers,
    span: written.recipe.span,
  };
  const recipe: Recipe = {
    ...written.recipe,
    needsText: true,
    steps: scope === "model" ? [train] : [{ kind: "blocks", body: [train], span: written.recipe.span }],
  };
  return { recipe, source: written.source };
}

/** 2:4 of the weights that were largest when the training began. */
export const sparse = "let kept = w where mask_2of4(magnitude(w.dense))\n store w as pack kept as nm(2, 4) of f16";
