import { openDevice, type Device } from "../device/device.js";
import { standardLibrary } from "../library.js";
import { createCaller, type Caller } from "../llama/call.js";
import { createExecutor } from "../run/run.js";
import { targetOf } from "../run/target.js";
import { chosenDevice, type DeviceChoice, type TunedOptions } from "./options.js";
import { tunedChoices } from "./tuned.js";

/** A device with the standard library compiled for it on demand. */
export interface Machine {
  readonly device: Device;
  readonly caller: Caller;
  close(): void;
}

/**
 * Opens the device that was asked for, without the driver's checks of indices: every kernel is proven to stay in range
 * when it is lowered. The caller closes it.
 */
export function openUnchecked(choice: DeviceChoice, note: (line: string) => void): Promise<Device> {
  return openDevice({ ...chosenDevice(choice), log: note, unchecked: true });
}

/**
 * The same, with the standard library, and with the schedules that were found for the device where those are wanted; the
 * caller closes it.
 */
export async function openMachine(
  { device: choice, tune }: { readonly device: DeviceChoice } & TunedOptions,
  note: (line: string) => void,
): Promise<Machine> {
  const functions = standardLibrary();
  const device = await openUnchecked(choice, note);
  const choices = tunedChoices(device, tune, note);
  const executor = await createExecutor(device).catch((error: unknown) => {
    device.close();
    throw error;
  });
  return {
    device,
    caller: createCaller(executor, targetOf(device), functions, { choices, interleave: true }),
    close() {
      executor.close();
      device.close();
    },
  };
}
