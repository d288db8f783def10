/** Processes, distinguished in the names of what they leave on a disk. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { systemCode } from "./error.js";

/**
 * A process of a machine. `mark` distinguishes it from others that had its number before: a container's first process
 * is always 1.
 */
export interface Owner {
  readonly host: string;
  readonly pid: number;
  readonly mark: string;
}

/** Stands for this process where the system does not say when it began. */
const token = randomBytes(6).toString("hex");

/** This process. */
export function thisProcess(): Owner {
  return { host: host(), pid: process.pid, mark: markOf(process.pid) ?? token };
}

/** An owner as a part of a file's name. */
export function printOwner({ host: machine, pid, mark }: Owner): string {
  return `${machine}-${pid}-${mark}`;
}

/** The owner that such a part names, else null. */
export function parseOwner(text: string): Owner | null {
  const [, machine, pid, mark] = /^(\w*)-(\d+)-([0-9a-f]+)$/.exec(text) ?? [];
  return machine === undefined || mark === undefined ? null : { host: machine, pid: Number(pid), mark };
}

/** Whether an owner is at work: yes or no for a process of this machine, null for one of another. */
export function isAtWork({ host: machine, pid, mark }: Owner): boolean | null {
  if (machine !== host()) return null;
  if (pid === process.pid) return mark === thisProcess().mark;
  const found = markOf(pid);
  return found === null ? isRunning(pid) : found === mark;
}

/** The machine's name, as directories of other machines on a shared disk are none of ours. */
function host(): string {
  return hostname()
    .replace(/[^A-Za-z0-9]/g, "_")
    .slice(0, 40);
}

/**
 * When a process began, in the kernel's ticks since this start of the machine; `ended` for one that only waits for its
 * parent to notice. Null where the system does not say.
 */
function markOf(pid: number): string | null {
  try {
    const [, text = ""] = /^.*\)\s(.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    // the third field of all is the first after the name, which may hold anything; the 22nd is the time
    const fields = text.split(" ");
    const [state = "", ticks = ""] = [fields[0], fields[19]];
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
    if (state === "Z" || state === "X") return "ended";
    return /^\d+$/.test(ticks) ? `${boot.replace(/[^0-9a-f]/g, "").slice(0, 8)}${Number(ticks).toString(16)}` : null;
  } catch {
    return null;
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
