/** What a recipe says of a training, and what follows from it: how many steps, at which rates. */

import type { TrainSettings } from "../../../compiler/recipe/recipe.js";

/** How many steps are made over so many windows. */
export function stepsFor({ steps, epochs, batch }: TrainSettings, windows: number): number {
  return steps ?? Math.max(1, Math.ceil(((epochs ?? 1) * windows) / batch));
}

/** The rate of a step, the first of which is 0: it grows over `warmup` steps, and follows a cosine down to `final`. */
export function rateOf({ rate, warmup, final }: TrainSettings, steps: number, step: number): number {
  const grown = warmup > 0 ? Math.min(1, (step + 1) / warmup) : 1;
  const cosine = (1 + Math.cos((Math.PI * step) / steps)) / 2;
  return rate * grown * (final + (1 - final) * cosine);
}
