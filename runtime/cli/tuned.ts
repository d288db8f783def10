/** The table of schedules that `espalier tune` keeps for a device, and whether a command uses it. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { ScheduleChoices } from "../../compiler/compile.js";
import type { Device } from "../device/device.js";
import { fileName, originOf, readChoices } from "../tune/file.js";

/** Where the table of a device is kept: in the user's cache. */
export function tunedPath(device: Pick<Device, "name" | "info">): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "espalier", "tune", fileName(originOf(device)));
}

/**
 * The table that is kept for a device; empty where there is none, it is not wanted or not of use. ESPALIER_TUNE names
 * another file, or is `off`.
 */
export function tunedChoices(
  device: Pick<Device, "name" | "info">,
  wanted: boolean,
  note: (line: string) => void,
): ScheduleChoices {
  const named = process.env["ESPALIER_TUNE"] ?? "";
  if (!wanted || named === "off") return {};
  const path = named === "" ? tunedPath(device) : named;
  const found = readChoices(path, originOf(device));
  if (found === null) {
    if (named !== "") note(`note: there is no file ${path}, which ESPALIER_TUNE names`);
    return {};
  }
  if ("refused" in found) {
    note(`note: the schedules kept in ${path} are not used: ${found.refused}. \`espalier tune\` finds new ones.`);
    return {};
  }
  note(`note: with the schedules that \`espalier tune\` has found for this device (--no-tune leaves them)`);
  return found.choices;
}
