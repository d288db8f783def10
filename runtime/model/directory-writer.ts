/** A model directory that is being written: shards, their index, what lies beside them. */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { byteCount } from "./elements.js";
import { ModelError } from "./error.js";
import type { Model } from "./model.js";
import { stageDirectory } from "./output.js";
import { createSafetensors, writeError, type SafetensorsWriter, type TensorLayout } from "./safetensors-writer.js";

/** What such a directory is made of. */
export interface DirectoryPlan {
  /** The model that it is made from: its tokenizer and what else belongs to it are taken over. */
  readonly source: Pick<Model, "directory" | "companions">;
  /** Every tensor, in the order in which they will lie in the files. */
  readonly layouts: readonly TensorLayout[];
  /** Whether an existing model directory may be replaced. */
  readonly force: boolean;
  /** Most bytes of data of a shard; a tensor larger than that is a shard of its own. 5 GB where not said. */
  readonly maxShardBytes?: number | undefined;
  /** Further files by name, asked for when all tensors are written; they replace what would be taken over. */
  texts(): ReadonlyMap<string, string>;
}

/** Writes a model directory, tensor by tensor; it appears under its name when it is complete. */
export interface DirectoryWriter {
  /** Bytes of data of all tensors. */
  readonly bytes: number;
  /** Where files are written meanwhile, for a caller that is asked to stop at once and has no time for `discard`. */
  readonly staging: string;
  /**
   * Adds the next bytes of a tensor: of a packed one its words, padding included, of a dense one its elements.
   * @throws ModelError M153 (disk full), M154; everything is removed then
   */
  append(name: string, bytes: Uint8Array): Promise<void>;
  /**
   * Completes the directory. A tensor that lacks bytes is a RangeError, and nothing is kept. `before` is called when
   * all is written, just before what lies in `staging` gets the name `directory`.
   */
  finish(
    before?: (directory: string, staging: string) => Promise<void>,
  ): Promise<{ readonly directory: string; readonly files: readonly string[]; readonly bytes: number }>;
  /** Removes everything; nothing happens after `finish`. */
  discard(): Promise<void>;
}

/**
 * Starts a model directory at `path`.
 * @throws ModelError M150 to M154 (the place), M100 to M102 (a file that should be copied)
 */
export async function createDirectory(path: string, plan: DirectoryPlan): Promise<DirectoryWriter> {
  const shards = splitShards(plan.layouts, plan.maxShardBytes ?? 5e9);
  const companions = await plan.source.companions();
  const directory = await stageDirectory(path, { model: plan.source.directory, force: plan.force });
  const metadata = new Map([["format", "pt"]]);
  const writers: SafetensorsWriter[] = [];
  const writerOf = new Map<string, SafetensorsWriter>();

  async function discard(): Promise<void> {
    for (const writer of writers) await writer.discard();
    await directory.discard();
  }
  async function guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await discard();
      throw error;
    }
  }

  await guarded(async () => {
    for (const shard of shards) {
      const writer = await createSafetensors(join(directory.staging, shard.file), shard.tensors, metadata);
      writers.push(writer);
      for (const tensor of shard.tensors) writerOf.set(tensor.name, writer);
    }
  });
  const bytes = plan.layouts.reduce((sum, layout) => sum + dataBytes(layout), 0);
  return {
    bytes,
    staging: directory.staging,
    append: (name, piece) =>
      guarded(async () => {
        const writer = writerOf.get(name);
        if (writer === undefined) throw new RangeError(`the plan has no tensor ${name}`);
        await writer.append(name, piece);
      }),
    finish: (before) =>
      guarded(async () => {
        for (const writer of writers) await writer.finish();
        if (shards.length > 1)
          await writeText(join(directory.staging, "model.safetensors.index.json"), printJson(indexOf(shards, bytes)));
        const texts = plan.texts();
        for (const { name, read } of companions)
          if (!texts.has(name)) await writeBytes(join(directory.staging, name), await read());
        for (const [name, text] of texts) await writeText(join(directory.staging, name), text);
        const files = await readdir(directory.staging);
        await before?.(directory.target, directory.staging);
        await directory.commit();
        return { directory: directory.target, files: files.sort(), bytes };
      }),
    discard,
  };
}

interface Shard {
  readonly file: string;
  readonly tensors: readonly TensorLayout[];
}

/** Tensors in order, as many to a file as fit. */
function splitShards(layouts: readonly TensorLayout[], maxBytes: number): readonly Shard[] {
  const groups: TensorLayout[][] = [[]];
  let size = 0;
  for (const layout of layouts) {
    const bytes = dataBytes(layout);
    if (size > 0 && size + bytes > maxBytes) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)?.push(layout);
    size += bytes;
  }
  if (groups.length === 1) return groups.map((tensors) => ({ file: "model.safetensors", tensors }));
  const digits = (n: number): string => String(n).padStart(5, "0");
  return groups.map((tensors, i) => ({
    file: `model-${digits(i + 1)}-of-${digits(groups.length)}.safetensors`,
    tensors,
  }));
}

function indexOf(shards: readonly Shard[], bytes: number): object {
  const map = shards.flatMap((shard) => shard.tensors.map((tensor) => [tensor.name, shard.file] as const));
  return { metadata: { total_size: bytes }, weight_map: Object.fromEntries(map) };
}

function dataBytes(layout: TensorLayout): number {
  const bytes = byteCount(layout.dtype, layout.shape);
  if (bytes === null) throw new RangeError(`tensor ${layout.name} is too large`);
  return bytes;
}

/** JSON as it is written in files. */
export function printJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

async function writeText(path: string, text: string): Promise<void> {
  await writeBytes(path, Buffer.from(text));
}

async function writeBytes(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(path, "wx");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw error instanceof ModelError ? error : writeError(path, error);
  }
}
