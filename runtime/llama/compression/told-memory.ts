/** What the trainings of a recipe will take of a device, told before a weight is read. */
import type { Recipe, RecipeStep, TrainStep } from "../../../compiler/recipe/recipe.js";
import { counted } from "../../../compiler/words.js";
import { memoryInWords } from "../training/room.js";
import { stepsFor } from "../training/settings.js";
import { countingWindows, scoredWindowsOf } from "../training/text.js";
import { defaultMemory } from "./activations.js";
import { splitWindows } from "./model-training.js";
import type { Run } from "./run.js";
import { memoryLimit, trainingRoom } from "./training-memory.js";
import { withDense } from "./workload.js";

/**
 * Bytes of calibration activations that stay on the device while a block is trained: those of the model as it is, and
 * where the loop over blocks looks at them those of the model as it was given.
 */
export function calibrationBytes(
  { caller, model, windows, options, recipe }: Pick<Run, "caller" | "model" | "windows" | "options" | "recipe">,
  step: TrainStep,
): number {
  const width = options.dtype === "f16" ? 2 : 4;
  const loop = recipe.steps.find((each) => each.kind === "blocks" && each.body.includes(step));
  const streams = loop?.kind === "blocks" && withDense(loop.body) ? 2 : 1;
  const all = streams * (windows?.count ?? 0) * (windows?.tokens ?? 0) * model.config.hiddenSize * width;
  return Math.min(all, options.memory ?? defaultMemory(caller));
}

/**
 * Tells what each training will take of the device, before a weight is read.
 * @throws LlamaError context-too-large, text-too-short
 */
export function tellTrainings(
  recipe: Recipe,
  known: Pick<Run, "caller" | "model" | "windows" | "training" | "options">,
  note: (line: string) => void,
): void {
  const { caller, model, options } = known;
  const { vocabSize, hiddenSize } = model.config;
  // what they will be stored as is not looked at: as f16 they are largest, or close to it
  const table = 2 * vocabSize * hiddenSize;
  let tables = 0;
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") step.body.forEach(visit);
    if (step.kind === "tensors" && step.of !== "norms" && step.of !== "biases") tables += table;
    if (step.kind !== "train") return;
    const given = step.scope === "block" ? known.windows : known.training;
    if (given === null) return;
    const windows = scoredWindowsOf(given, options.text ?? null);
    const split = splitWindows(windows, step.settings);
    const { places, memory } = trainingRoom(caller.target, model, step, windows, {
      functions: caller.functions,
      dtype: options.dtype ?? "f32",
      keepsBest: split.held.length > 0,
      limit: memoryLimit(caller, options.deviceMemory),
      calibration: calibrationBytes({ ...known, recipe }, step),
      tables,
    });
    const { warmup, rate } = step.settings;
    const steps = stepsFor(step.settings, split.train.length);
    if (warmup >= steps)
      note(
        `note: The training makes ${counted(steps, "step")}, and its rate grows over ${warmup} (\`warmup\`): it never comes to ${rate}.`,
      );
    const silent = windows.count - countingWindows(windows).length;
    if (silent > 0)
      note(
        `note: Of ${counted(windows.count, "window")} ${silent} have no part of an answer, and are not trained on: prompts are long beside windows of ${windows.tokens} tokens (--window).`,
      );
    note(
      `note: Training ${step.scope === "block" ? "a block " : ""}takes ${memoryInWords(memory)}; ${step.settings.batch} windows a step, ${places} at once.`,
    );
  };
  recipe.steps.forEach(visit);
}
