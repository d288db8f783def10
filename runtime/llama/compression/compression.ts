/** What a compression is given, what it says on the way, and what it reports. */
import type { Work } from "./forecast.js";
import type { PerplexityReport, Warning } from "./outcome.js";
import type { RecipeFiles } from "./recipe-record.js";
import type { ActivationCount } from "../../model/activation-counts.js";
import type { ActivationDtype } from "../inference/session.js";
import type { CalibrationHelper } from "./calibration-helper.js";
import type { LyingWeight } from "../long-runs/saved-state.js";
import type { SpillDisk } from "../long-runs/spill.js";
import type { MeasuredLayers, PrintedValue } from "../long-runs/manifest.js";
import type { TrainingReport } from "../training/report.js";
import type { Stage } from "./workload.js";

export type { PrintedValue } from "../long-runs/manifest.js";
export type { PerplexityReport, Warning, WarningKind } from "./outcome.js";

/** What is being done, for a progress bar: `done` of `total` steps of a stage, and how far the whole has come. */
export interface CompressProgress {
  readonly stage: Stage;
  /** The block, the layer, or the file concerned. */
  readonly subject: string;
  readonly done: number;
  readonly total: number;
  /** What else is to be told: the loss of a training, and its speed. */
  readonly detail?: string | undefined;
  /** The share of the whole run's time that is over, 0 to 1. */
  readonly share: number;
  /** Of the whole run; null while nothing is known. */
  readonly secondsLeft: number | null;
}

/** A text, tokenised whole without special tokens. */
export interface CalibrationText {
  readonly ids: readonly number[];
  readonly bos: number | null;
  /** 1 for each token that a training learns, as answers to prompts; without, all are. */
  readonly answers?: Uint8Array | null | undefined;
  /** Of each window which window of the texts it is, where weights repeat some. */
  readonly origins?: Int32Array | null | undefined;
  /** Tokens of a window, the first token `bos` included; 256 unless given. */
  readonly window?: number | undefined;
  /** The first so many windows, which the text must have; as many of 128 as there are unless given. */
  readonly windows?: number | undefined;
}

export interface CompressOptions {
  /** The directory to write; `save "name"` in a recipe writes `output/name`. */
  readonly output: string;
  readonly force?: boolean | undefined;
  /** The recipe's source, to be recorded with the model. */
  readonly source: string;
  /**
   * The recipe with the files that it uses, as `bundle` gives them, to be saved with the model. Without, `source` alone
   * is saved, which does for a recipe that uses the standard library only.
   */
  readonly files?: RecipeFiles | null | undefined;
  readonly text?: CalibrationText | null | undefined;
  /** A text to score the model on, as given and compressed, when all is done. */
  readonly evaluation?: CalibrationText | null | undefined;
  /** What calibration activations are kept in; f32 by default. */
  readonly dtype?: ActivationDtype | undefined;
  /**
   * Bytes of calibration activations that stay on the device; the rest goes to temporary files. See `defaultMemory`.
   */
  readonly memory?: number | undefined;
  /**
   * Bytes of memory that the device has, which WebGPU does not tell: a training that takes more goes with fewer windows at
   * once, or is refused before it begins.
   */
  readonly deviceMemory?: number | undefined;
  readonly disk?: SpillDisk | undefined;
  /**
   * Other devices that take a share of the calibration windows each. They are given where to find the weights of a block
   * that were treated, as they are when they are asked for.
   */
  readonly helpers?:
    | ((treated: (block: number) => Promise<readonly LyingWeight[]>) => readonly CalibrationHelper[])
    | undefined;
  /**
   * Whether to observe what layer errors need where the recipe does not. By default, where it observes anything;
   * `true`
   * needs a text.
   */
  readonly layerErrors?: boolean | undefined;
  /**
   * The most that a layer may lose: its layer error, or where that is not measured the error of its weight (see
   * `TensorReport`). Layers are compared with it when the step of the recipe that they belong to is done for their
   * block, and before anything is written. A run that is refused keeps what it has finished, for `resume` with another
   * limit or none.
   */
  readonly maxError?: number | undefined;
  /**
   * Whether layers that share an input share what depends on that alone; they do by default. For tests: the files are
   * the same.
   */
  readonly share?: boolean | undefined;
  /** Go on from the last block that a stopped run to the same output finished, if there is one. */
  readonly resume?: boolean | undefined;
  /**
   * Seconds after which the training of a model keeps where it stands, for `resume`, when it next looks at what is held
   * out; 60 by default.
   */
  readonly pointSeconds?: number | undefined;
  /** Gets a line for people now and then. */
  readonly note?: ((line: string) => void) | undefined;
  readonly onProgress?: ((progress: CompressProgress) => void) | undefined;
  /** Gets each layer as it is treated, with what it has lost; see `TensorReport`. */
  readonly onLayer?: ((layer: Pick<TensorReport, "name" | "relativeError" | "layerError">) => void) | undefined;
}

/** A tensor that was compressed. */
export interface TensorReport {
  readonly name: string;
  readonly pattern: string;
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly bytes: number;
  /** ||W' - W|| / ||W||, Frobenius, against the model that was given. */
  readonly relativeError: number;
  /**
   * ||(W' - W) X|| / ||W X||, X what the layer received on the calibration text when it was treated; null where that is
   * not known.
   */
  readonly layerError: number | null;
  /** Of the layer's treatments, measures included. */
  readonly seconds: number;
}

export interface Compression {
  readonly tensors: readonly TensorReport[];
  /** Bytes of all tensors of the model. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** In what linear layers take what they multiply. */
  readonly activations: readonly ActivationCount[];
  /** Of all runs, where one was resumed. */
  readonly seconds: number;
  /** Of this run, by what it was doing. */
  readonly stageSeconds: Work<Stage>;
  /** The directories that were written. */
  readonly saved: readonly string[];
  readonly perplexities: readonly PerplexityReport[];
  /** How trainings went, in order. */
  readonly trainings: readonly TrainingReport[];
  /** What the recipe has measured of layers, in the order of its measures. */
  readonly measured: readonly MeasuredLayers[];
  /** What the recipe has printed, in order: of all runs, where one was resumed. */
  readonly printed: readonly PrintedValue[];
  /** What makes the result worth less than it looks; none where all is well. */
  readonly warnings: readonly Warning[];
  /** The most bytes that were allocated on the device at once. */
  readonly deviceBytesPeak: number;
}
