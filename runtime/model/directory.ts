/**
 * Where a model is read from: a directory of bytes by name. It may be one of the disk (`diskDirectory`, in Node), or of
 * a page (`mapDirectory`: what was fetched or made; `pickedDirectory`: files that a user has opened).
 */
import { formatBytes } from "../device/error.js";
import { ModelError, quoted } from "./error.js";
import { parseJson, type JsonObject } from "./json.js";

/** An open file. The caller closes it. */
export interface ByteFile {
  /** For messages. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /**
   * Fills `target` from `position` on. @throws ModelError M115 where the file ends before, M100 on an input error
   */
  read(target: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** Files by name. */
export interface Directory {
  /** For messages. */
  readonly path: string;
  /** Where a file is, for messages. */
  pathOf(name: string): string;
  /** @throws ModelError M100 where there is no such directory */
  require(): Promise<void>;
  /** That a name which a file of the directory gives stays inside of it. @throws ModelError M103 */
  requireInside(name: string): Promise<void>;
  /** Whether something has that name. */
  has(name: string): Promise<boolean>;
  /** @throws ModelError M100 (missing, unreadable), M101 (no regular file) */
  open(name: string): Promise<ByteFile>;
  /** @throws ModelError M100 */
  names(): Promise<readonly string[]>;
  /** Whether what has that name is a regular file. @throws ModelError M100 */
  isFile(name: string): Promise<boolean>;
}

/**
 * Reads a whole file of at most `limit` bytes and closes it.
 * @throws ModelError M100, M101, M102 (larger than the limit), M115
 */
export async function readWhole(opening: Promise<ByteFile>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await opening;
  try {
    if (file.size > limit)
      throw new ModelError(
        "M102",
        `${quoted(file.path)} has ${formatBytes(file.size)}; at most ${formatBytes(limit)} are expected of such a file.`,
      );
    const bytes = new Uint8Array(file.size);
    await file.read(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

/**
 * Reads a JSON file of a directory that holds an object.
 * @throws ModelError M100, M101, M102, M104 (not JSON in UTF-8, or not an object)
 */
export async function jsonOf(directory: Directory, name: string, limit: number): Promise<JsonObject> {
  return parseJson(directory.pathOf(name), await readWhole(directory.open(name), limit));
}

/** As `jsonOf`, but null where there is no such file. */
export async function jsonOfAny(directory: Directory, name: string, limit: number): Promise<JsonObject | null> {
  return (await directory.has(name)) ? jsonOf(directory, name, limit) : null;
}
