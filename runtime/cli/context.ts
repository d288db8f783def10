import type { Command } from "commander";
import { openDevice, type Device } from "../device/device.js";
import { createCaller, type Caller } from "../llama/call.js";
import { standardLibrary } from "../library.js";
import { createExecutor } from "../run/run.js";
import { targetOf } from "../run/target.js";
import { reportFailure, UsageError } from "./failure.js";
import { createOutput, type Output } from "./output.js";

/** Options that every computing command has. */
export interface DeviceOptions {
  readonly device: string;
  readonly json?: boolean;
}

/** Adds `--device` and `--json`. */
export function withDevice(command: Command): Command {
  return withJson(command.option("--device <kind>", "auto, gpu or cpu", "auto"));
}

export function withJson(command: Command): Command {
  return command.option("--json", "print one JSON document on stdout, everything else on stderr");
}

/** A device with the standard library compiled for it on demand. */
export interface Machine {
  readonly device: Device;
  readonly caller: Caller;
}

/** Opens the device that was asked for. */
export async function openMachine(options: DeviceOptions, output: Output): Promise<Machine> {
  const kind = options.device;
  if (kind !== "auto" && kind !== "gpu" && kind !== "cpu") throw new UsageError(`--device is auto, gpu or cpu, not "${kind}"`);
  const functions = standardLibrary();
  const device = await openDevice({ kind, log: output.note, unchecked: true });
  const executor = await createExecutor(device);
  return { device, caller: createCaller(executor, targetOf(device), functions) };
}

/** Runs a command: its failure becomes words and an exit code. The process ends by itself. */
export function action<Args extends unknown[]>(run: (output: Output, ...args: Args) => Promise<number | void>): (...args: Args) => Promise<void> {
  return async (...args) => {
    const options = args.find((arg): arg is Args[number] & { json?: boolean } => typeof arg === "object" && arg !== null && !Array.isArray(arg) && "json" in arg);
    const output = createOutput(options?.json === true);
    try {
      process.exitCode = (await run(output, ...args)) ?? 0;
    } catch (error) {
      process.exitCode = reportFailure(output, error);
    }
  };
}

/** A whole number from the command line. */
export function integerOption(name: string, least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least) throw new UsageError(`${name} must be a whole number of at least ${least}, not "${text}"`);
    return value;
  };
}

/** A number from the command line, in a range. */
export function numberOption(name: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !(value >= least && value <= most)) throw new UsageError(`${name} must be a number from ${least} to ${most}, not "${text}"`);
    return value;
  };
}
