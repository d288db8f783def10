import { counted } from "../../compiler/words.js";
import { ModelError, problemsError, quoted } from "./error.js";
import { jsonOf, type ByteFile, type Directory } from "./directory.js";
import { describe, isObject, sizeLimits } from "./json.js";
import { readSafetensors, type SafetensorsFile, type StoredTensor } from "./safetensors.js";

/** An open file that tensors are read from: see `SafetensorsFile`. */
export type TensorFile = Pick<SafetensorsFile, "path" | "tensors" | "dataStart" | "read" | "close">;

/** The open files of a checkpoint: one, or the shards of an index. */
export interface Weights {
  readonly files: readonly TensorFile[];
  /** Every tensor by name, in the order of files and headers. */
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  /** What is wrong with the files, but not with a tensor that is needed. */
  readonly warnings: readonly string[];
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
 * Opens the weights of a model directory: `model.safetensors`, or the shards of `model.safetensors.index.json`. What an
 * index has wrong about tensors that are not `needed` is no error; all are needed where that is not said.
 * @throws ModelError M100 to M104, M110 to M114 (the files), M120 (the index), M121 (no weights), M122 (shards missing)
 */
export async function openWeights(
  directory: Directory,
  needed: (name: string) => boolean = () => true,
): Promise<Weights> {
  await directory.require();
  const single = "model.safetensors";
  if (await directory.has(single)) return openFiles([() => directory.open(single)]);
  const index = "model.safetensors.index.json";
  if (await directory.has(index)) return openShards(directory, index, needed);
  const torch = (await directory.has("pytorch_model.bin")) || (await directory.has("pytorch_model.bin.index.json"));
  throw new ModelError(
    "M121",
    `${quoted(directory.path)} has neither \`model.safetensors\` nor \`model.safetensors.index.json\`.`,
    torch ? "convert the PyTorch weights to safetensors first" : "give the directory of a Hugging Face model",
  );
}

/** Opens safetensors files as one set of tensors. A tensor that two of them hold is M120. */
export async function openFiles(opened: readonly (() => Promise<ByteFile>)[]): Promise<Weights> {
  const files: SafetensorsFile[] = [];
  try {
    const tensors = new Map<string, WeightEntry>();
    for (const open of opened) {
      const file = await readSafetensors(open());
      files.push(file);
      for (const stored of file.tensors) {
        const other = tensors.get(stored.name);
        if (other !== undefined)
          throw new ModelError(
            "M120",
            `The tensor ${quoted(stored.name)} is both in ${quoted(other.file.path)} and in ${quoted(file.path)}.`,
          );
        tensors.set(stored.name, { file, stored });
      }
    }
    return { files, tensors, warnings: [], close: () => closeAll(files) };
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

async function openShards(directory: Directory, index: string, needed: (name: string) => boolean): Promise<Weights> {
  const path = directory.pathOf(index);
  const { shardOf, warnings } = await readIndex(directory, index, needed);
  const names = [...new Set(shardOf.values())];
  const wanted = new Set([...shardOf].flatMap(([tensor, shard]) => (needed(tensor) ? [shard] : [])));
  const there: string[] = [];
  const missing: string[] = [];
  for (const name of names) {
    await directory.requireInside(name);
    if (await directory.has(name)) there.push(name);
    else if (wanted.has(name)) missing.push(quoted(name));
    else warnings.push(`the shard ${quoted(name)} is missing; no tensor of it is needed`);
  }
  if (missing.length > 0)
    throw problemsError(
      "M122",
      `${quoted(directory.path)} lacks ${missing.length} of the ${counted(names.length, "shard")} that its index names`,
      missing,
      "the download may be incomplete",
    );
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const name of there) {
      const file = await readSafetensors(directory.open(name)).catch((error: unknown) => {
        if (wanted.has(name) || !(error instanceof ModelError)) throw error;
        warnings.push(`no tensor of the shard ${quoted(name)} is needed, and it cannot be read: ${error.message}`);
        return null;
      });
      if (file !== null) files.set(name, file);
    }
    const { tensors, absent } = placeTensors(files, shardOf);
    const lacking = absent.filter(({ tensor }) => needed(tensor));
    if (lacking.length > 0)
      throw problemsError(
        "M120",
        `${quoted(path)} names tensors that their shards do not have`,
        lacking.map(({ tensor, shard }) => `${quoted(tensor)} is not in ${quoted(shard)}`),
      );
    for (const { tensor, shard } of absent)
      warnings.push(`${quoted(path)} names a tensor ${quoted(tensor)} that ${quoted(shard)} does not have`);
    return { files: [...files.values()], tensors, warnings, close: () => closeAll([...files.values()]) };
  } catch (error) {
    await closeAll([...files.values()]);
    throw error;
  }
}

/**
 * Every tensor of the shards. Of several by one name the one counts that lies where the index says; the index need not
 * name one that is there once.
 */
function placeTensors(
  files: ReadonlyMap<string, SafetensorsFile>,
  shardOf: ReadonlyMap<string, string>,
): {
  readonly tensors: ReadonlyMap<string, WeightEntry>;
  readonly absent: readonly { readonly tensor: string; readonly shard: string }[];
} {
  const found = new Map<string, { readonly shard: string; readonly entry: WeightEntry }[]>();
  for (const [shard, file] of files)
    for (const stored of file.tensors)
      found.set(stored.name, [...(found.get(stored.name) ?? []), { shard, entry: { file, stored } }]);
  const tensors = new Map<string, WeightEntry>();
  const absent: { readonly tensor: string; readonly shard: string }[] = [];
  for (const [name, places] of found) {
    const [only] = places;
    const place = places.find(({ shard }) => shard === shardOf.get(name)) ?? (places.length === 1 ? only : undefined);
    if (place !== undefined) tensors.set(name, place.entry);
  }
  for (const [tensor, shard] of shardOf) if (!tensors.has(tensor)) absent.push({ tensor, shard });
  return { tensors, absent };
}

/** The shard's file name for each tensor, and what is wrong with entries that are not needed. */
async function readIndex(
  directory: Directory,
  index: string,
  needed: (name: string) => boolean,
): Promise<{ readonly shardOf: ReadonlyMap<string, string>; readonly warnings: string[] }> {
  const path = directory.pathOf(index);
  const map = (await jsonOf(directory, index, sizeLimits.index))["weight_map"];
  if (!isObject(map))
    throw new ModelError(
      "M120",
      `${quoted(path)} has no usable \`weight_map\`: expected an object, found ${describe(map)}.`,
    );
  const shardOf = new Map<string, string>();
  const warnings: string[] = [];
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard === "string") {
      shardOf.set(tensor, shard);
      continue;
    }
    const problem = `the shard of ${quoted(tensor)} should be a file name, found ${describe(shard)}`;
    if (needed(tensor)) throw new ModelError("M120", `${quoted(path)}: ${problem}.`);
    warnings.push(`${quoted(path)}: ${problem}`);
  }
  const count = new Set(shardOf.values()).size;
  if (count === 0 || count > shardLimit)
    throw new ModelError("M120", `${quoted(path)} names ${count} shards; expected 1 to ${shardLimit}.`);
  return { shardOf, warnings };
}

async function closeAll(files: readonly TensorFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
