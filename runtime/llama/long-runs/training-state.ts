/** What a training keeps now and then, so that a run that is stopped goes on from there: one file in a saved state. */
import { createHash } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../model/error.js";
import { readFully } from "../../model/files.js";
import { writeError } from "../../model/safetensors-writer.js";
import type { TrainingRecord } from "../training/report.js";

/** Where a training stood. */
export interface TrainingPoint {
  /** The step of work of the run that trains. */
  readonly work: number;
  /** Steps of the training that were made. */
  readonly step: number;
  readonly record: TrainingRecord;
  /** What is kept, in the order in which it lies in the file, with its bytes. */
  readonly tensors: readonly { readonly name: string; readonly bytes: number }[];
}

/** A point that was kept; `read` fills `target` with bytes of a tensor. */
export interface KeptPoint {
  readonly point: TrainingPoint;
  read(name: string, target: Uint8Array, begin: number): Promise<void>;
}

const fileName = "training.words";

/** Bytes before the tensors: how long the description is, which follows. */
const prefix = 16;

/** The longest description that is read. */
const longest = 2 ** 28;

/** Replaces what was kept. @throws ModelError M153, M154 */
export async function keepTraining(
  directory: string,
  point: TrainingPoint,
  pieces: (name: string) => AsyncIterable<Uint8Array>,
): Promise<void> {
  const path = join(directory, fileName);
  try {
    const file = await open(`${path}.partial`, "w");
    try {
      const text = JSON.stringify(point);
      const description = Buffer.from(JSON.stringify({ digest: digestOf(text), point: text }));
      await file.write(Buffer.from(String(description.length).padEnd(prefix)));
      await file.writeFile(description);
      for (const { name } of point.tensors) for await (const piece of pieces(name)) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.partial`, path);
  } catch (error) {
    throw error instanceof Error && "syscall" in error ? writeError(path, error) : error;
  }
}

/** What was kept, if it is whole and as it was written; null otherwise. */
export async function keptTraining(directory: string): Promise<KeptPoint | null> {
  const path = join(directory, fileName);
  try {
    const { size } = await stat(path);
    const [point, begin] = await withFile(path, async (read) => {
      const head = new Uint8Array(prefix);
      await read(head, 0);
      const length = Number(Buffer.from(head).toString("latin1").trim());
      if (!Number.isSafeInteger(length) || length < 2 || length > Math.min(longest, size - prefix)) return [null, 0];
      const description = new Uint8Array(length);
      await read(description, prefix);
      const found = JSON.parse(Buffer.from(description).toString("utf8")) as { digest?: unknown; point?: unknown };
      if (typeof found.point !== "string" || found.digest !== digestOf(found.point)) return [null, 0];
      return [JSON.parse(found.point) as TrainingPoint, prefix + length];
    });
    if (point === null) return null;
    const offsets = new Map<string, number>();
    let end = begin;
    for (const { name, bytes } of point.tensors) {
      offsets.set(name, end);
      end += bytes;
    }
    if (end !== size) return null;
    return {
      point,
      read: (name, target, from) => withFile(path, (read) => read(target, (offsets.get(name) ?? size) + from)),
    };
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return null;
    throw error;
  }
}

/** Removes what was kept, when the training is over. */
export async function forgetTraining(directory: string): Promise<void> {
  await rm(join(directory, fileName), { force: true });
}

async function withFile<T>(
  path: string,
  use: (read: (target: Uint8Array, begin: number) => Promise<void>) => Promise<T>,
): Promise<T> {
  const file = await open(path, "r");
  try {
    return await use((target, begin) => readFully(file, path, target, begin));
  } finally {
    await file.close();
  }
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
