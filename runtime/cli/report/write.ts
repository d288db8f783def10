import { randomBytes } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { ModelError, quoted } from "../../model/error.js";
import { isWithin, realpathOfNew } from "../../model/files.js";
import { writeError } from "../../model/safetensors-writer.js";
import { failureOf, noteFailure } from "../failure.js";
import type { Output } from "../output.js";
import { packageVersion } from "../../package.js";
import { renderPage, type Fact, type Page } from "./page.js";

/** What a page must keep clear of: it would take the place of what is read, or be lost in what is written. */
export interface PageRules {
  /** Files that are read. */
  readonly files: readonly string[];
  /** Directories that are read or written, and all in them. */
  readonly directories: readonly string[];
}

/**
 * Checks, before any work is done, that a page can be written. Leaves nothing on the disk.
 * @throws ModelError M150 (a directory), M151 (no such directory, or not writable), M152 (an input, or in an input or
 * output)
 */
export async function checkPage(path: string, rules: PageRules): Promise<void> {
  const choose = "choose another file";
  const found = await stat(path).catch(() => null);
  if (found !== null && !found.isFile())
    throw new ModelError("M150", `The report ${quoted(path)} exists and is not a file.`, choose);
  const parent = await stat(dirname(path)).catch(() => null);
  if (parent === null || !parent.isDirectory())
    throw new ModelError(
      "M151",
      `The report ${quoted(path)} cannot be written: there is no directory ${quoted(dirname(path))}.`,
      choose,
    );
  const target = await realpathOfNew(path);
  for (const file of rules.files) {
    const read = await stat(file).catch(() => null);
    const same = found !== null && read !== null && found.dev === read.dev && found.ino === read.ino;
    if (same || (await realpathOfNew(file)) === target)
      throw new ModelError("M152", `The report ${quoted(path)} would replace ${quoted(file)}, which is read.`, choose);
  }
  for (const directory of rules.directories) {
    const other = await realpathOfNew(directory);
    const relation = isWithin(other, target) ? "lies inside" : isWithin(target, other) ? "would hold" : null;
    if (relation !== null)
      throw new ModelError(
        "M152",
        `The report ${quoted(path)} ${relation} ${quoted(directory)}, which is read or written as a whole.`,
        choose,
      );
  }
  const trial = besideOf(path);
  try {
    await (await open(trial, "wx")).close();
    await rm(trial);
  } catch (error) {
    throw writeError(path, error);
  }
}

/**
 * Writes a page, or a text as it is, beside its name, and renames it when it is whole.
 * @throws ModelError M151, M153, M154
 */
export async function writePage(path: string, page: Page | string): Promise<void> {
  const beside = besideOf(path);
  try {
    const file = await open(beside, "wx");
    try {
      await file.writeFile(typeof page === "string" ? page : renderPage(page));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error instanceof ModelError ? error : writeError(path, error);
  }
}

/**
 * Prints a result, and writes the page about it where one is asked for. The result took long, perhaps, and is printed
 * even
 * if the page fails. Gives the exit code.
 */
export async function printWithPage(
  output: Output,
  result: object,
  words: () => string,
  path: string | undefined,
  page: () => Page | string,
): Promise<number> {
  if (path === undefined) {
    output.result(result, words);
    return 0;
  }
  try {
    const made = page();
    await writePage(path, typeof made === "string" ? made : { ...made, facts: [...(made.facts ?? []), ...madeBy()] });
  } catch (error) {
    output.result({ ...result, report: null, error: failureOf(error) }, words);
    return noteFailure(output, error);
  }
  output.result({ ...result, report: path }, () => `${words()}\nThe report is in ${path}.`);
  return 0;
}

/** Version, date and command, as a page tells them. */
function madeBy(): readonly Fact[] {
  const date = `${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`;
  return [
    ["Command", ["espalier", ...process.argv.slice(2)].map(quotedWord).join(" ")],
    ["Espalier", packageVersion()],
    ["Date", date],
  ];
}

/** A word as a shell takes it. */
function quotedWord(word: string): string {
  return /^[\w./=:@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function besideOf(path: string): string {
  return `${path}.${process.pid}-${randomBytes(4).toString("hex")}.partial`;
}
