/**
 * Models that a run is about to give their names. A run that is killed between that and noting that it has done it
 * would
 * else not know the directory for its own: what is announced before is what will be found after.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** A directory and what will lie there: files keep their times when the directory that they are in is renamed. */
export interface Announced {
  /** The real path. */
  readonly directory: string;
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly changed: string }[];
}

/** Announces that what lies in `staging` will lie in `directory`. */
export async function announce(directory: string, staging: string): Promise<Announced> {
  return { directory, files: await filesOf(staging) };
}

/** Whether the directory is there with just these files, as they were written. */
export async function stands({ directory, files }: Announced): Promise<boolean> {
  const found = await filesOf(directory).catch(() => null);
  return JSON.stringify(found) === JSON.stringify(files);
}

async function filesOf(directory: string): Promise<Announced["files"]> {
  const names = (await readdir(directory)).sort();
  return Promise.all(
    names.map(async (name) => {
      const found = await stat(join(directory, name), { bigint: true });
      return { name, bytes: Number(found.size), changed: String(found.mtimeNs) };
    }),
  );
}
