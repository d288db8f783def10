import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, realpathSync, renameSync, rmSync } from "node:fs";
import { lstat, mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError, quoted, systemCode } from "./error.js";
import { isWithin, realpathOfNew } from "./files.js";
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
  const relation = target === model ? "is" : isWithin(model, target) ? "lies inside" : isWithin(target, model) ? "holds" : null;
  if (relation !== null) throw new ModelError("M152", `The output directory ${quoted(path)} ${relation} the model ${quoted(rules.model)}.`, "choose another output directory");
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
  const name = (purpose: Purpose): string => join(parent, `${prefixOf(target)}${purpose}-${host()}-${process.pid}-${randomBytes(4).toString("hex")}`);
  const staging = name("new");
  const made = await mkdir(parent, { recursive: true }).catch((error: unknown) => {
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
    // Only directories that were made for this, and only where nothing else is in them.
    for (let at = parent; made !== undefined && isWithin(made, at); at = dirname(at)) await rmdir(at).catch(() => undefined);
  }
  return {
    target, staging, discard,
    async commit() {
      const replaced = name("old");
      try {
        const exists = await lstat(target).then(() => true, () => false);
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
 * Removes at once what this process has staged for a path, and brings a model back that it was just replacing: for a
 * process that is told to stop and has no time for `discard`. Completed directories stay.
 */
export function discardStaged(path: string): void {
  let target: string;
  try {
    target = join(realpathSync(dirname(resolve(path))), basename(resolve(path)));
    if (existsSync(target)) target = realpathSync(target);
  } catch {
    return; // no parent: nothing was staged
  }
  const prefix = prefixOf(target);
  for (const name of readdirSync(dirname(target))) {
    const found = stagedName(prefix, name);
    if (found?.pid !== process.pid) continue;
    const staged = join(dirname(target), name);
    if (found.purpose === "old" && !existsSync(target)) renameSync(staged, target);
    else rmSync(staged, { recursive: true, force: true });
  }
}

/** `--force` replaces a model, never a directory that happens to have the name: anything else could be lost by a slip. */
async function checkReplaceable(path: string, target: string, force: boolean): Promise<void> {
  const found = await stat(target).catch(() => null);
  if (found === null) throw new ModelError("M150", `The output ${quoted(path)} is a link that leads nowhere.`, "choose another output directory");
  if (!found.isDirectory()) throw new ModelError("M150", `The output ${quoted(path)} exists and is not a directory.`, "choose another output directory");
  if (!force) throw new ModelError("M150", `The output directory ${quoted(path)} exists already.`, "give --force to replace it, or choose another");
  const entries = await readdir(target, { withFileTypes: true });
  const isModel = entries.some((entry) => entry.name === "config.json") && entries.every((entry) => !entry.isDirectory());
  if (entries.length > 0 && !isModel) throw new ModelError("M150", `The output directory ${quoted(path)} exists and holds other things than a model; --force replaces only model directories.`, "choose another output directory, or remove it yourself");
}

/** Whether a directory can be made at a place is best found out by making one: permissions do not tell of read-only disks. */
async function probe(path: string, parent: string): Promise<void> {
  const trial = join(parent, `.espalier-${randomBytes(8).toString("hex")}`);
  try {
    await mkdir(trial);
    await rmdir(trial);
  } catch (error) {
    // Some file systems (/proc) say of a directory that they cannot have that it does not exist.
    if (systemCode(error) === "ENOENT") throw new ModelError("M151", `${quoted(path)} cannot be written: no directory can be made in ${quoted(parent)}.`, "choose another output directory", { cause: error });
    throw writeError(path, error);
  }
}

async function existingAncestor(path: string): Promise<string> {
  const there = await stat(path).then(() => true, () => false);
  return there || dirname(path) === path ? path : existingAncestor(dirname(path));
}

/** `new`: being written. `old`: was replaced, and is about to be removed. */
type Purpose = "new" | "old";

/**
 * The hidden sibling of an output in which a run keeps what it has finished, for a later one to go on from. Unlike what
 * is staged it outlives its process, and is removed by who resumes or starts anew.
 */
export function stateDirectory(target: string): string {
  return join(dirname(target), `${prefixOf(target)}state`);
}

/** The machine's name and a process of it, as recorded in what is kept beside an output. */
export interface Owner {
  readonly host: string;
  readonly pid: number;
}

/** This process. */
export function thisProcess(): Owner {
  return { host: host(), pid: process.pid };
}

/** Whether an owner is at work: yes or no for a process of this machine, null for one of another. */
export function isAtWork(owner: Owner): boolean | null {
  return owner.host === host() ? isRunning(owner.pid) : null;
}

/** Names of siblings start so: a digest, as the name itself may leave no room for more. */
function prefixOf(target: string): string {
  return `.espalier-${createHash("sha256").update(basename(target)).digest("hex").slice(0, 12)}-`;
}

/** The machine's name, as directories of other machines on a shared disk are none of ours. */
function host(): string {
  return hostname().replace(/[^A-Za-z0-9]/g, "_").slice(0, 40);
}

/** What a sibling of this name is for, and which process of this machine made it; null for one that is none of ours. */
function stagedName(prefix: string, name: string): { readonly purpose: Purpose; readonly pid: number } | null {
  const [, purpose, owner, pid] = name.startsWith(prefix) ? (/^(new|old)-(.+)-(\d+)-[0-9a-f]+$/.exec(name.slice(prefix.length)) ?? []) : [];
  return (purpose === "new" || purpose === "old") && owner === host() ? { purpose, pid: Number(pid) } : null;
}

/** Removes what killed runs on this machine left beside the target; a model that was being replaced comes back. */
async function removeStale(target: string): Promise<void> {
  const parent = dirname(target);
  const prefix = prefixOf(target);
  for (const name of await readdir(parent).catch(() => [])) {
    const found = stagedName(prefix, name);
    if (found === null || isRunning(found.pid)) continue;
    const path = join(parent, name);
    const lost = found.purpose === "old" && !(await lstat(target).then(() => true, () => false));
    await (lost ? rename(path, target) : rm(path, { recursive: true, force: true })).catch(() => undefined);
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== "ESRCH";
  }
}
