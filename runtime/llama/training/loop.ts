/** The steps of a training: rates, losses, what is watched, the best that is kept, and when to stop. */
import { counted } from "../../../compiler/words.js";
import type { DeviceTensor } from "../../run/run.js";
import { LlamaError } from "../error.js";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import { rateOf } from "./settings.js";
import type { Split } from "./draw.js";
import type { TrainingRecord } from "./report.js";

/** What a step told, a little later. */
export interface StepReport {
  /** Mean over the tokens that count. */
  readonly loss: number;
  /** Of all gradients, before they were clipped. */
  readonly norm: number;
  /** Of the loss. */
  readonly scale: number;
  /** Steps that were left out so far, for their gradients were not finite. */
  readonly skipped: number;
}

/** What the loop moves: the passes and the optimiser of one training. */
export interface Learner {
  /** Records a step over some windows, the first being 0; `report` is there once the device has come to it. */
  step(windows: readonly number[], rate: number, step: number): Promise<{ readonly report: Promise<StepReport> }>;
  /** Mean loss over windows, without learning. */
  watch(windows: readonly number[]): Promise<number>;
  /** Keeps the weights as the best, and puts the best back. */
  keep(): void;
  restore(): void;
  /** What the state of a training lies in, by name: what has to be kept to go on from there. */
  readonly tensors: ReadonlyMap<string, DeviceTensor>;
  /** Makes what passes use of weights that were put in place from outside. */
  refresh(): void;
}

/** How a training went. */
export interface TrainingOutcome extends TrainingRecord {
  /** Steps that were made. */
  readonly steps: number;
  /** Why it stopped early; null where it did not. */
  readonly stopped: string | null;
}

export interface LoopOptions {
  readonly settings: TrainSettings;
  /** What is trained, in words. */
  readonly what: string;
  readonly steps: number;
  readonly split: Split;
  readonly draw: (step: number) => readonly number[];
  /** Steps made before, by a run that was stopped, and what had come of them. */
  readonly from?: { readonly step: number; readonly record: TrainingRecord } | null;
  /** After each step. */
  readonly onStep: (step: number, report: StepReport) => void;
  /** After steps at which everything is settled, for what is to be gone on with. */
  readonly onSettled?: (step: number, record: TrainingRecord) => Promise<void>;
}

/** Losses that are averaged to tell whether a training diverges. */
const span = 20;

/** Steps in a row that may be left out. */
const patience = 40;

/**
 * Makes the steps, and leaves the learner with the best weights.
 * @throws LlamaError diverged where no step has made anything better
 */
export async function trainingLoop(learner: Learner, options: LoopOptions): Promise<TrainingOutcome> {
  const { settings, what, steps, split, draw } = options;
  const losses = [...(options.from?.record.losses ?? [])];
  const watched = [...(options.from?.record.watched ?? [])];
  let best = options.from?.record.best ?? null;
  let skipped = options.from?.record.skipped ?? 0;
  let stopped: string | null = null;
  let step = options.from?.step ?? 0;
  const record = (): TrainingRecord => ({ losses: [...losses], watched: [...watched], best, skipped });

  async function look(at: number): Promise<void> {
    if (split.held.length === 0) return;
    const loss = await learner.watch(split.held);
    watched.push({ step: at, loss });
    if (best !== null && !(loss < best.loss)) return;
    best = { step: at, loss };
    learner.keep();
  }
  /** Takes note of what a step told; why to stop, or null. */
  function hear(at: number, report: StepReport): string | null {
    losses.push({ step: at, loss: report.loss });
    skipped = report.skipped;
    options.onStep(at, report);
    if (!Number.isFinite(report.loss)) return `the loss is not finite at step ${at}`;
    const recent = losses.slice(-span);
    const now = recent.reduce((sum, { loss }) => sum + loss, 0) / recent.length;
    const before = (watched[0] ?? losses[0])?.loss ?? 0;
    if (recent.length >= span / 2 && now > 4 * before + 0.1)
      return `the loss has grown from ${print(before)} to ${print(now)} by step ${at}`;
    if (report.skipped > patience && report.skipped >= at / 2)
      return `gradients were not finite in ${report.skipped} of ${counted(at, "step")}`;
    return null;
  }

  if (step === 0) await look(0);
  if (best !== null && !Number.isFinite(best.loss)) stopped = "the loss is not finite before the first step";
  let telling: { readonly at: number; readonly report: Promise<StepReport> } | null = null;
  while (step < steps && stopped === null) {
    const told = telling;
    const { report } = await learner.step(draw(step), rateOf(settings, steps, step), step);
    step++;
    telling = { at: step, report };
    report.catch(() => {}); // it is waited for below, unless something else fails before
    if (told !== null) stopped = hear(told.at, await told.report);
    const looks = step % settings.watch === 0 || step === steps;
    if (stopped !== null || !looks) continue;
    stopped = hear(step, await report);
    telling = null;
    if (stopped === null) await look(step);
    if (stopped === null && step < steps) await options.onSettled?.(step, record());
  }
  if (telling !== null && stopped === null) stopped = hear(telling.at, await telling.report);
  await telling?.report;
  if (stopped !== null && (best === null || best.step === 0))
    throw new LlamaError(
      "diverged",
      `The training of ${what} does not converge: ${stopped}, and ${best === null ? "nothing is held out by which an earlier state would have been kept" : "no step has made anything better"}. Give it a smaller rate than ${settings.rate}, or more steps of warm-up than ${settings.warmup}.`,
    );
  if (best !== null && best.step !== step) learner.restore();
  return { ...record(), steps: step, stopped };
}

function print(loss: number): string {
  return loss.toPrecision(4);
}
