/** How long a compression will take on a CPU, said before it begins: by a product that is timed there. */
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import { withArena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { first } from "../results.js";
import type { Stage } from "./workload.js";

/** Tokens, outputs and inputs of the product: so many that starting it does not count. */
const [T, N, K] = [256, 512, 512];

/** Times that it runs; what is first compiles it, and the fastest of the others counts. */
const runs = 4;

/** Operations a second of a product of activations with a dense weight. */
export async function measurePace(caller: Caller, clock: () => number = () => performance.now()): Promise<number> {
  const { executor } = caller;
  return withArena(executor, async (arena) => {
    const x = arena.own(await executor.fill("f32", [1, T, K], new Float32Array(T * K), "activations"));
    const w = arena.own(await executor.fill("f32", [N, K], new Float32Array(N * K), "a weight"));
    let least = Infinity;
    for (let run = 0; run < runs; run++) {
      const started = clock();
      const y = arena.own(first(await caller.call("linear", { x, w })));
      await executor.values(y);
      if (run > 0) least = Math.min(least, clock() - started);
    }
    return (2 * T * N * K) / (Math.max(least, 1e-3) / 1000);
  });
}

/** Whether something of a recipe is trained. */
export function trains(recipe: Recipe): boolean {
  const visit = (step: RecipeStep): boolean =>
    step.kind === "train" || (step.kind === "blocks" && step.body.some(visit));
  return recipe.steps.some(visit);
}

/** What is said beforehand of a recipe that trains on a CPU: work in operations, pace in operations a second. */
export function slowWords(work: Readonly<Record<Stage, number>>, pace: number): string {
  const all = Object.values(work).reduce((sum, each) => sum + each, 0);
  return `This recipe trains, which is work for a GPU. Here it will take about ${timeInWords(all / pace)}, of which the training takes ${timeInWords(work.train / pace)}. Run it where there is a GPU (\`espalier devices\`), give it fewer steps, or take a recipe that does not train: \`one-shot\` (2:4 and int4), \`one-shot-2of4\`, \`one-shot-int4\`.`;
}

/** A time of any length in words, rounded as an estimate is. */
export function timeInWords(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} minutes`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} hours` : `${Math.round(seconds / 86400)} days`;
}
