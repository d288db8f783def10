/** Room on disk for what does not fit into the device's memory: slots of equal size in a file that no one else sees. */
import { mkdtemp, open, rm, statfs, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatBytes } from "../../device/error.js";
import { ModelError } from "../../model/error.js";
import { readFully } from "../../model/files.js";
import { writeError } from "../../model/safetensors-writer.js";

export interface Spill {
  /** Bytes that the file may take at most. */
  readonly bytes: number;
  /** @throws ModelError M153 (disk full), M154 */
  write(slot: number, bytes: Uint8Array): Promise<void>;
  /** Fills `target` from the beginning of a slot. @throws ModelError */
  read(slot: number, target: Uint8Array): Promise<void>;
  /** Gives the room back. Twice is harmless. */
  close(): Promise<void>;
}

/** The operations of the system that a spill needs, for tests of disks that fill up. */
export interface SpillDisk {
  /** A folder of its own for a file. */
  folder(): Promise<string>;
  /** Free bytes of the disk that a folder lies on. */
  free(folder: string): Promise<number>;
  write(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number>;
}

/** The system's folder for temporary files. */
export const temporaryDisk: SpillDisk = {
  folder: () => mkdtemp(join(tmpdir(), "espalier-activations-")),
  async free(folder) {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
  write: async (handle, bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
};

/** Bytes that one write takes at most. */
const piece = 64 * 2 ** 20;

/**
 * Makes room for `slots` slots of `slotBytes` bytes. Where the system allows it the file has no name from the start, so
 * that it goes with the process however that ends.
 * @throws ModelError M153 when the disk has less room than that; M151, M154
 */
export async function createSpill(slots: number, slotBytes: number, disk: SpillDisk = temporaryDisk): Promise<Spill> {
  const bytes = slots * slotBytes;
  const folder = await disk.folder().catch((error: unknown) => {
    throw writeError(tmpdir(), error);
  });
  const path = join(folder, "activations");
  let handle: FileHandle | null = null;
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const free = await disk.free(folder);
    if (free < bytes)
      throw new ModelError(
        "M153",
        `The calibration activations take ${formatBytes(bytes)} on disk, and ${folder} has ${formatBytes(free)} left.`,
        "free some space, set TMPDIR to a folder on another disk, keep more on the device with --calibration-memory, or calibrate on fewer windows",
      );
    handle = await open(path, "wx+");
    if (process.platform !== "win32") await remove();
  } catch (error) {
    await handle?.close();
    await remove();
    throw error instanceof ModelError ? error : writeError(path, error);
  }
  const file = handle;
  let isOpen = true;
  return {
    bytes,
    async write(slot, data) {
      try {
        for (let done = 0; done < data.length; )
          done += await disk.write(file, data.subarray(done, done + piece), slot * slotBytes + done);
      } catch (error) {
        throw writeError(path, error);
      }
    },
    read: (slot, target) => readFully(file, path, target, slot * slotBytes),
    async close() {
      if (!isOpen) return;
      isOpen = false;
      await file.close();
      await remove();
    },
  };
}
