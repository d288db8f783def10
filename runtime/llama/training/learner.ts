/** Passes, optimiser and copies of one training, bound once and replayed at every step. */
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import type { BoundChain } from "../inference/chain.js";
import type { ActivationDtype } from "../weights.js";
import type { Learner } from "./loop.js";
import type { BatchTensors } from "./passes.js";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import { batchOf, countScored, type TrainingWindows } from "./text.js";
import type { Trained } from "./trained.js";
import { createCopies, createRefresh, createUpdate, type Optimizer } from "./update.js";

/** What a learner is made of. */
export interface LearnerParts {
  readonly arena: Arena;
  readonly caller: Caller;
  readonly dtype: ActivationDtype;
  readonly settings: TrainSettings;
  /** Steps that the training makes. */
  readonly steps: number;
  readonly trained: readonly Trained[];
  readonly optimizer: Optimizer;
  readonly windows: TrainingWindows;
  readonly looksAhead: boolean;
  readonly batch: BatchTensors;
  readonly learn: BoundChain;
  /** The same pass without learning, and what it adds losses to; null where nothing is watched. */
  readonly watch: { readonly pass: BoundChain; readonly total: DeviceTensor } | null;
  /** Writes what else a pass reads of the windows. */
  readonly prepare?: (chosen: readonly number[]) => Promise<void>;
}

/** Binds a learner, for as long as the arena lives; its weights are made ready for the first pass. */
export async function createLearner(parts: LearnerParts): Promise<Learner> {
  const { arena, caller, dtype, settings, steps, trained, optimizer, windows, looksAhead, batch, learn, watch } = parts;
  const { executor } = caller;
  const places = batch.ids.shape[0] ?? 1;
  const update = await createUpdate(arena, caller, trained, optimizer, settings, dtype);
  const refresh = await createRefresh(arena, caller, trained, optimizer, dtype);
  const keep = watch === null ? null : await createCopies(arena, caller, trained, "keep");
  const restore = watch === null ? null : await createCopies(arena, caller, trained, "restore");
  refresh.replay();
  // the step that what passes use was made for; all but those of recipes with a clock are the same at every step
  const isClocked = trained.some(({ rounding }) => rounding !== null && rounding.clock !== null);
  let ready = 0;
  /** Makes what passes use for a step: for the last, as it is stored. */
  async function readyFor(step: number): Promise<void> {
    if (!isClocked || ready === step) return;
    await executor.write(optimizer.clock, Float32Array.of(step, steps));
    refresh.replay();
    ready = step;
  }

  async function passOver(chosen: readonly number[], pass: BoundChain): Promise<void> {
    for (let done = 0; done < chosen.length; done += places) {
      const some = chosen.slice(done, done + places);
      const { ids, next, scored } = batchOf(windows, some, places, looksAhead);
      await executor.write(batch.ids, ids);
      await executor.write(batch.next, next);
      await executor.write(batch.scored, scored);
      await parts.prepare?.(some);
      pass.replay();
    }
  }

  return {
    async step(chosen, rate, step) {
      await readyFor(step);
      if (isClocked) {
        await executor.write(optimizer.clock, Float32Array.of(step, steps));
        await executor.write(optimizer.next, Float32Array.of(step + 1, steps));
      }
      const count = Math.max(1, countScored(windows, chosen, looksAhead));
      await executor.write(optimizer.step, Float32Array.of(rate, 1 / count));
      await passOver(chosen, learn);
      update.replay();
      ready = step + 1;
      const report = executor
        .values(optimizer.report)
        .then(([loss = NaN, norm = NaN, scale = NaN, skipped = 0]) => ({ loss: loss / count, norm, scale, skipped }));
      return { report };
    },
    async watch(chosen) {
      if (watch === null) return NaN;
      await readyFor(steps);
      await executor.write(watch.total, Float32Array.of(0));
      await passOver(chosen, watch.pass);
      const [sum = NaN] = await executor.values(watch.total);
      return sum / Math.max(1, countScored(windows, chosen, looksAhead));
    },
    keep: () => keep?.replay(),
    refresh() {
      refresh.replay();
      ready = NaN;
    },
    tensors: new Map([
      ["the optimiser's state", optimizer.state],
      ...trained
        .flatMap(({ states }) => states)
        .flatMap(({ name, master, first, second, best }): (readonly [string, DeviceTensor])[] => [
          [`${name}, the weight`, master],
          [`${name}, the first moment`, first],
          [`${name}, the second moment`, second],
          ...(best === null ? [] : [[`${name}, the best`, best] as const]),
        ]),
    ]),
    restore() {
      restore?.replay();
      refresh.replay();
      ready = NaN;
    },
  };
}
