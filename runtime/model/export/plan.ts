/** What an export is made of: known before a weight is read, made a tensor at a time. */
import { ModelError } from "../error.js";
import type { JsonObject } from "../files.js";
import type { Model } from "../model.js";

/** How far values that were rounded lie from those they were. */
export interface Loss {
  /** The largest difference. */
  readonly largest: number;
  /** The root mean square of the differences over that of the values. */
  readonly relative: number;
}

/** A tensor of the model, as it is written. `Part`: a tensor of the files. */
export interface PlannedTensor<Part> {
  /** Its name in the model. */
  readonly source: string;
  readonly parts: readonly Part[];
  /** How it is stored, in words: `pack-quantized`. */
  readonly stored: string;
  /**
   * Gives the bytes of the parts, each from its beginning to its end, and tells what was lost.
   * @throws ModelError M155 where something is lost and that is not allowed
   */
  write(append: (part: Part, bytes: Uint8Array) => Promise<void>): Promise<Loss | null>;
}

/** A directory of safetensors. */
export interface DirectoryExport<Part> {
  readonly tensors: readonly PlannedTensor<Part>[];
  readonly config: JsonObject;
  /** Further files by name. */
  readonly texts: ReadonlyMap<string, string>;
  /** What readers should know, a sentence each, without a full stop. */
  readonly notes: readonly string[];
}

/** Why a model cannot be written so: a line for each way. */
export interface Refusal {
  readonly problems: readonly string[];
}

/** What a plan rests on besides the model. */
export interface PlanOptions {
  /** Whether values may be rounded. */
  readonly requantize: boolean;
}

/** Whether there is no plan. */
export function isRefused(plan: object): plan is Refusal {
  return "problems" in plan;
}

/** The error of a tensor whose values the target does not hold. */
export function lossError(
  tensor: string,
  target: string,
  { largest, relative }: Loss,
  other = "or choose another target",
): ModelError {
  return new ModelError(
    "M155",
    `The values of \`${tensor}\` are not all among those of ${target}: they would differ by ${relative.toPrecision(2)} of their size (root mean square), and by ${largest.toPrecision(2)} at most.`,
    `--requantize rounds them to the nearest there are, and tells what that costs; ${other}`,
  );
}

/** The config of the model without what it says of how its weights are stored. */
export function plainConfig({ config }: Pick<Model, "config">): JsonObject {
  const { espalier: _, quantization_config: __, ...raw } = config.raw;
  return raw;
}
