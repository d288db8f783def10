/** Files of the hub into the cache that Python shares: whole, by their hashes, or not at all. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat, symlink, type FileHandle } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { formatBytes } from "../device/error.js";
import { ModelError, quoted, systemCode } from "../model/error.js";
import { writeError } from "../model/safetensors-writer.js";
import { ask, isUnreachable, piecesOf, type HubOptions } from "./request.js";

/** A file as the hub tells of it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** sha256 of a large file, else the id that git has for it. */
  readonly hash: string;
}

/** Where the files of a repository lie. */
export interface Repository {
  /** `models--org--name` in the cache. */
  readonly folder: string;
  readonly commit: string;
  /** The address of a file. */
  url(path: string): string;
}

/**
 * A file in the cache, fetched if it is not there; gives its path. A download that was stopped is gone on with.
 * @throws ModelError M153, M154, M151 (the disk), M180, M181, M183
 */
export async function cachedFile(repository: Repository, file: HubFile, options: HubOptions): Promise<string> {
  const pointer = join(repository.folder, "snapshots", repository.commit, ...file.path.split("/"));
  const blob = join(repository.folder, "blobs", file.hash);
  if ((await sizeOf(pointer)) === file.size) return pointer;
  try {
    await mkdir(dirname(pointer), { recursive: true });
    await mkdir(dirname(blob), { recursive: true });
    const there = await sizeOf(blob);
    if (there === null) await download(repository, file, blob, options);
    else if (there !== file.size)
      throw new ModelError(
        "M183",
        `${quoted(blob)} of the cache has ${there} bytes; the hub has ${file.size} for ${quoted(file.path)}.`,
        "remove it: it will be fetched again",
      );
    await link(blob, pointer);
  } catch (error) {
    if (error instanceof ModelError || systemCode(error) === null) throw error;
    throw writeError(pointer, error);
  }
  return pointer;
}

async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ size }) => size,
    () => null,
  );
}

/** A link from a snapshot to a blob, or where there are no links the file itself. */
async function link(blob: string, pointer: string): Promise<void> {
  await rm(pointer, { force: true });
  await symlink(relative(dirname(pointer), blob), pointer).catch(async (error: unknown) => {
    if (systemCode(error) === "EEXIST") return;
    if (systemCode(error) !== "EPERM") throw error;
    await rename(blob, pointer);
  });
}

/** Most tries that bring nothing further. */
const mostTries = 4;

async function download({ url }: Repository, file: HubFile, blob: string, options: HubOptions): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  const what = `the file ${quoted(file.path)}`;
  // a server that makes it begin anew each time gets no further
  let furthest = (await sizeOf(incomplete)) ?? 0;
  for (let fruitless = 0; ; ) {
    if (((await sizeOf(incomplete)) ?? 0) > file.size) await rm(incomplete);
    const { done, hash, problem } = await goOn(url(file.path), incomplete, file, what, options);
    if (done === file.size && problem === null) {
      if (hash.digest("hex") === file.hash) break;
      await rm(incomplete);
      throw new ModelError(
        "M183",
        `${what[0]!.toUpperCase()}${what.slice(1)} that the hub gave has another hash than the hub tells of it.`,
        "try again; if it stays so, something between changes what is sent",
      );
    }
    fruitless = done > furthest ? 0 : fruitless + 1;
    furthest = Math.max(furthest, done);
    if (fruitless >= mostTries)
      throw new ModelError(
        "M180",
        `The hub sends ${what} no further than ${formatBytes(done)} of ${formatBytes(file.size)}${problem === null ? "" : `: ${problem}`}.`,
        "what is there is kept: the same command goes on from it",
      );
    await new Promise((resolve) => setTimeout(resolve, (options.pause ?? 500) * (1 + fruitless)));
  }
  await rename(incomplete, blob);
}

/** Fetches what a file lacks, as far as it comes. */
async function goOn(
  url: string,
  path: string,
  file: HubFile,
  what: string,
  options: HubOptions,
): Promise<{ readonly done: number; readonly hash: Hash; readonly problem: string | null }> {
  const handle = await open(path, "a+");
  try {
    let done = (await handle.stat()).size;
    let hash = await hashOf(file, path, done);
    if (done === file.size) return { done, hash, problem: null };
    let response: Response;
    try {
      response = await ask(url, options, {
        what,
        isFile: true,
        headers: { "accept-encoding": "identity", ...(done > 0 ? { range: `bytes=${done}-` } : {}) },
      });
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      return { done, hash, problem: (error as Error).message };
    }
    const goesOn = response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${done}-`);
    if (done > 0 && goesOn !== true) {
      // what is there cannot be gone on with: from the beginning
      await handle.truncate(0);
      done = 0;
      hash = await hashOf(file, path, 0);
      if (response.status !== 200) {
        await response.body?.cancel();
        return { done, hash, problem: `it answers with status ${response.status}` };
      }
    }
    try {
      for await (const piece of piecesOf(response)) {
        if (done + piece.length > file.size)
          throw new ModelError("M183", `The hub sends more than the ${file.size} bytes that it tells of ${what}.`);
        await writeAll(handle, piece);
        hash.update(piece);
        done += piece.length;
        options.onProgress?.(file.path, done, file.size);
      }
    } catch (error) {
      if (error instanceof ModelError) {
        await handle.truncate(0);
        throw error;
      }
      if (systemCode(error) === "ENOSPC" || systemCode(error) === "EDQUOT") throw writeError(path, error);
      return { done, hash, problem: error instanceof Error ? error.message : String(error) };
    }
    return { done, hash, problem: null };
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten;
}

/** The hash of a file so far: sha256, or sha1 as git takes it, of the length and the content. */
async function hashOf(file: HubFile, path: string, length: number): Promise<Hash> {
  const hash = file.hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
  if (length > 0)
    for await (const piece of createReadStream(path, { end: length - 1 })) hash.update(piece as Uint8Array);
  return hash;
}
