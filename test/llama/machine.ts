import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { openDevice } from "../../runtime/device/device.js";
import { packageRoot, standardLibrary } from "../../runtime/library.js";
import { createCaller, type Caller } from "../../runtime/llama/call.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { writeToyModel } from "../support/toy-model.js";

/** The folder of the small model that the project carries. */
export const classics = join(packageRoot(), "examples", "classics-3.7m");

/**
 * A caller on the CPU driver, opened as the command line opens it; `close` lets the process end. With `poison` nothing
 * that is computed with is used again by the same program, so that it takes more memory.
 */
export async function openMachine({ poison } = { poison: true }): Promise<{ readonly caller: Caller; close(): void }> {
  const device = await openDevice({ kind: "cpu", unchecked: "kernels" });
  const executor = await createExecutor(device, { poison });
  return {
    caller: createCaller(executor, targetOf(device), standardLibrary()),
    close() {
      executor.close();
      device.close();
    },
  };
}

/** What tests of a compression work with. */
export interface Workshop {
  readonly caller: Caller;
  /** The small model, and the id of its first token. */
  readonly model: Model;
  readonly bos: number | null;
  /** For what is written. */
  readonly folder: string;
}

/** A machine, the small model and a folder of their own; after the tests all is given back, which they are held to. */
export function openWorkshop(test: Test, name: string): Promise<Workshop> {
  return openWorkshopOf(test, name, () => Promise.resolve(classics));
}

/** The same with the model of support/toy-model.ts, on which everything is done sooner. */
export function openToyWorkshop(test: Test, name: string, width?: number): Promise<Workshop> {
  return openWorkshopOf(test, name, (directory) => writeToyModel(directory, width));
}

async function openWorkshopOf(
  test: Test,
  name: string,
  modelAt: (directory: string) => Promise<string>,
): Promise<Workshop> {
  const { caller, close } = await openMachine();
  const whole = await mkdtemp(join(tmpdir(), `espalier-${name}-`));
  const model = await openModel(await modelAt(join(whole, "model")));
  const { bos } = await model.tokenizer();
  const folder = join(whole, "written");
  await mkdir(folder);
  test.after(async () => {
    assert.is(caller.executor.memory.live, 0);
    await model.close();
    await rm(whole, { recursive: true, force: true });
    close();
  });
  return { caller, model, bos, folder };
}
