/** Models of a page: opened and compressed without a disk. */
import type { Recipe } from "../../compiler/recipe/recipe.js";
import type { Caller } from "../llama/call.js";
import type { Compression, CompressOptions } from "../llama/compression/compression.js";
import { compressIn } from "../llama/compression/follow-recipe.js";
import type { Directory } from "../model/directory.js";
import { openModelIn, type Model } from "../model/opened.js";
import { memoryPlace, type WrittenModels } from "./place.js";
import { bundledVersion } from "./sources.js";
import { scriptTokenizers } from "./tokenizers.js";

/**
 * Opens a model directory of Hugging Face and checks everything but the values.
 * @throws ModelError any of M100 to M136
 */
export function openModel(directory: Directory): Promise<Model> {
  return openModelIn(directory, scriptTokenizers);
}

/** What was made, and the files of each directory that was written. */
export interface MadeModels {
  readonly report: Compression;
  readonly models: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>;
}

/**
 * Compresses a model by a recipe, in memory. `output` is the path of the model in `models`.
 * @throws LlamaError, CompileError, ModelError, DeviceError: as `compress` in Node
 */
export async function compress(
  caller: Caller,
  model: Model,
  recipe: Recipe,
  options: Omit<CompressOptions, "resume" | "disk" | "pointSeconds">,
): Promise<MadeModels> {
  const models: WrittenModels = new Map();
  return { report: await compressIn(memoryPlace(bundledVersion(), models), caller, model, recipe, options), models };
}
