/** The state of a run that follows a recipe. */
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/model.js";
import type { Announced } from "../long-runs/announced.js";
import type { Caller } from "../call.js";
import type { CompressOptions, PerplexityReport, PrintedValue } from "./compression.js";
import type { Place } from "./place.js";
import type { Forecast } from "./forecast.js";
import type { Channels } from "./channels.js";
import type { Facts, RetainedParts, WeightRecord } from "../long-runs/manifest.js";
import type { Measured } from "./measured.js";
import { layerWarning } from "./outcome.js";
import type { SavedState } from "../long-runs/saved-state.js";
import type { Treater } from "./treat.js";
import type { TrainingReport } from "../training/report.js";
import type { Windows } from "../windows.js";
import type { Costs, Stage } from "./workload.js";
import type { WorkingModel } from "./working-model.js";

/** The state of a run. */
export interface Run {
  readonly place: Place;
  readonly caller: Caller;
  /** The model that it was begun with. */
  readonly given: Model;
  /** What is compressed: that one, or what retentions have left of it. */
  model: Model;
  /** Models that the run has opened itself. */
  readonly opened: Model[];
  readonly recipe: Recipe;
  readonly options: CompressOptions;
  readonly windows: Windows | null;
  /** All windows of the text, where the recipe trains the model on them. */
  readonly training: Windows | null;
  readonly costs: Costs;
  readonly forecast: Forecast<Stage>;
  readonly state: SavedState;
  working: WorkingModel;
  treater: Treater;
  readonly started: number;
  readonly saved: string[];
  readonly perplexities: PerplexityReport[];
  readonly trainings: TrainingReport[];
  readonly measured: Measured;
  /** What was printed so far, before this run was resumed, too. */
  readonly printed: PrintedValue[];
  readonly channels: Channels;
  readonly retained: RetainedParts[];
  /** Perplexity of the model as given, once it was computed. */
  dense: number | null;
  /** Steps of work done so far: blocks of a body, an expectation, a save. */
  step: number;
  /** What was known when the last step was finished. */
  known: Facts;
  /** Models that this step has written, in order, and those that a stopped run had written of it. */
  announced: readonly Announced[];
  before: readonly Announced[];
  /** Whether all models are written, so that a fault cannot be the recipe's. */
  isWritten: boolean;
}

/** What is to be known of a run when it goes on. */
export function factsOf(run: Run): Facts {
  return {
    dense: run.dense,
    saved: [...run.saved],
    announced: run.announced,
    trainings: run.trainings,
    measured: run.measured.found(),
    printed: [...run.printed],
    channels: run.channels.found(),
    retained: [...run.retained],
    folds: run.working.folds.found(),
    activations: [...run.working.activations],
    seconds: run.state.facts.seconds + (performance.now() - run.started) / 1000,
    perplexities: run.perplexities
      .filter(({ text }) => text === "calibration")
      .map(({ of, value }) => ({ of, value: Number.isFinite(value) ? value : null })),
  };
}

/** What a run that is refused has left. */
export function writtenWords(saved: readonly string[]): string {
  return saved.length === 0 ? "Nothing was written." : `Written before: ${saved.join(", ")}.`;
}

/** Tells what a layer has lost, and says so where that is much. */
export function warnOf(run: Run, record: WeightRecord): void {
  const { name, relativeError, layerError } = record;
  run.options.onLayer?.({ name, relativeError, layerError });
  const warning = layerWarning(record);
  if (warning !== null) run.options.note?.(`warning: ${warning.message}.`);
}

/** Notes work that was done, and tells of it. */
export function report(
  run: Run,
  stage: Stage,
  subject: string,
  done: number,
  total: number,
  work: number,
  detail?: string,
): void {
  run.forecast.done(stage, work);
  run.options.onProgress?.({ stage, subject, done, total, detail, ...run.forecast.now() });
}
