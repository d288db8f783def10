import { join } from "node:path";
import { openDevice } from "../../runtime/device/device.js";
import { packageRoot, standardLibrary } from "../../runtime/library.js";
import { createCaller, type Caller } from "../../runtime/llama/call.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";

/** The folder of the small model that the project carries. */
export const classics = join(packageRoot(), "examples", "classics-3.7m");

/** A caller on the CPU driver; `close` lets the process end. */
export async function openMachine(): Promise<{ readonly caller: Caller; close(): void }> {
  const device = await openDevice({ kind: "cpu" });
  const executor = await createExecutor(device);
  return {
    caller: createCaller(executor, targetOf(device), standardLibrary()),
    close() {
      executor.close();
      device.close();
    },
  };
}
