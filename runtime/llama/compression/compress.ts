/** Compression in Node: what it writes lies on the disk. */
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/model.js";
import type { Caller } from "../call.js";
import type { Compression, CompressOptions } from "./compression.js";
import { disk } from "./disk.js";
import { compressIn } from "./follow-recipe.js";

export type {
  CalibrationText,
  Compression,
  CompressOptions,
  CompressProgress,
  PerplexityReport,
  TensorReport,
  Warning,
  WarningKind,
} from "./compression.js";

/** As `compressIn`, on the disk. */
export function compress(caller: Caller, model: Model, recipe: Recipe, options: CompressOptions): Promise<Compression> {
  return compressIn(disk, caller, model, recipe, options);
}
