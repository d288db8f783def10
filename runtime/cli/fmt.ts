import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasErrors, type Diagnostic } from "../../compiler/diagnostic.js";
import { format } from "../../compiler/syntax/format.js";
import { largestFile } from "../../compiler/syntax/parse.js";
import { counted } from "../../compiler/words.js";
import { DiagnosticsError, UsageError } from "./failure.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";

interface FormatCommandOptions extends JsonOptions {
  readonly check?: boolean;
}

/** The file name that stands for stdin and stdout. */
const standard = "-";

/**
 * `espalier fmt`: source files in their one layout. Nothing is written unless all files can be read and parsed; a file
 * is replaced whole. Exit code 1 with `--check` where a file is not laid out so.
 */
export async function run(output: Output, given: string[], options: FormatCommandOptions): Promise<number | void> {
  const files = filesOf(given);
  if (files.includes(standard) && files.length > 1)
    throw new UsageError("`-`, for stdin and stdout, stands alone: no other files can be given with it");
  const sources = new Map(files.map((file) => [file, readSource(file)]));
  const diagnostics: Diagnostic[] = [];
  const formatted = [...sources].map(([file, source]) => {
    const { value, diagnostics: found } = format(source, file);
    diagnostics.push(...found);
    return { file, text: value ?? source, changed: value !== null && value !== source };
  });
  if (hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, sources);
  const changed = formatted.filter((each) => each.changed);
  const [only] = formatted;
  if (only?.file === standard && options.check !== true) {
    if (options.json) output.result({ files: formatted }, () => "");
    else output.stream(only.text);
    return;
  }
  if (options.check !== true) for (const { file, text } of changed) replaceFile(file, text);
  output.result({ files: formatted.map(({ file, changed: is }) => ({ file, changed: is })) }, () =>
    [...changed.map(({ file }) => file), summary(files.length, changed.length, options.check === true)].join("\n"),
  );
  return options.check === true && changed.length > 0 ? 1 : 0;
}

function summary(files: number, changed: number, onlyCheck: boolean): string {
  const done = onlyCheck ? "not laid out as `espalier fmt` does it" : "laid out anew";
  return `${counted(files, "file")}: ${changed === 0 ? "nothing to change" : `${changed} ${done}`}`;
}

/** The files named, and all `.esp` files below the folders named; without any, those below the working directory. */
export function filesOf(given: readonly string[]): readonly string[] {
  const paths = given.length === 0 ? ["."] : given;
  const found = paths.flatMap((path) => (path !== standard && isFolder(path) ? sourcesBelow(path) : [path]));
  if (found.length === 0) throw new UsageError(`there is no .esp file below ${paths.join(", ")}`);
  return [...new Set(found)];
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function sourcesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = folder === "." ? entry.name : join(folder, entry.name);
      if (entry.isDirectory())
        return entry.name.startsWith(".") || entry.name === "node_modules" ? [] : sourcesBelow(path);
      return entry.isFile() && entry.name.endsWith(".esp") ? [path] : [];
    });
}

/** The text of a file; what is larger than the parser reads, it reports. */
function readSource(file: string): string {
  if (file === standard) return readFileSync(0, "utf8");
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new UsageError(`there is no file ${file}`);
  if (!found.isFile()) throw new UsageError(`${file} is no regular file`);
  if (found.size > largestFile)
    throw new UsageError(`${file} has ${found.size} bytes; at most ${largestFile} are read of a source file`);
  return readFileSync(file, "utf8");
}

/** Writes a file beside the one it replaces, which keeps its permissions. */
function replaceFile(file: string, text: string): void {
  const path = realpathSync(file);
  const beside = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(beside, text, { mode: statSync(path).mode, flag: "wx" });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
