/** Tables of cuts in files: of which device, driver and version they are, and whether they may be used. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ChosenCut, ScheduleChoices } from "../../compiler/compile.js";
import type { Device } from "../device/device.js";
import { packageVersion } from "../package.js";

/** What a table was measured on. */
export interface Origin {
  readonly adapter: string;
  readonly driver: string;
  readonly espalier: string;
}

/** That of a device, with this version. */
export function originOf({ name, info }: Pick<Device, "name" | "info">): Origin {
  const driver = [info.vendor, info.architecture, info.description].filter((part) => part !== "").join(" ");
  return { adapter: name, driver, espalier: packageVersion() };
}

/** The name of the file that a device's table is kept in. */
export function fileName({ adapter, driver }: Origin): string {
  const plain = (text: string): string =>
    text
      .toLowerCase()
      .replace(/[^a-z0-9.]+/g, "-")
      .replace(/^[-.]+|[-.]+$/g, "")
      .slice(0, 80) || "unnamed";
  return `${plain(adapter)}-${plain(driver)}.json`;
}

/** A table from a file, or why it is not used; null where there is no file. */
export type ReadChoices = { readonly choices: ScheduleChoices } | { readonly refused: string } | null;

const format = "espalier schedules";

/** The most that is read of a file, and the most choices, letters of a key and parts of a cut. */
const most = { bytes: 2 ** 20, choices: 4096, key: 512, parts: 16, list: 8 } as const;

/**
 * Reads the table of a device. Nothing of the file is trusted: cuts that are none of the candidates are left when
 * something is compiled.
 */
export function readChoices(path: string, origin: Origin): ReadChoices {
  const text = readBounded(path);
  if (text === null || typeof text !== "string") return text;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { refused: "it is no JSON" };
  }
  if (!isRecord(value) || value["format"] !== format) return { refused: "it is no table of schedules" };
  for (const part of ["adapter", "driver", "espalier"] as const) {
    const found = value[part];
    if (found !== origin[part])
      return {
        refused: `its ${part} is ${typeof found === "string" ? `"${found.slice(0, 80)}"` : "not told"}, and "${origin[part]}" is used`,
      };
  }
  const fault = choicesFault(value["choices"]);
  return fault === null ? { choices: value["choices"] as ScheduleChoices } : { refused: fault };
}

/** Writes a table, whole or not at all; the folder is made. */
export function writeChoices(path: string, origin: Origin, choices: ScheduleChoices): void {
  mkdirSync(dirname(path), { recursive: true });
  const staged = join(dirname(path), `.${randomUUID()}.json`);
  try {
    writeFileSync(staged, `${JSON.stringify({ format, ...origin, choices }, null, 1)}\n`);
    renameSync(staged, path);
  } catch (error) {
    rmSync(staged, { force: true });
    throw error;
  }
}

function readBounded(path: string): string | Exclude<ReadChoices, { readonly choices: ScheduleChoices }> {
  try {
    const found = statSync(path);
    if (!found.isFile()) return { refused: "it is no regular file" };
    if (found.size > most.bytes) return { refused: `it has ${found.size} bytes, more than ${most.bytes}` };
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    return code === "ENOENT" || code === "ENOTDIR" ? null : { refused: `it cannot be read (${code})` };
  }
}

function choicesFault(value: unknown): string | null {
  if (!isRecord(value)) return "its `choices` are no object";
  const choices = Object.entries(value);
  if (choices.length > most.choices) return `it has ${choices.length} choices, more than ${most.choices}`;
  const wrong = choices.find(([key, cut]) => key.length > most.key || !isCut(cut));
  return wrong === undefined ? null : `its choice for "${wrong[0].slice(0, 80)}" is no cut of a schedule`;
}

function isCut(value: unknown): value is ChosenCut {
  if (!isRecord(value) || typeof value["kind"] !== "string") return false;
  const parts = Object.values(value);
  return (
    parts.length <= most.parts &&
    parts.every((part) =>
      Array.isArray(part)
        ? part.length <= most.list && part.every((each) => Number.isFinite(each))
        : Number.isFinite(part) || (typeof part === "string" && part.length <= 32),
    )
  );
}

function isRecord(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
