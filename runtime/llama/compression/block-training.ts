/** Training one block, with the others not on the device: towards what the block gave as the model had it. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Model } from "../../model/model.js";
import { withArena } from "../../run/arena.js";
import type { TensorForm } from "../../run/run.js";
import type { Activations } from "./activations.js";
import type { Caller } from "../call.js";
import type { Seen } from "./treat.js";
import type { WorkingModel } from "./working-model.js";
import { loadRotary } from "../inference/rope.js";
import { createDraw } from "../training/draw.js";
import { createLearner } from "../training/learner.js";
import { trainingLoop, type TrainingOutcome } from "../training/loop.js";
import { splitWindows, type TrainedWeights, type TrainingHooks, type TrainingTask } from "./model-training.js";
import { createBatch, createBlockPass } from "../training/passes.js";
import { stepsFor } from "../training/settings.js";
import { beginBlock, loadStates } from "./students.js";
import { createOptimizer } from "../training/update.js";

/** What a block receives. */
export interface BlockInputs {
  readonly activations: Activations;
  readonly seen: Seen | null;
}

/**
 * Trains a block; `finish` receives the best weights before they are given back.
 * @throws LlamaError diverged, text-too-short; CompileError; ModelError M154; DeviceError
 */
export async function trainBlock(
  caller: Caller,
  model: Model,
  working: WorkingModel,
  index: number,
  { activations, seen }: BlockInputs,
  { loss, settings, layers, windows, dtype, room }: TrainingTask,
  hooks: TrainingHooks,
  finish: (trained: TrainedWeights) => Promise<void>,
): Promise<TrainingOutcome> {
  const { config } = model;
  const { executor } = caller;
  if (loss.next !== null) throw new InternalError("a block has no next tokens");
  const split = splitWindows(windows, settings);
  const keepsBest = split.held.length > 0;
  const steps = stepsFor(settings, split.train.length);
  // what the steps before have left idle would stand beside what was told
  executor.trim();
  return withArena(executor, async (arena) => {
    const states = await loadStates(arena, model, working, index);
    const student = await beginBlock(arena, caller, model, states, index, {
      layers,
      norms: settings.norms,
      dtype,
      keepsBest,
      dense: true,
      seen,
    });
    if (student.dense === null) throw new InternalError("a block is trained without what it should give");
    const { trained } = student;
    const optimizer = await createOptimizer(arena, caller, trained, steps, dtype);
    const { places } = room;
    const form: TensorForm = { dtype, shape: [places, windows.tokens, config.hiddenSize], format: null };
    const x = arena.own(
      await executor.fill(dtype, form.shape, new Float32Array(places * windows.tokens * config.hiddenSize)),
    );
    const rotary = await loadRotary(caller, arena, config);
    const batch = { ...(await createBatch(arena, caller, places, windows.tokens)), x, rotary };
    const total = arena.own(await executor.fill("f32", [1], [0], "the loss that is watched"));
    const parts = { arena, caller, config, dtype, loss, optimizer, scratch: optimizer.scratch };
    const pass = (learns: boolean): ReturnType<typeof createBlockPass> =>
      createBlockPass({ ...parts, total: learns ? optimizer.total : total, learns }, student, student.dense!, batch);

    /**
     * Puts what the block receives for some windows in their places. Those that are left over get the same again: a loss
     * may measure each token by what all of a pass are.
     */
    async function prepare(chosen: readonly number[]): Promise<void> {
      const all = Array.from({ length: places }, (_, place) => chosen[place % chosen.length] ?? 0);
      for (const [place, window] of all.entries())
        await withArena(executor, async (own) => {
          const { x: some } = await activations.load(Math.floor(window / activations.batch), own);
          await caller.call("put_sequence", { to: x, x: some, sequence: window % activations.batch, place });
        });
    }
    const learner = await createLearner({
      arena,
      caller,
      dtype,
      settings,
      steps,
      trained,
      optimizer,
      windows,
      looksAhead: false,
      batch,
      learn: await pass(true),
      watch: keepsBest ? { total, pass: await pass(false) } : null,
      prepare,
    });
    const outcome = await trainingLoop(learner, {
      settings,
      what: `block ${index}`,
      steps,
      split,
      draw: createDraw(split.train, settings.batch, settings.seed),
      onStep: hooks.onStep,
    });
    await finish({ layers: student.layers, gains: student.gains, outcome });
    return outcome;
  });
}
