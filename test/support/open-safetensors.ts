/** Safetensors files of the disk. */
import { openFile } from "../../runtime/model/files.js";
import { readSafetensors, type SafetensorsFile } from "../../runtime/model/safetensors.js";

/** Opens a file; the caller closes it. */
export function openSafetensors(path: string): Promise<SafetensorsFile> {
  return readSafetensors(openFile(path));
}
