import { createHash } from "node:crypto";
import { createDirectory } from "./directory-writer.js";
import { modelWriter, type ModelWriter, type OutputPlan } from "./model-writer.js";

export type { ModelWriter, OutputPlan, OutputTensor } from "./model-writer.js";

/**
 * Starts a model directory at `path`: a Hugging Face directory, with what is packed recorded in `config.json`.
 * @throws ModelError M150 to M154 (the place), M100 to M102 (a file that should be copied)
 */
export function createModel(path: string, plan: OutputPlan): Promise<ModelWriter> {
  return modelWriter(plan, (directory) => createDirectory(path, directory));
}

/** `sha256:` and the hex digest of a recipe's text, as it is recorded. */
export function recipeHash(source: string): string {
  return `sha256:${createHash("sha256").update(source).digest("hex")}`;
}
