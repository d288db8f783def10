import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, renameSync, rmSync, rmdirSync } from "node:fs";
import { lstat, mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError, quoted, systemCode } from "./error.js";
import { isWithin, realpathOfNew, realpathOfNewSync } from "./files.js";
import { isAtWork, parseOwner, printOwner, thisProcess, type Owner } from "./process.js";
import { writeError } from "./safetensors-writer.js";

/** What an output directory must keep clear of, and whether it may replace one. */
export interface OutputRules {
  /** The model's directory, which the output must not be, hold or lie in. */
  readonly model: string;
  /** Whether an existing model directory may be replaced. */
  readonly force: boolean;
}

/** A directory being written, invisible under its final name until `commit`. */
export interface StagedDirectory {
  /** The final path. */
  readonly target: string;
  /** Where files are to be written: a hidden sibling of the target. */
  readonly staging: string;
  /** Gives the directory its name, replacing what was there where rules allow. */
  commit(): Promise<void>;
  /** Removes everything that was written; nothing happens after `commit`. */
  discard(): Promise<void>;
}

/**
 * Checks, before any work is done, that a model can be written to `path`. Leaves nothing on the disk, and removes what
 * runs that were killed left there. Gives the real path.
 * @throws ModelError M150 (exists), M151 (not writable), M152 (is, holds or lies in the model)
 */
export async function checkOutput(path: string, rules: OutputRules): Promise<string> {
  const target = await realpathOfNew(path, writeError);
  const model = await realpathOfNew(rules.model);
  const relation =
    target === model ? "is" : isWithin(model, target) ? "lies inside" : isWithin(target, model) ? "holds" : null;
  if (relation !== null)
    throw new ModelError(
      "M152",
      `The output directory ${quoted(path)} ${relation} the model ${quoted(rules.model)}.`,
      "choose another output directory",
    );
  await removeStale(target);
  const found = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return null;
    throw writeError(path, error);
  });
  if (found !== null) await checkReplaceable(path, target, rules.force);
  await probe(path, await existingAncestor(dirname(target)));
  return target;
}

/**
 * Starts a directory that appears under `path` only when it is complete.
 * @throws ModelError as `checkOutput`
 */
export async function stageDirectory(path: string, rules: OutputRules): Promise<StagedDirectory> {
  const target = await checkOutput(path, rules);
  const parent = dirname(target);
  const staging = stagedPath(target, "new");
  const made = missingParents(target);
  await mkdir(parent, { recursive: true }).catch((error: unknown) => {
    throw writeError(path, error);
  });
  await mkdir(staging).catch((error: unknown) => {
    throw writeError(path, error);
  });
  let open = true;

  async function discard(): Promise<void> {
    if (!open) return;
    open = false;
    await rm(staging, { recursive: true, force: true });
    removeEmpty(made);
  }
  return {
    target,
    staging,
    discard,
    async commit() {
      const replaced = stagedPath(target, "old");
      try {
        const exists = await lstat(target).then(
          () => true,
          () => false,
        );
        if (exists) {
          await checkReplaceable(path, target, rules.force);
          await rename(target, replaced);
        }
        await rename(staging, target).catch(async (error: unknown) => {
          if (exists) await rename(replaced, target);
          throw error;
        });
        open = false;
      } catch (error) {
        await discard();
        throw error instanceof ModelError ? error : writeError(path, error);
      }
      await rm(replaced, { recursive: true, force: true });
    },
  };
}

/**
 * Starts files that appear beside each other only when they are complete: `path`, and others of these names in its
 * directory. They are written to `staging` by their names. `isReplaceable`: whether what has the path may be replaced
 * where that is forced.
 * @throws ModelError M150 (exists), M151 (not writable), M152 (is the model)
 */
export async function stageFiles(
  path: string,
  others: readonly string[],
  { model, force, isReplaceable }: OutputRules & { readonly isReplaceable: (path: string) => Promise<boolean> },
): Promise<StagedDirectory> {
  const target = await realpathOfNew(path, writeError);
  if (target === (await realpathOfNew(model)))
    throw new ModelError("M152", `The output ${quoted(path)} is the model itself.`, "choose another output");
  await removeStale(target);
  for (const each of [target, ...others.map((name) => join(dirname(target), name))]) {
    const found = await lstat(each).catch(() => null);
    if (found === null) continue;
    if (!found.isFile() || (force && each === target && !(await isReplaceable(each))))
      throw new ModelError(
        "M150",
        `The output ${quoted(each)} exists and is no file of a model; --force replaces only those.`,
        "choose another output",
      );
    if (!force)
      throw new ModelError(
        "M150",
        `The output ${quoted(each)} exists already.`,
        "give --force to replace it, or choose another",
      );
  }
  await probe(path, await existingAncestor(dirname(target)));
  const parent = dirname(target);
  const staging = stagedPath(target, "new");
  const made = missingParents(target);
  await mkdir(staging, { recursive: true }).catch((error: unknown) => {
    throw writeError(path, error);
  });
  const discard = async (): Promise<void> => {
    await rm(staging, { recursive: true, force: true });
    removeEmpty(made);
  };
  return {
    target,
    staging,
    discard,
    async commit() {
      try {
        for (const name of [...others, basename(target)]) await rename(join(staging, name), join(parent, name));
      } catch (error) {
        await discard();
        throw error instanceof ModelError ? error : writeError(path, error);
      }
      await rm(staging, { recursive: true, force: true });
    },
  };
}

/**
 * Removes at once what this process has staged for a path, and brings a model back that it was just replacing: for a
 * process that is asked to stop and has no time for `discard`. Completed directories stay.
 */
export function discardStaged(path: string): void {
  let target: string;
  try {
    target = realpathOfNewSync(path);
    if (!existsSync(dirname(target))) return; // nothing was staged
  } catch {
    return; // not a place for an output
  }
  const prefix = prefixOf(target);
  for (const name of readdirSync(dirname(target))) {
    const found = stagedName(prefix, name);
    if (found === null || found.owner.pid !== process.pid || isAtWork(found.owner) !== true) continue;
    const staged = join(dirname(target), name);
    if (found.purpose === "old" && !existsSync(target)) renameSync(staged, target);
    else rmSync(staged, { recursive: true, force: true });
  }
}

/**
 * `--force` replaces a model, never a directory that happens to have the name: anything else could be lost by a slip.
 */
async function checkReplaceable(path: string, target: string, force: boolean): Promise<void> {
  const found = await stat(target).catch(() => null);
  if (found === null)
    throw new ModelError(
      "M150",
      `The output ${quoted(path)} is a link that leads nowhere.`,
      "choose another output directory",
    );
  if (!found.isDirectory())
    throw new ModelError(
      "M150",
      `The output ${quoted(path)} exists and is not a directory.`,
      "choose another output directory",
    );
  if (!force)
    throw new ModelError(
      "M150",
      `The output directory ${quoted(path)} exists already.`,
      "give --force to replace it, or choose another",
    );
  const entries = await readdir(target, { withFileTypes: true });
  const isModel =
    entries.some((entry) => entry.name === "config.json") && entries.every((entry) => !entry.isDirectory());
  if (entries.length > 0 && !isModel)
    throw new ModelError(
      "M150",
      `The output directory ${quoted(path)} exists and holds other things than a model; --force replaces only model directories.`,
      "choose another output directory, or remove it yourself",
    );
}

/**
 * Whether a directory can be made at a place is best found out by making one: permissions do not show read-only
 * disks.
 */
async function probe(path: string, parent: string): Promise<void> {
  const trial = join(parent, `.espalier-${randomBytes(8).toString("hex")}`);
  try {
    await mkdir(trial);
    await rmdir(trial);
  } catch (error) {
    // Some file systems (/proc) say of a directory that they cannot have that it does not exist.
    if (systemCode(error) === "ENOENT")
      throw new ModelError(
        "M151",
        `${quoted(path)} cannot be written: no directory can be made in ${quoted(parent)}.`,
        "choose another output directory",
        { cause: error },
      );
    throw writeError(path, error);
  }
}

/** The directories that are to be made before something can have this path, the innermost first. */
export function missingParents(path: string): readonly string[] {
  const parent = dirname(resolve(path));
  return existsSync(parent) ? [] : [parent, ...missingParents(parent)];
}

/**
 * Removes directories that hold nothing, the innermost first: what was made on the way to an output that is not to be.
 */
export function removeEmpty(directories: readonly string[]): void {
  for (const directory of [...directories].sort((a, b) => b.length - a.length)) {
    try {
      rmdirSync(directory);
    } catch {
      // was not made, or holds something
    }
  }
}

async function existingAncestor(path: string): Promise<string> {
  const there = await stat(path).then(
    () => true,
    () => false,
  );
  return there || dirname(path) === path ? path : existingAncestor(dirname(path));
}

/** `new`: being written. `old`: was replaced, and is about to be removed. */
type Purpose = "new" | "old";

/** A name beside a state for what is left of it while it is removed; it is cleared away like anything staged. */
export function discardedState(directory: string): string {
  return `${directory.replace(/state$/, "new")}-${printOwner(thisProcess())}-${randomBytes(4).toString("hex")}`;
}

/**
 * The hidden sibling of an output in which a run keeps what it has finished, for a later one to go on from. Unlike what
 * is staged it outlives its process, and is removed by who resumes or starts anew.
 */
export function stateDirectory(target: string): string {
  return join(dirname(target), `${prefixOf(target)}state`);
}

/** Names of siblings start so: a digest, as the name itself may leave no room for more. */
function prefixOf(target: string): string {
  return `.espalier-${createHash("sha256").update(basename(target)).digest("hex").slice(0, 12)}-`;
}

/** A hidden sibling of an output, of this process. */
function stagedPath(target: string, purpose: Purpose): string {
  return join(
    dirname(target),
    `${prefixOf(target)}${purpose}-${printOwner(thisProcess())}-${randomBytes(4).toString("hex")}`,
  );
}

/** What a sibling of this name is for, and which process made it; null for one that is not staged. */
function stagedName(prefix: string, name: string): { readonly purpose: Purpose; readonly owner: Owner } | null {
  const [, purpose, process = ""] = name.startsWith(prefix)
    ? (/^(new|old)-(.+)-[0-9a-f]+$/.exec(name.slice(prefix.length)) ?? [])
    : [];
  const owner = parseOwner(process);
  return (purpose === "new" || purpose === "old") && owner !== null ? { purpose, owner } : null;
}

/** Removes what killed runs on this machine left beside the target; a model that was being replaced comes back. */
export async function removeStale(target: string): Promise<void> {
  const parent = dirname(target);
  const prefix = prefixOf(target);
  for (const name of await readdir(parent).catch(() => [])) {
    const found = stagedName(prefix, name);
    if (found === null || isAtWork(found.owner) !== false) continue;
    const path = join(parent, name);
    const lost =
      found.purpose === "old" &&
      !(await lstat(target).then(
        () => true,
        () => false,
      ));
    await (lost ? rename(path, target) : rm(path, { recursive: true, force: true })).catch(() => undefined);
  }
}
