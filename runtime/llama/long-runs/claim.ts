/**
 * A directory locked by one process at a time. Each that wants it puts a file there whose name says who it is, and only
 * then looks for others: of two that come at once at least one sees the other. Nobody removes the claim of a process
 * that is at work, so a claim that a killed process left can be taken over without a moment in which two have it.
 */
import { rmSync } from "node:fs";
import { mkdir, open, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { systemCode } from "../../model/error.js";
import { isAtWork, parseOwner, printOwner, thisProcess, type Owner } from "../../model/process.js";

/** Who holds a directory: this process, or another, of this machine or not. */
export type Claim = "ours" | { readonly owner: Owner; readonly elsewhere: boolean };

/** Tries of those that see each other's claims and both step back. */
const attempts = 6;

/**
 * Makes a directory where there is none and claims it. With `takeOver` the claims of other machines, of which it cannot
 * be
 * known whether they are at work, count as left behind.
 */
export async function claim(directory: string, takeOver: boolean): Promise<Claim> {
  const mine = claimName(thisProcess());
  for (let attempt = 1; ; attempt++) {
    let names: readonly string[];
    try {
      await mkdir(directory, { recursive: true });
      await (await open(join(directory, mine), "wx")).close();
      names = await readdir(directory);
    } catch (error) {
      if (systemCode(error) === "EEXIST") return { owner: thisProcess(), elsewhere: false };
      // who had locked it has removed it just now
      if (systemCode(error) === "ENOENT" && attempt < attempts) continue;
      throw error;
    }
    // it was moved away with this claim in it, and this is another
    if (!names.includes(mine) && attempt < attempts) continue;
    const others = names
      .filter((name) => name !== mine)
      .flatMap((name) => {
        const owner = name.startsWith(prefix) ? parseOwner(name.slice(prefix.length)) : null;
        return owner === null ? [] : [{ name, owner, atWork: isAtWork(owner) }];
      });
    const holder =
      others.find(({ atWork }) => atWork === true) ?? others.find(({ atWork }) => atWork === null && !takeOver);
    if (holder === undefined) {
      for (const { name } of others) await rm(join(directory, name), { force: true });
      return "ours";
    }
    await rm(join(directory, mine), { force: true });
    await rmdir(directory).catch(() => undefined); // holds something, most often
    if (holder.atWork === null || attempt === attempts)
      return { owner: holder.owner, elsewhere: holder.atWork === null };
    // either is at work for long, or it has stepped back too: who comes back first has it
    await setTimeout(10 + 60 * Math.random());
  }
}

/** Gives a directory up that this process has claimed. */
export function unclaim(directory: string): void {
  rmSync(join(directory, claimName(thisProcess())), { force: true });
}

/** Whether a file of such a directory is a claim, of whatever process. */
export function isClaim(name: string): boolean {
  return name.startsWith(prefix);
}

/** The name of a process's claim. */
export function claimName(owner: Owner): string {
  return `${prefix}${printOwner(owner)}`;
}

const prefix = "owner-";
