/** A model directory that is being written: shards, their index, what lies beside them. */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { dataBytes, indexOf, splitShards, type DirectoryPlan, type DirectoryWriter } from "./directory-plan.js";
import { ModelError } from "./error.js";
import { printJson } from "./json.js";
import { stageDirectory } from "./output.js";
import { createSafetensors, writeError, type SafetensorsWriter } from "./safetensors-writer.js";

export type { DirectoryPlan, DirectoryWriter } from "./directory-plan.js";
export { printJson } from "./json.js";

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
