/** Options that several commands have, and how their values are read. */
import { InvalidArgumentError, Option, type Command } from "commander";
import { UsageError } from "./failure.js";

/** What every command has. */
export interface JsonOptions {
  readonly json?: boolean;
}

/** What every computing command has. */
export interface DeviceOptions extends JsonOptions {
  readonly device: DeviceChoice;
}

/** A kind of device, the number of one as `espalier devices` lists them, or `gpu:1`: its number among the GPUs. */
export type DeviceChoice = "auto" | "gpu" | "cpu" | number | `gpu:${number}`;

/** What `openDevice` is asked for. */
export function chosenDevice(choice: DeviceChoice): {
  readonly kind?: "auto" | "gpu" | "cpu";
  readonly index?: number;
} {
  if (typeof choice === "number") return { index: choice };
  if (choice === "auto" || choice === "gpu" || choice === "cpu") return { kind: choice };
  return { kind: "gpu", index: Number(choice.slice("gpu:".length)) };
}

/** Reads `--device`. */
export function readDevice(text: string): DeviceChoice {
  if (text === "auto" || text === "gpu" || text === "cpu") return text;
  if (/^\d{1,4}$/.test(text)) return Number(text);
  if (/^gpu:\d{1,4}$/.test(text)) return `gpu:${Number(text.slice("gpu:".length))}`;
  throw new InvalidArgumentError(
    "Allowed choices are auto, gpu, cpu, gpu:1 for the second GPU, and the number of a device as `espalier devices` lists them.",
  );
}

/** Adds `--device` and `--json`. */
export function withDevice(command: Command): Command {
  return withJson(
    command.addOption(
      new Option(
        "--device <device>",
        "what to compute on: auto (a GPU where there is one), gpu, gpu:1 for the second, cpu, or a number among `espalier devices`",
      )
        .argParser(readDevice)
        .default("auto"),
    ),
  );
}

/** What a command has that divides its work between devices. */
export interface SeveralDevicesOptions {
  readonly devices?: readonly DeviceChoice[];
}

/** The most devices of a command. */
const mostDevices = 64;

/** Adds `--devices`, for what `divided` says. */
export function withDevices(command: Command, divided: string): Command {
  return command.addOption(
    new Option("--devices <list>", `several devices, as 0,1 or gpu:0,gpu:1: ${divided}; in place of --device`)
      .argParser((text: string) => {
        const devices = text.split(",").map((each) => readDevice(each.trim()));
        if (devices.length > mostDevices) throw new InvalidArgumentError(`At most ${mostDevices} devices are taken.`);
        return devices;
      })
      .conflicts("device"),
  );
}

/** The devices between which work is divided; null for one, which needs no process of its own. */
export function devicesOf({ devices }: SeveralDevicesOptions): readonly DeviceChoice[] | null {
  return devices === undefined || devices.length === 0 ? null : devices;
}

/** What every command has that runs a model. */
export interface TunedOptions {
  /** False with `--no-tune`. */
  readonly tune: boolean;
}

/** Adds `--no-tune`. */
export function withTuned(command: Command): Command {
  return command.option("--no-tune", "leave the schedules that `espalier tune` has found for this device");
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option("--json", "print the result as one JSON document on stdout, all else on stderr");
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

/** Values of `--set name=value`, by name; the checker reads them. */
export function settings(given: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new UsageError(`--set is NAME=VALUE, not "${text}"`);
      return [text.slice(0, at).trim(), text.slice(at + 1).trim()] as const;
    }),
  );
}
