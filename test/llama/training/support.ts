/** Recipes that train, made of what they store. */
import { writtenRecipe, type Written } from "../recipes.js";

export interface TrainOptions {
  readonly scope?: "block" | "model";
  readonly loss?: string;
  /** What is asked of each block besides. */
  readonly beside?: string;
  /** Beside, or in place of, those of a training of a few steps. */
  readonly settings?: { readonly [name: string]: number | boolean };
}

const usual = { steps: 12, rate: 3e-3, warmup: 2, batch: 4, watch: 6 };

/** A recipe that trains over all layers, in which `body` stores. */
export function trainingRecipe(
  body: string,
  { scope = "model", loss = "kl", beside, settings = {} }: TrainOptions = {},
): Written {
  const given = Object.entries({ ...usual, ...settings }).map(([name, value]) => `${name}: ${String(value)}`);
  const train = `train ${scope} on text by ${loss}(${given.join(", ")})${beside === undefined ? "" : ` and ${beside}`} {\n    for w in ${scope}.linears {\n${body}\n    }\n  }`;
  const step = scope === "model" ? train : `for block in model.blocks {\n  ${train}\n  }`;
  return writtenRecipe(`use prune, quantize, train\nrecipe trained(model: llama, text: tokens) {\n  ${step}\n}\n`);
}

/** 2:4 of the weights that were largest when the training began. */
export const sparse = "let kept = w where mask_2of4(magnitude(w.start))\n store w as pack kept as nm(2, 4) of f16";
