/** What a training takes of a device's memory, by what it trains at a time. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RecipeStep, TrainStep } from "../../../compiler/recipe/recipe.js";
import { baselineTarget } from "../../../compiler/target.js";
import { trainingRoom, type TrainingRoom } from "../../../runtime/llama/compression/training-memory.js";
import { openModel } from "../../../runtime/model/model.js";
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
      { dtype: "f32", keepsBest: true, limit: null, calibration: 0, tables: 0 },
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

test.run();
