/** Directories of a page: what it has fetched or made, and what its user has opened. */
import type { ByteFile, Directory } from "../model/directory.js";
import { ModelError, quoted } from "../model/error.js";

/** A Blob, or the File of one that was picked: its bytes are read when they are asked for. */
export interface Bytes {
  readonly size: number;
  slice(begin: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/** A directory of bytes by name; `path` is for messages. */
export function mapDirectory(path: string, files: ReadonlyMap<string, Uint8Array | Bytes>): Directory {
  const pathOf = (name: string): string => `${path}/${name}`;
  return {
    path,
    pathOf,
    require: async () => undefined,
    async requireInside(name) {
      if (name === "" || /[\\/\0]/.test(name))
        throw new ModelError(
          "M103",
          `The file name ${quoted(name)} does not stay inside the model's directory ${quoted(path)}.`,
          "an index may name files of its own directory only",
        );
    },
    has: async (name) => files.has(name),
    names: async () => [...files.keys()],
    isFile: async (name) => files.has(name),
    async open(name) {
      const file = files.get(name);
      if (file === undefined) throw new ModelError("M100", `There is no file ${quoted(pathOf(name))}.`);
      return file instanceof Uint8Array ? ofArray(pathOf(name), file) : ofBlob(pathOf(name), file);
    },
  };
}

/** The files of a directory that a user has picked (`<input type="file" webkitdirectory>`) or dropped, by name. */
export function pickedDirectory(
  files: Iterable<Bytes & { readonly name: string; readonly webkitRelativePath?: string }>,
): Directory {
  const all = [...files];
  const own = all.filter(({ webkitRelativePath = "" }) => webkitRelativePath.split("/").length <= 2);
  const [path = ""] = all[0]?.webkitRelativePath?.split("/") ?? [];
  return mapDirectory(path || "the files", new Map(own.map((file) => [file.name, file])));
}

function ofArray(path: string, bytes: Uint8Array): ByteFile {
  return {
    path,
    size: bytes.length,
    async read(target, position) {
      if (position + target.length > bytes.length) throw early(path, bytes.length);
      target.set(bytes.subarray(position, position + target.length));
    },
    close: async () => undefined,
  };
}

function ofBlob(path: string, file: Bytes): ByteFile {
  return {
    path,
    size: file.size,
    async read(target, position) {
      const bytes = await file
        .slice(position, position + target.length)
        .arrayBuffer()
        .catch((error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          throw new ModelError("M100", `${quoted(path)} cannot be read: ${reason}`, "open the directory again");
        });
      if (bytes.byteLength < target.length) throw early(path, position + bytes.byteLength);
      target.set(new Uint8Array(bytes));
    },
    close: async () => undefined,
  };
}

function early(path: string, at: number): ModelError {
  return new ModelError("M115", `${quoted(path)} ended at byte ${at}: it was changed while it was being read.`);
}
