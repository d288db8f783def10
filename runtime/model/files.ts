import { counted } from "../../compiler/words.js";
import { constants, realpathSync } from "node:fs";
import { lstat, open, readdir, realpath, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { readWhole, type ByteFile, type Directory } from "./directory.js";
import { ModelError, quoted, systemCode } from "./error.js";
import { parseJson, type JsonObject } from "./json.js";

export { describe, isObject, sizeLimits, type JsonObject } from "./json.js";

const mebibyte = 1024 * 1024;

/** An open regular file and its size in bytes. The caller closes the handle. */
export interface OpenFile {
  readonly handle: FileHandle;
  readonly size: number;
}

/**
 * Opens a regular file to read; links to one are followed. Never waits: a pipe, device, socket or directory is refused
 * before it is opened, and again after, should it have been exchanged meanwhile.
 * @throws ModelError M100 (missing, unreadable), M101 (not a regular file)
 */
export async function openRegular(path: string): Promise<OpenFile> {
  let handle: FileHandle | null = null;
  try {
    refuseSpecial(path, await stat(path));
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const found = await handle.stat();
    refuseSpecial(path, found);
    return { handle, size: found.size };
  } catch (error) {
    await handle?.close();
    throw error instanceof ModelError ? error : accessError(path, error);
  }
}

/** As `openRegular`, as what models are read from. */
export async function openFile(path: string): Promise<ByteFile> {
  const { handle, size } = await openRegular(path);
  return {
    path,
    size,
    read: (target, position) => readFully(handle, path, target, position),
    close: () => handle.close(),
  };
}

/** A directory of the disk. Names that lead out of it are M103 where they are used. */
export function diskDirectory(path: string): Directory {
  return {
    path,
    pathOf: (name) => join(path, name),
    async require() {
      const found = await stat(path).catch((error: unknown) => {
        throw accessError(path, error);
      });
      if (!found.isDirectory())
        throw new ModelError("M100", `${quoted(path)} is not a directory; expected a Hugging Face model directory.`);
    },
    requireInside: async (name) => void (await resolveInside(path, name)),
    has: (name) => exists(join(path, name)),
    open: (name) => openFile(join(path, name)),
    names: () =>
      readdir(path).catch((error: unknown) => {
        throw accessError(path, error);
      }),
    async isFile(name) {
      return (
        await stat(join(path, name)).catch((error: unknown) => {
          throw accessError(join(path, name), error);
        })
      ).isFile();
    },
  };
}

/** Whether something, of any kind, is at the path; a dangling link is, so that opening it reports what is wrong. */
export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return false;
      throw accessError(path, error);
    },
  );
}

/**
 * Reads a whole regular file of at most `limit` bytes.
 * @throws ModelError M100, M101, M102 (larger than the limit)
 */
export async function readBounded(path: string, limit: number): Promise<Buffer<ArrayBuffer>> {
  const { buffer, byteOffset, byteLength } = await readWhole(openFile(path), limit);
  return Buffer.from(buffer, byteOffset, byteLength);
}

/**
 * Reads a JSON file that holds an object.
 * @throws ModelError M100, M101, M102, M104 (not JSON in UTF-8, or not an object)
 */
export async function readJson(path: string, limit: number): Promise<JsonObject> {
  return parseJson(path, await readBounded(path, limit));
}

/** As `readJson`, but null where there is no such file. */
export async function readJsonIfAny(path: string, limit: number): Promise<JsonObject | null> {
  return (await exists(path)) ? readJson(path, limit) : null;
}

/**
 * Fills `target` from `position` of the file on, in as many reads as it takes.
 * @throws ModelError M115 when the file ends before, M100 on an input error
 */
export async function readFully(handle: FileHandle, path: string, target: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < target.length) {
    // Node refuses reads of 2 GiB and more.
    const length = Math.min(target.length - done, 512 * mebibyte);
    const { bytesRead } = await handle.read(target, done, length, position + done).catch((error: unknown) => {
      throw accessError(path, error);
    });
    if (bytesRead === 0)
      throw new ModelError(
        "M115",
        `${quoted(path)} ended at byte ${position + done}, ${counted(target.length - done, "byte")} early: it was changed while it was being read.`,
      );
    done += bytesRead;
  }
}

/**
 * The path of a file that another file (an index) names. It has to lie in the directory; only the file itself may be
 * a link that leads elsewhere, as in the Hugging Face cache.
 * @throws ModelError M103
 */
export async function resolveInside(directory: string, name: string): Promise<string> {
  const outside = new ModelError(
    "M103",
    `The file name ${quoted(name)} does not stay inside the model's directory ${quoted(directory)}.`,
    "an index may name files of its own directory only",
  );
  const path = resolve(directory, name);
  const way = relative(directory, path);
  if (name === "" || name.includes("\0") || isAbsolute(name) || way === "" || leaves(way)) throw outside;
  // A directory on the way may itself be a link. Where there is none, opening the file says so.
  const [root, parent] = await Promise.all([realpath(directory), realpath(dirname(path)).catch(() => null)]);
  if (parent !== null && leaves(relative(root, parent))) throw outside;
  return path;
}

/** Whether a relative path leads out of its start. */
function leaves(way: string): boolean {
  return way === ".." || way.startsWith(`..${sep}`) || isAbsolute(way);
}

/**
 * The real path of something that need not exist: links of the longest existing part are followed. `fail` makes the
 * error.
 */
export async function realpathOfNew(
  path: string,
  fail: (path: string, error: unknown) => ModelError = accessError,
): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || dirname(absolute) === absolute) throw fail(path, error);
    return join(await realpathOfNew(dirname(absolute), fail), basename(absolute));
  }
}

/** As `realpathOfNew`, at once. */
export function realpathOfNewSync(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || dirname(absolute) === absolute) throw accessError(path, error);
    return join(realpathOfNewSync(dirname(absolute)), basename(absolute));
  }
}

/** Whether `path` is `directory` or lies below it; both real paths. */
export function isWithin(directory: string, path: string): boolean {
  return !leaves(relative(directory, path));
}

/** The model error for a system error at a path. */
export function accessError(path: string, error: unknown): ModelError {
  const code = systemCode(error);
  if (code === "ENOENT")
    return new ModelError("M100", `There is no file or directory ${quoted(path)}.`, null, { cause: error });
  if (code === "EACCES" || code === "EPERM")
    return new ModelError("M100", `${quoted(path)} may not be read: permission denied.`, null, { cause: error });
  if (code === "ENOTDIR")
    return new ModelError("M100", `A part of the path ${quoted(path)} is not a directory.`, null, { cause: error });
  if (code === "ELOOP")
    return new ModelError("M100", `${quoted(path)} is a link that leads in a circle.`, null, { cause: error });
  return new ModelError(
    "M100",
    `${quoted(path)} cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
    null,
    { cause: error },
  );
}

interface Kind {
  isFile(): boolean;
  isDirectory(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
  isCharacterDevice(): boolean;
  isBlockDevice(): boolean;
}

function refuseSpecial(path: string, found: Kind): void {
  if (found.isFile()) return;
  const kind = found.isDirectory()
    ? "a directory"
    : found.isFIFO()
      ? "a pipe"
      : found.isSocket()
        ? "a socket"
        : found.isCharacterDevice() || found.isBlockDevice()
          ? "a device"
          : "no regular file";
  throw new ModelError("M101", `${quoted(path)} is ${kind} (or a link to one); expected a regular file.`);
}
