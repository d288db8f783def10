/** A share of the calibration windows of `compress`, on a device of its own. */
import { open, rm } from "node:fs/promises";
import { rmSync } from "node:fs";
import { join } from "node:path";
import {
  openShare,
  type CalibrationShare,
  type Observation,
  type ShareOptions,
} from "../../llama/compression/calibration-share.js";
import type { Share } from "../../llama/compression/division.js";
import { createWorkingModel, type WorkingModel } from "../../llama/compression/working-model.js";
import { createSpill } from "../../llama/long-runs/spill.js";
import type { LyingWeight } from "../../llama/long-runs/saved-state.js";
import { loadEntry } from "../../llama/inference/session.js";
import { downloadPieces } from "../../llama/weights.js";
import { readFully } from "../../model/files.js";
import { openModel } from "../../model/model.js";
import { withArena } from "../../run/arena.js";
import { openMachine } from "../machine.js";
import type { DeviceChoice } from "../options.js";
import type { BeginWork } from "./messages.js";

/** What the process is told at its beginning. */
export interface CalibrationBegin {
  readonly model: string;
  readonly tune: boolean;
  /** Where sums are left for the command. */
  readonly folder: string;
}

/** What the process is asked for. Weights are those of the block that were treated. */
export type CalibrationTask =
  | {
      readonly kind: "embed";
      readonly share: Share;
      readonly options: Pick<ShareOptions, "dtype" | "memory" | "withDense">;
    }
  | {
      readonly kind: "observe";
      readonly block: number;
      readonly observed: Observation;
      readonly weights: readonly LyingWeight[];
    }
  | { readonly kind: "advance"; readonly block: number; readonly weights: readonly LyingWeight[] }
  | { readonly kind: "release" };

/** Sums in a file. */
export interface WrittenSums {
  readonly path: string;
  readonly sums: readonly {
    readonly level: number;
    readonly index: number;
    readonly totals: readonly {
      readonly id: number;
      readonly input: string;
      readonly shape: readonly number[];
      readonly bytes: number;
      readonly offset: number;
    }[];
  }[];
}

export const begin: BeginWork = async (choice: DeviceChoice, given, note) => {
  const { model: path, tune, folder } = given as CalibrationBegin;
  // what a command that was killed has left
  process.once("exit", () => {
    if (!process.connected) rmSync(folder, { recursive: true, force: true });
  });
  const model = await openModel(path);
  const { device, caller, close } = await openMachine({ device: choice, tune }, note);
  const { executor } = caller;
  let share: CalibrationShare | null = null;
  let working: WorkingModel | null = null;
  let files = 0;
  let last: Promise<unknown> = Promise.resolve();

  /** The share's weights are those of the task. */
  const now: Pick<WorkingModel, "block" | "entry"> = {
    entry: (_, arena) => loadEntry(caller, model, "stored", arena),
    block: (index, of, arena) => {
      if (working === null) throw new Error("there are no weights");
      return working.block(index, of, arena);
    },
  };

  async function withWeights<T>(weights: readonly LyingWeight[], work: () => Promise<T>): Promise<T> {
    const found = new Map(weights.map((one) => [one.record.name, one]));
    working = createWorkingModel(caller, model, {
      weights: new Map(weights.map(({ record }) => [record.name, record])),
      async read(name, target, from) {
        const one = found.get(name);
        if (one === undefined) throw new RangeError(`${name} was not treated`);
        const handle = await open(one.path, "r");
        try {
          await readFully(handle, one.path, target, one.offset + from);
        } finally {
          await handle.close();
        }
      },
      add: () => Promise.reject(new Error("a share treats nothing")),
    });
    try {
      return await work();
    } finally {
      working.release();
      working = null;
    }
  }

  /** Writes what was summed, a piece at a time. */
  function observe(opened: CalibrationShare, block: number, observed: Observation): Promise<WrittenSums> {
    return withArena(executor, async (arena) => {
      const found = await opened.observe(block, observed, arena);
      const file = join(folder, `sums-${process.pid}-${files++}`);
      const handle = await open(file, "wx");
      let offset = 0;
      try {
        const sums: WrittenSums["sums"][number][] = [];
        for (const { level, index, totals } of found) {
          const written: WrittenSums["sums"][number]["totals"][number][] = [];
          for (const [id, inputs] of totals)
            for (const [input, tensor] of inputs) {
              const bytes = 4 * tensor.shape.reduce((product, size) => product * size, 1);
              written.push({ id, input, shape: tensor.shape, bytes, offset });
              for await (const piece of downloadPieces(caller, tensor, bytes)) {
                await handle.writeFile(piece);
                offset += piece.length;
              }
            }
          sums.push({ level, index, totals: written });
        }
        return { path: file, sums };
      } catch (error) {
        await rm(file, { force: true });
        throw error;
      } finally {
        await handle.close();
      }
    });
  }

  async function run(task: CalibrationTask, onProgress: (done: number, total: number) => void): Promise<unknown> {
    if (task.kind === "embed" || task.kind === "release") {
      await share?.release();
      share = null;
      if (task.kind === "embed")
        share = await openShare(caller, model, now, task.share, {
          ...task.options,
          spill: (slots, bytes) => createSpill(slots, bytes),
          onPass: (_pass, _block, done, total) => onProgress(done, total),
        });
      return null;
    }
    const opened = share;
    if (opened === null) throw new Error("there are no activations");
    return withWeights(task.weights, async () =>
      task.kind === "observe" ? observe(opened, task.block, task.observed) : opened.advance(task.block),
    );
  }

  return {
    device: device.name,
    run(task, onProgress) {
      const next = last.then(() => run(task as CalibrationTask, onProgress));
      last = next.catch(() => {});
      return next;
    },
    async close() {
      await last;
      await share?.release();
      close();
      await model.close();
    },
  };
};
