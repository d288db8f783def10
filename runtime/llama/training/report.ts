/** What is told of a training. */

/** A loss at a step: before the first it is 0. */
export interface LossAt {
  readonly step: number;
  readonly loss: number;
}

/** What has come of a training so far. */
export interface TrainingRecord {
  readonly losses: readonly LossAt[];
  /** Of the windows that are held out. */
  readonly watched: readonly LossAt[];
  /** The step whose weights are kept as the best; 0: those at the start. Null where nothing is watched. */
  readonly best: LossAt | null;
  readonly skipped: number;
}

/** How a training went, for people and for programs. */
export interface TrainingReport {
  /** `the model`, or `block 3`. */
  readonly what: string;
  /** The name of the loss. */
  readonly loss: string;
  /** Steps that were made, of so many, of so many tokens. */
  readonly steps: number;
  readonly planned: number;
  readonly tokensPerStep: number;
  /** The loss of each step, and of the windows that are held out at some. */
  readonly losses: readonly LossAt[];
  readonly watched: readonly LossAt[];
  /** The step whose weights were taken, 0: those before the first. Null: those after the last. */
  readonly best: LossAt | null;
  /** Steps that were left out since gradients were not finite: usual where activations are f16. */
  readonly skipped: number;
  /** Why it ended before its time, or null. */
  readonly stopped: string | null;
  readonly seconds: number;
}
