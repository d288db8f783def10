/** Models of the disk. */
import { stat } from "node:fs/promises";
import { diskDirectory } from "./files.js";
import { openGguf } from "./gguf/open.js";
import { modelOf, openModelIn, type Model } from "./opened.js";
import { nativeTokenizers } from "./tokenizer/native.js";

export { filesOf, type Block, type Linear, type Model, type ModelTensor } from "./opened.js";

/**
 * Opens a model directory or a GGUF file and checks everything but the values: config, the presence, shape and type of
 * each tensor, offsets. Nothing of the weights is read.
 * @throws ModelError any of M100 to M136, M160 to M164
 */
export async function openModel(path: string): Promise<Model> {
  const found = await stat(path).catch(() => null);
  if (found === null || found.isDirectory()) return openModelIn(diskDirectory(path), nativeTokenizers);
  return modelOf(await openGguf(path));
}
