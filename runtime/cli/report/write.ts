import { randomBytes } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { ModelError, quoted } from "../../model/error.js";
import { writeError } from "../../model/safetensors-writer.js";
import { renderPage, type Page } from "./page.js";

/**
 * Checks, before any work is done, that a page can be written.
 * @throws ModelError M150 (a directory), M151 (no such directory)
 */
export async function checkPage(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found !== null && !found.isFile()) throw new ModelError("M150", `The report ${quoted(path)} exists and is not a file.`, "choose another file");
  const parent = await stat(dirname(path)).catch(() => null);
  if (parent === null || !parent.isDirectory()) throw new ModelError("M151", `The report ${quoted(path)} cannot be written: there is no directory ${quoted(dirname(path))}.`, "choose another file");
}

/**
 * Writes a page beside its name, and renames it when it is whole.
 * @throws ModelError M151, M153, M154
 */
export async function writePage(path: string, page: Page): Promise<void> {
  const beside = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.partial`;
  try {
    const file = await open(beside, "wx");
    try {
      await file.writeFile(renderPage(page));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error instanceof ModelError ? error : writeError(path, error);
  }
}
