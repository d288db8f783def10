/** Processes that take a share of the calibration windows of `compress` each, on a device of their own. */
import { mkdtempSync, rmSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CalibrationHelper, HelpedSum } from "../../llama/compression/calibration-helper.js";
import type { CompressOptions } from "../../llama/compression/compression.js";
import { readFully } from "../../model/files.js";
import type { DeviceChoice } from "../options.js";
import type { CalibrationTask, WrittenSums } from "./calibration-work.js";
import { openCrew } from "./crew.js";

/** A crew for `compress`. */
export interface CalibrationCrew {
  /** Settles when all have begun. */
  readonly ready: Promise<void>;
  readonly helpers: NonNullable<CompressOptions["helpers"]>;
  /** For people. */
  readonly devices: readonly string[];
  close(): Promise<void>;
}

/**
 * Starts a process a device. One that is started again is told all that brought the one before to where it was: the
 * windows, and the blocks that they have gone through.
 */
export function openCalibrationCrew(
  devices: readonly DeviceChoice[],
  { model, tune, note }: { readonly model: string; readonly tune: boolean; readonly note: (line: string) => void },
): CalibrationCrew {
  const folder = mkdtempSync(join(tmpdir(), "espalier-sums-"));
  process.once("exit", clean);
  const done: CalibrationTask[][] = devices.map(() => []);
  const crew = openCrew({
    devices,
    begin: () => ({ work: "calibration", options: { model, tune, folder } }),
    restore: (at) => done[at] ?? [],
    note,
  });

  function clean(): void {
    rmSync(folder, { recursive: true, force: true });
  }

  /** A task that brings a process further: what it was told is noted when it has done it. */
  async function advance(at: number, task: CalibrationTask): Promise<void> {
    await crew.run(task, { at });
    if (task.kind !== "advance") done[at] = [];
    if (task.kind !== "release") done[at]?.push(task);
  }

  return {
    ready: crew.ready,
    get devices() {
      return crew.members.map(({ device }) => device);
    },
    helpers: (treated) =>
      devices.map(
        (_, at): CalibrationHelper => ({
          embed: (share, options) => advance(at, { kind: "embed", share, options }),
          advance: async (block) => advance(at, { kind: "advance", block, weights: await treated(block) }),
          release: () => advance(at, { kind: "release" }),
          async observe(block, observed) {
            const task: CalibrationTask = { kind: "observe", block, observed, weights: await treated(block) };
            return readable((await crew.run(task, { at })) as WrittenSums);
          },
        }),
      ),
    async close() {
      await crew.close();
      process.removeListener("exit", clean);
      clean();
    },
  };
}

/** Sums as they are read from their file, which goes with the last. */
function readable({ path, sums }: WrittenSums): readonly HelpedSum[] {
  let left = sums.length;
  return sums.map(({ level, index, totals }) => ({
    level,
    index,
    totals: totals.map(({ offset, ...total }) => ({
      ...total,
      async read(part, from) {
        const handle = await open(path, "r");
        try {
          await readFully(handle, path, part, offset + from);
        } finally {
          await handle.close();
        }
      },
    })),
    async release() {
      if (--left === 0) await rm(path, { force: true });
    },
  }));
}
