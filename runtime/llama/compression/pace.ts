/** How long a compression will take on a CPU, said before it begins: by a product that is timed there. */
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import { withArena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { first as firstOf } from "../results.js";
import type { Model } from "../../model/model.js";
import { worksOn } from "./names.js";
import type { Stage } from "./workload.js";

/** Tokens, outputs and inputs of the product: so many that starting it does not count. */
const [T, N, K] = [256, 512, 512];

/** Times that it runs; what is first compiles it, and the fastest of the others counts. */
const runs = 4;

/** How fast a device is. */
export interface Pace {
  /** Operations a second of a product of activations with a dense weight. */
  readonly operations: number;
  /** Seconds that a kernel takes to compile, in the mean of those that a training has. */
  readonly compiling: number;
}

/** What a kernel takes to compile in the mean, as a share of what a product takes, which is among the longest. */
const usualKernel = 0.5;

/** The pace of a device, by a product that is timed. */
export async function measurePace(caller: Caller, clock: () => number = () => performance.now()): Promise<Pace> {
  const { executor } = caller;
  return withArena(executor, async (arena) => {
    const x = arena.own(await executor.fill("f32", [1, T, K], new Float32Array(T * K), "activations"));
    const w = arena.own(await executor.fill("f32", [N, K], new Float32Array(N * K), "a weight"));
    let [least, first] = [Infinity, 0];
    for (let run = 0; run < runs; run++) {
      const started = clock();
      const y = arena.own(firstOf(await caller.call("linear", { x, w })));
      await executor.values(y);
      if (run > 0) least = Math.min(least, clock() - started);
      else first = clock() - started;
    }
    return {
      operations: (2 * T * N * K) / (Math.max(least, 1e-3) / 1000),
      compiling: (usualKernel * Math.max(0, first - least)) / 1000,
    };
  });
}

/** Whether something of a recipe is trained. */
export function trains(recipe: Recipe): boolean {
  const visit = (step: RecipeStep): boolean =>
    step.kind === "train" || (step.kind === "blocks" && step.body.some(visit));
  return recipe.steps.some(visit);
}

/**
 * Kernels that are compiled, roughly: of the passes of a training, and of each treatment for each shape of a layer. Counted
 * in the trainings of a model of four blocks; more blocks have the same.
 */
const kernels = { model: 110, block: 80, treatment: 22, observation: 12 } as const;

/** How many kernels a recipe makes, and how many of them its trainings. */
export function kernelsOf(
  recipe: Recipe,
  model: Pick<Model, "linears">,
): { readonly all: number; readonly train: number } {
  const shapes = (takes: (name: string) => boolean): number =>
    new Set(model.linears.flatMap(({ name, outputs, inputs }) => (takes(name) ? [`${outputs} ${inputs}`] : []))).size;
  let [all, train] = [0, 0];
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") return step.body.forEach(visit);
    if (step.kind === "observe") all += kernels.observation;
    if (step.kind === "linears") all += kernels.treatment * shapes((name) => worksOn(step, name));
    if (step.kind !== "train") return;
    const trained = (name: string): boolean => step.layers.some((layers) => worksOn(layers, name));
    const own = kernels[step.scope] + kernels.treatment * shapes(trained);
    all += own;
    train += own;
  };
  recipe.steps.forEach(visit);
  return { all, train };
}

/**
 * What is said beforehand of a recipe that trains on a CPU: work in operations, and the kernels that are compiled for it.
 */
export function slowWords(
  work: Readonly<Record<Stage, number>>,
  compiled: { readonly all: number; readonly train: number },
  { operations, compiling }: Pace,
): string {
  const all = Object.values(work).reduce((sum, each) => sum + each, 0) / operations + compiled.all * compiling;
  const train = work.train / operations + compiled.train * compiling;
  return `This recipe trains, which is work for a GPU. Here it will take about ${timeInWords(all)}, of which the training takes ${timeInWords(train)}. Run it where there is a GPU (\`espalier devices\`), give it fewer steps, or take a recipe that does not train: \`one-shot\` (2:4 and int4), \`one-shot-2of4\`, \`one-shot-int4\`.`;
}

/** A time of any length in words, rounded as an estimate is. */
export function timeInWords(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} minutes`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} hours` : `${Math.round(seconds / 86400)} days`;
}
