/** What a training takes of a device's memory, by what it trains at a time. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RecipeStep, TrainStep } from "../../../compiler/recipe/recipe.js";
import { baselineTarget } from "../../../compiler/target.js";
import { trainingRoom, type TrainingRoom } from "../../../runtime/llama/compression/training-memory.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { openModel } from "../../../runtime/model/model.js";
import { standardLibrary } from "../../../runtime/library.js";
import { classics } from "../machine.js";
import { exampleRecipe } from "../recipes.js";

const test = suite("memory of trainings");

const trainings = (steps: readonly RecipeStep[]): readonly TrainStep[] =>
  steps.flatMap((step) => (step.kind === "train" ? [step] : step.kind === "blocks" ? trainings(step.body) : []));

test("halves of a block keep less than a block, a block less than the model; a loss of blocks keeps what they gave", async () => {
  const model = await openModel(classics);
  const room = (step: TrainStep): TrainingRoom["memory"] =>
    trainingRoom(
      baselineTarget,
      model,
      step,
      { tokens: 64 },
      { dtype: "f32", keepsBest: true, limit: null, calibration: 0, tables: 0, functions: standardLibrary() },
    ).memory;
  try {
    const memories = (file: string): readonly TrainingRoom["memory"][] =>
      trainings(exampleRecipe(file).recipe.steps).map(room);
    const [whole] = memories("block-2of4.esp");
    const [attention, forward] = memories("halves-2of4.esp");
    for (const half of [attention, forward]) assert.ok(half!.state < 0.8 * whole!.state, JSON.stringify([half, whole]));
    const [alone] = memories("recovered-2of4.esp");
    const [beside] = memories("recovered-features-2of4.esp");
    assert.ok(whole!.state < alone!.state);
    assert.is(beside!.state, alone!.state);
    assert.ok(beside!.activations > alone!.activations);
  } finally {
    await model.close();
  }
});

test("what does not fit is refused with what does", async () => {
  const model = await openModel(classics);
  const mebi = 2 ** 20;
  const refusal = (file: string, limit: number, calibration = 0): string => {
    const [step] = trainings(exampleRecipe(file).recipe.steps);
    const options = {
      dtype: "f32",
      keepsBest: true,
      limit: limit * mebi,
      tables: 0,
      functions: standardLibrary(),
    } as const;
    try {
      trainingRoom(baselineTarget, model, step!, { tokens: 256 }, { ...options, calibration: calibration * mebi });
      return "it fits";
    } catch (error) {
      return error instanceof LlamaError ? `${error.code}: ${error.message}` : String(error);
    }
  };
  try {
    assert.match(
      refusal("recovered-2of4.esp", 70),
      /^context-too-large: Training takes at least 1\d\d\.\d MiB of .* has 70 MiB in all\. What fits: a block at a time, as `block-2of4` among the examples \(\d+\.\d MiB\); half a block at a time, as `halves-2of4`/,
    );
    assert.match(
      refusal("block-2of4.esp", 46),
      /What fits: half a block at a time, as `halves-2of4` .* \(4\d\.\d MiB\)/,
    );
    assert.match(
      refusal("block-2of4.esp", 70, 100),
      /What fits: the same, with --calibration-memory 2\dMiB; half a block/,
    );
    assert.match(
      refusal("block-2of4.esp", 20),
      /The least is half a block at a time, .*: 4\d\.\d MiB\. Take a GPU with that/,
    );
    assert.match(refusal("halves-2of4.esp", 8), /has 8 MiB in all\. Take a GPU with that much\.$/);
  } finally {
    await model.close();
  }
});

test.run();
