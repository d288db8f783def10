import { randomBytes } from "node:crypto";
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { ModelError, quoted, systemCode } from "./error.js";
import { layoutFile, type TensorLayout } from "./safetensors-layout.js";

export type { TensorLayout } from "./safetensors-layout.js";

/** Writes one file of tensors, which come in any order, each in pieces. */
export interface SafetensorsWriter {
  readonly path: string;
  /** Size of the whole file in bytes. */
  readonly bytes: number;
  /**
   * Adds the next bytes of a tensor. More than it has, or an unknown tensor, is a RangeError.
   * @throws ModelError M153 (disk full), M154
   */
  append(name: string, bytes: Uint8Array): Promise<void>;
  /** Writes everything to the disk and gives the file its name. Throws, and discards, where a tensor is incomplete. */
  finish(): Promise<void>;
  /** Removes what was written; nothing happens after `finish`. */
  discard(): Promise<void>;
}

/**
 * Starts a safetensors file beside `path`; it takes that name, replacing what is there, only when it is complete.
 * Data are laid out in the order of `tensors`.
 * @throws ModelError M151 (not writable), M153 (disk full), M154
 */
export async function createSafetensors(
  path: string,
  tensors: readonly TensorLayout[],
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<SafetensorsWriter> {
  const { header, places, bytes } = layoutFile(tensors, metadata);
  return createTensorFile(path, { head: header, tensors: [...places].map(([name, at]) => ({ name, ...at })), bytes });
}

/** A file that holds tensors, apart from their data. */
export interface TensorFilePlan {
  /** What comes before the data. */
  readonly head: Uint8Array;
  /** Where each tensor lies, counted from the end of the head. */
  readonly tensors: readonly { readonly name: string; readonly begin: number; readonly end: number }[];
  /** Of the whole file; what belongs to no tensor is zero. */
  readonly bytes: number;
}

/**
 * Starts a file of tensors beside `path`, as `createSafetensors` does.
 * @throws ModelError M151 (not writable), M153 (disk full), M154
 */
export async function createTensorFile(path: string, plan: TensorFilePlan): Promise<SafetensorsWriter> {
  const { head } = plan;
  const cursors = new Map(plan.tensors.map(({ name, begin, end }) => [name, { at: begin, end }]));
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.partial`;
  const handle = await open(temporary, "wx").catch((error: unknown) => {
    throw writeError(path, error);
  });
  let isOpen = true;

  async function discard(): Promise<void> {
    if (!isOpen) return;
    isOpen = false;
    await handle.close().catch(() => undefined);
    await rm(temporary, { force: true });
  }
  async function guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      await discard();
      throw error instanceof RangeError || error instanceof ModelError ? error : writeError(path, error);
    }
  }

  await guarded(() => writeFully(handle, head, 0));
  return {
    path,
    bytes: plan.bytes,
    append: (name, bytes) =>
      guarded(async () => {
        const cursor = cursors.get(name);
        if (!isOpen || cursor === undefined || cursor.at + bytes.length > cursor.end) {
          throw new RangeError(
            !isOpen
              ? `${path} is finished already`
              : cursor === undefined
                ? `${path} has no tensor ${name}`
                : `tensor ${name} has ${cursor.end - cursor.at} bytes left, not ${bytes.length}`,
          );
        }
        const at = cursor.at;
        cursor.at += bytes.length;
        await writeFully(handle, bytes, head.length + at);
      }),
    finish: () =>
      guarded(async () => {
        for (const [name, { at, end }] of cursors)
          if (at !== end) throw new RangeError(`tensor ${name} of ${path} lacks ${end - at} bytes`);
        if (plan.tensors.at(-1)?.end !== plan.bytes - head.length) await handle.truncate(plan.bytes);
        await handle.sync();
        await handle.close();
        await rename(temporary, path);
        isOpen = false;
      }),
    discard,
  };
}

/** The model error for a system error met while writing to a path. */
export function writeError(path: string, error: unknown): ModelError {
  const code = systemCode(error);
  if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
    return new ModelError(
      "M153",
      `There is no room left to write ${quoted(path)}${code === "EFBIG" ? ": the file system allows no file so large" : ""}.`,
      code === "EFBIG" ? "set a maximal size for each shard" : "free some space, or write to another disk",
      { cause: error },
    );
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return new ModelError(
      "M151",
      `${quoted(path)} cannot be written: ${code === "EROFS" ? "the file system is read-only" : "permission denied"}.`,
      "choose another output directory",
      { cause: error },
    );
  }
  if (code === "ENOTDIR" || code === "ELOOP" || code === "ENAMETOOLONG") {
    const reason =
      code === "ENOTDIR"
        ? "a part of the path is not a directory"
        : code === "ELOOP"
          ? "the path leads in a circle"
          : "the name is too long";
    return new ModelError("M151", `${quoted(path)} cannot be written: ${reason}.`, "choose another output directory", {
      cause: error,
    });
  }
  return new ModelError(
    "M154",
    `Writing ${quoted(path)} failed: ${error instanceof Error ? error.message : String(error)}.`,
    null,
    { cause: error },
  );
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    // A write may take less than it is given, on a disk that is nearly full for one; the next then says why.
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, 2 ** 29), position + done);
    done += bytesWritten;
  }
}
