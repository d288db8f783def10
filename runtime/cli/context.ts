import { InvalidArgumentError, Option, type Command } from "commander";
import { openDevice, type Device } from "../device/device.js";
import { standardLibrary } from "../library.js";
import { createCaller, type Caller } from "../llama/call.js";
import { openModel, type Model } from "../model/model.js";
import { createExecutor } from "../run/run.js";
import { targetOf } from "../run/target.js";
import { reportFailure } from "./failure.js";
import { createOutput, type Output } from "./output.js";
import { claimStdout } from "./stdout.js";

/** What every command has. */
export interface JsonOptions {
  readonly json?: boolean;
}

/** What every computing command has. */
export interface DeviceOptions extends JsonOptions {
  readonly device: "auto" | "gpu" | "cpu";
}

/** Adds `--device` and `--json`. */
export function withDevice(command: Command): Command {
  return withJson(
    command.addOption(
      new Option("--device <kind>", "what to compute on; auto takes a GPU where there is one")
        .choices(["auto", "gpu", "cpu"])
        .default("auto"),
    ),
  );
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option("--json", "print the result as one JSON document on stdout, all else on stderr");
}

/** A device with the standard library compiled for it on demand. */
export interface Machine {
  readonly device: Device;
  readonly caller: Caller;
  close(): void;
}

/** Opens the device that was asked for; the caller closes it. */
export async function openMachine(kind: DeviceOptions["device"], note: (line: string) => void): Promise<Machine> {
  const functions = standardLibrary();
  // every kernel is proven to stay in range when it is lowered
  const device = await openDevice({ kind, log: note, unchecked: true });
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

/** Opens a model and says on stderr where its files contradict themselves, and what of them is not used. */
export async function openGiven(path: string, output: Pick<Output, "note" | "alarm">): Promise<Model> {
  const model = await openModel(path);
  for (const warning of model.warnings) warn(output, warning);
  return model;
}

/** A warning about what was given, on stderr. */
export function warn(output: Pick<Output, "note" | "alarm">, warning: string): void {
  output.note(`${output.alarm("warning")}: ${warning}`);
}

/** Runs a command: its failure becomes words and an exit code. The process ends by itself. */
export function action<Args extends readonly unknown[]>(
  run: (output: Output, ...args: Args) => Promise<number | void>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    const output = createOutput(args.some(wantsJson), await claimStdout());
    try {
      process.exitCode = (await run(output, ...args)) ?? 0;
    } catch (error) {
      process.exitCode = reportFailure(output, error);
    }
  };
}

function wantsJson(arg: unknown): boolean {
  return typeof arg === "object" && arg !== null && "json" in arg && arg.json === true;
}

/** Reads a whole number of at least `least` from the command line. */
export function integer(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(
      `Expected a whole number ${most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`}.`,
    );
  };
}

/** Reads a number that `holds` from the command line; `expected` says in words which do. */
export function number(holds: (value: number) => boolean, expected: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isFinite(value) && holds(value)) return value;
    throw new InvalidArgumentError(`Expected a number ${expected}.`);
  };
}

/** Reads a number of bytes from the command line: `4096`, `512MiB`, `1.5GB`. */
export function byteCount(text: string): number {
  const [, digits = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?$/i.exec(text.trim()) ?? [];
  const power = "bkmgt".indexOf((unit[0] ?? "b").toLowerCase());
  const value = Math.floor(Number(digits) * (/^[kmgt]i?$|ib$/i.test(unit) ? 1024 : 1000) ** power);
  if (digits !== "" && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError("Expected a number of bytes, such as 536870912 or 512MiB.");
}

/**
 * Reads the path of a file to write; an empty one, of a variable that is not set most often, would be found wrong late.
 */
export function pathOf(text: string): string {
  if (text.trim() !== "") return text;
  throw new InvalidArgumentError("Expected a path.");
}

/** For options that may be given several times: all values, in order. */
export function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
