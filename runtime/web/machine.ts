/** A device of a page with the standard library compiled for it on demand. */
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { Device } from "../device/opened.js";
import { createCaller, type Caller } from "../llama/call.js";
import { createExecutor } from "../run/run.js";
import { targetOf } from "../run/target.js";
import { openDevice } from "./device.js";
import { standardFunctions } from "./sources.js";

export interface Machine {
  readonly device: Device;
  readonly caller: Caller;
  close(): void;
}

/**
 * Opens the device that the browser gives.
 * @throws DeviceError no-gpu
 */
export async function openMachine(
  functions: ReadonlyMap<string, SymbolicGraph> = standardFunctions(),
): Promise<Machine> {
  const device = await openDevice();
  const executor = await createExecutor(device);
  return {
    device,
    caller: createCaller(executor, targetOf(device), functions),
    close() {
      executor.close();
      device.close();
    },
  };
}
