import { InternalError } from "../../../compiler/diagnostic.js";
import type { TrainStep } from "../../../compiler/recipe/recipe.js";
import { report, warnOf, type Run } from "./run.js";
import type { TrainingPoints } from "./model-training.js";
import { memoryLimit } from "./training-memory.js";
import { calibrationBytes } from "./told-memory.js";
import { runTraining, type TrainedBlock } from "./training.js";
import { scoredWindowsOf } from "../training/text.js";

/** Trains the model, or a block. */
export async function train(run: Run, step: TrainStep, block: TrainedBlock | null): Promise<void> {
  const { caller, model, working, treater, options, recipe } = run;
  const windows = block === null ? run.training : run.windows;
  if (windows === null) throw new InternalError("a training without a text");
  const points = block === null ? await trainingPoints(run) : null;
  const work = run.costs.train(step, step.settings.batch * windows.tokens);
  const trained = await runTraining(
    {
      caller,
      model,
      working,
      treater,
      parameters: recipe.parameters,
      windows: scoredWindowsOf(windows, options.text ?? null),
      dtype: options.dtype ?? "f32",
      limit: memoryLimit(caller, options.deviceMemory),
      calibrationBytes: calibrationBytes(run, step),
      points,
      note: options.note ?? (() => {}),
      onStep: (what, done, total, detail) => report(run, "train", what, done, total, work, detail),
      onTreated: (record) => warnOf(run, record),
    },
    step,
    block,
  );
  run.trainings.push(trained);
}

/** Where the training of this step of work keeps what it needs to be gone on with. */
async function trainingPoints(run: Run): Promise<TrainingPoints> {
  const { place, state, options } = run;
  const work = run.step;
  const kept = options.resume === true ? await place.keptTraining(state.directory) : null;
  return {
    kept: kept?.point.work === work ? kept : null,
    seconds: options.pointSeconds ?? 60,
    async keep(point, pieces) {
      // what is not committed is not kept
      await state.commit(run.step, run.known);
      await place.keepTraining(state.directory, { ...point, work }, pieces);
    },
  };
}
