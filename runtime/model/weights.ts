import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ModelError, problemsError, quoted } from "./error.js";
import { accessError, describe, exists, isObject, readJson, resolveInside, sizeLimits } from "./files.js";
import { openSafetensors, type SafetensorsFile, type StoredTensor } from "./safetensors.js";

/** An open file that tensors are read from: see `SafetensorsFile`. */
export type TensorFile = Pick<SafetensorsFile, "path" | "tensors" | "dataStart" | "read" | "close">;

/** The open files of a checkpoint: one, or the shards of an index. */
export interface Weights {
  readonly files: readonly TensorFile[];
  /** Every tensor by name, in the order of files and headers. */
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  close(): Promise<void>;
}

/** A tensor and the file that holds it. */
export interface WeightEntry {
  readonly file: TensorFile;
  readonly stored: StoredTensor;
}

/** Most shards of a model. */
const shardLimit = 4096;

/**
 * Opens the weights of a model directory: `model.safetensors`, or the shards of `model.safetensors.index.json`.
 * @throws ModelError M100 to M104, M110 to M114 (the files), M120 (the index), M121 (no weights), M122 (shards missing)
 */
export async function openWeights(directory: string): Promise<Weights> {
  await requireDirectory(directory);
  const single = join(directory, "model.safetensors");
  if (await exists(single)) return openFiles([single]);
  const index = join(directory, "model.safetensors.index.json");
  if (await exists(index)) return openShards(directory, index);
  const torch =
    (await exists(join(directory, "pytorch_model.bin"))) ||
    (await exists(join(directory, "pytorch_model.bin.index.json")));
  throw new ModelError(
    "M121",
    `${quoted(directory)} has neither \`model.safetensors\` nor \`model.safetensors.index.json\`.`,
    torch ? "convert the PyTorch weights to safetensors first" : "give the directory of a Hugging Face model",
  );
}

/** Opens safetensors files as one set of tensors. A tensor that two of them hold is M120. */
export async function openFiles(paths: readonly string[]): Promise<Weights> {
  const files: SafetensorsFile[] = [];
  try {
    const tensors = new Map<string, WeightEntry>();
    for (const path of paths) {
      const file = await openSafetensors(path);
      files.push(file);
      for (const stored of file.tensors) {
        const other = tensors.get(stored.name);
        if (other !== undefined)
          throw new ModelError(
            "M120",
            `The tensor ${quoted(stored.name)} is both in ${quoted(other.file.path)} and in ${quoted(path)}.`,
          );
        tensors.set(stored.name, { file, stored });
      }
    }
    return { files, tensors, close: () => closeAll(files) };
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

/** @throws ModelError M100 where the path is no directory */
export async function requireDirectory(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw accessError(path, error);
  });
  if (!found.isDirectory())
    throw new ModelError("M100", `${quoted(path)} is not a directory; expected a Hugging Face model directory.`);
}

async function openShards(directory: string, index: string): Promise<Weights> {
  const shardOf = await readIndex(index);
  const names = [...new Set(shardOf.values())];
  const paths = new Map<string, string>();
  const missing: string[] = [];
  for (const name of names) {
    const path = await resolveInside(directory, name);
    paths.set(name, path);
    if (!(await exists(path))) missing.push(quoted(name));
  }
  if (missing.length > 0)
    throw problemsError(
      "M122",
      `${quoted(directory)} lacks ${missing.length} of the ${names.length} shards that its index names`,
      missing,
      "the download may be incomplete",
    );
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const [name, path] of paths) files.set(name, await openSafetensors(path));
    const held = new Map(
      [...files].map(([name, file]) => [name, new Map(file.tensors.map((tensor) => [tensor.name, tensor]))]),
    );
    const tensors = new Map<string, WeightEntry>();
    const absent: string[] = [];
    for (const [tensor, shard] of shardOf) {
      const file = files.get(shard);
      const stored = held.get(shard)?.get(tensor);
      if (file === undefined || stored === undefined) absent.push(`${quoted(tensor)} is not in ${quoted(shard)}`);
      else tensors.set(tensor, { file, stored });
    }
    if (absent.length > 0)
      throw problemsError("M120", `${quoted(index)} names tensors that their shards do not have`, absent);
    return { files: [...files.values()], tensors, close: () => closeAll([...files.values()]) };
  } catch (error) {
    await closeAll([...files.values()]);
    throw error;
  }
}

/** The shard's file name for each tensor. */
async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const map = (await readJson(path, sizeLimits.index))["weight_map"];
  if (!isObject(map))
    throw new ModelError(
      "M120",
      `${quoted(path)} has no usable \`weight_map\`: expected an object, found ${describe(map)}.`,
    );
  const shards = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== "string")
      throw new ModelError(
        "M120",
        `${quoted(path)}: the shard of ${quoted(tensor)} should be a file name, found ${describe(shard)}.`,
      );
    shards.set(tensor, shard);
  }
  const count = new Set(shards.values()).size;
  if (count === 0 || count > shardLimit)
    throw new ModelError("M120", `${quoted(path)} names ${count} shards; expected 1 to ${shardLimit}.`);
  return shards;
}

async function closeAll(files: readonly TensorFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
