/**
 * Several processes of this program, one a device, that are given tasks. A process that dies is started again once, and
 * what it was at is done again; one that dies twice is given up.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { DeviceError } from "../../device/error.js";
import type { DeviceChoice } from "../options.js";
import { errorOf, type Begin, type Order, type Report } from "./messages.js";

/** A process of a crew, as it is now. */
export interface Member {
  /** Its place in the list of devices. */
  readonly at: number;
  readonly choice: DeviceChoice;
  /** For people: the device's name, once it is known. */
  readonly device: string;
  /** What it said when it had begun; null while it has not, or is given up. */
  readonly answer: unknown;
  readonly isReady: boolean;
  readonly isLost: boolean;
  /** Tasks that it has. */
  readonly underWay: number;
}

export interface CrewOptions {
  readonly devices: readonly DeviceChoice[];
  /** What the process on a device is told. */
  begin(at: number): Pick<Begin, "work" | "options">;
  /** Tasks that bring a process that is started again to where the one before was; they come before all others. */
  readonly restore?: (at: number) => readonly unknown[];
  /** Gets a line for people now and then. */
  readonly note: (line: string) => void;
  /** A process could not begin, or all are lost: what comes is for the command to end with. */
  readonly onFault?: (error: Error) => void;
}

/** A task that is given to a process: to one of them, or to the one with the least under way. */
export interface TaskOptions {
  readonly at?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Crew {
  readonly members: readonly Member[];
  /** Settles when all processes have begun. @throws what one of them could not begin for */
  readonly ready: Promise<void>;
  /** @throws what the task throws; DeviceError device-lost where no process is left for it */
  run(task: unknown, options?: TaskOptions): Promise<unknown>;
  /** Lets each process end what it is at, for so many milliseconds. */
  close(patience?: number): Promise<void>;
  /** Ends all at once. */
  kill(): void;
}

interface Pending {
  readonly id: number;
  readonly task: unknown;
  readonly isPinned: boolean;
  readonly onProgress: (done: number, total: number) => void;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

interface Seat {
  readonly at: number;
  readonly choice: DeviceChoice;
  device: string;
  answer: unknown;
  isReady: boolean;
  isLost: boolean;
  child: ChildProcess | null;
  readonly tasks: Map<number, Pending>;
  /** The last that it printed. */
  said: string;
  /** How often it was started. */
  starts: number;
}

/** How often a process is started: once, and once more. */
const mostStarts = 2;

/** Characters of what a process printed last that are told when it dies. */
const mostSaid = 2000;

/** Starts a process a device. */
export function openCrew({ devices, begin, restore = () => [], note, onFault = () => {} }: CrewOptions): Crew {
  let ids = 0;
  let isClosing = false;
  let fault: Error | null = null;
  const noted = new Set<string>();
  const ready = deferred();
  ready.promise.catch(() => {});
  const seats = devices.map(
    (choice, at): Seat => ({
      ...{ at, choice, device: `device ${choice}`, answer: null, isReady: false, isLost: false, child: null },
      ...{ tasks: new Map(), said: "", starts: 0 },
    }),
  );
  for (const seat of seats) start(seat);

  function start(seat: Seat): void {
    seat.starts++;
    seat.said = "";
    const child = fork(fileURLToPath(new URL("./device-worker.js", import.meta.url)), [], {
      // what Dawn and drivers print on stdout is nobody's
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      serialization: "advanced",
      // Ctrl-C is for the command alone, which tells them to end
      detached: true,
    });
    seat.child = child;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (seat.said = (seat.said + text).slice(-mostSaid)));
    child.on("message", (report: Report) => hear(seat, child, report));
    child.once("error", (error) => (seat.said += error.message));
    child.once("close", (code, signal) => ended(seat, child, signal ?? `code ${code}`));
    tell(seat, { kind: "begin", begin: { ...begin(seat.at), device: seat.choice } });
    const again = [...seat.tasks.values()];
    if (seat.starts > 1)
      for (const task of restore(seat.at)) give(seat, { ...silent(), id: ids++, task, isPinned: true });
    for (const { id, task } of again) tell(seat, { kind: "task", id, task });
  }

  /** A task that nobody waits for: if it fails, so does all that its process is to do. */
  function silent(): Pick<Pending, "resolve" | "reject" | "onProgress"> {
    return { resolve: () => {}, reject: fail, onProgress: () => {} };
  }

  function tell(seat: Seat, order: Order): void {
    // one that has died is heard of by its end
    if (seat.child?.connected === true) seat.child.send(order, () => {});
  }

  function give(seat: Seat, pending: Pending): void {
    seat.tasks.set(pending.id, pending);
    tell(seat, { kind: "task", id: pending.id, task: pending.task });
  }

  function hear(seat: Seat, child: ChildProcess, report: Report): void {
    if (seat.child !== child) return;
    switch (report.kind) {
      case "ready":
        seat.device = report.device;
        seat.answer = report.answer;
        seat.isReady = true;
        note(`process ${child.pid}: ${report.device}`);
        if (seats.every((one) => one.isReady || one.isLost)) ready.resolve();
        break;
      case "note":
        // what each of them has to say is said once
        if (!noted.has(report.line)) note(report.line);
        noted.add(report.line);
        break;
      case "progress":
        seat.tasks.get(report.id)?.onProgress(report.done, report.total);
        break;
      case "done": {
        const pending = seat.tasks.get(report.id);
        seat.tasks.delete(report.id);
        pending?.resolve(report.result);
        break;
      }
      case "failed": {
        const error = errorOf(report.error);
        const pending = report.id === null ? undefined : seat.tasks.get(report.id);
        if (report.id === null) fail(error);
        else seat.tasks.delete(report.id);
        pending?.reject(error);
        break;
      }
      default:
        report satisfies never;
    }
  }

  function ended(seat: Seat, child: ChildProcess, why: string): void {
    if (seat.child !== child) return;
    seat.child = null;
    seat.isReady = false;
    seat.answer = null;
    if (isClosing || fault !== null) return;
    const said = seat.said.trim() === "" ? "" : `; it said last: ${seat.said.trim().split("\n").slice(-5).join("\n")}`;
    const what = `the process on ${seat.device} has ended by itself (${why})`;
    if (seat.starts < mostStarts) {
      note(`warning: ${what}: it is started again${said}`);
      start(seat);
      return;
    }
    seat.isLost = true;
    const tasks = [...seat.tasks.values()];
    seat.tasks.clear();
    const lost = new DeviceError("device-lost", `For the second time ${what}${said}.`);
    if (seats.every(({ isLost }) => isLost)) {
      for (const { reject } of tasks) reject(lost);
      fail(lost);
      return;
    }
    note(`warning: for the second time ${what}: it is given up${said}`);
    if (seats.every((one) => one.isReady || one.isLost)) ready.resolve();
    for (const pending of tasks) {
      if (pending.isPinned) pending.reject(lost);
      else give(least(), pending);
    }
  }

  function fail(error: Error): void {
    if (fault !== null) return;
    fault = error;
    ready.reject(error);
    for (const seat of seats) {
      for (const { reject } of seat.tasks.values()) reject(error);
      seat.tasks.clear();
    }
    kill();
    onFault(error);
  }

  /** The process with the least under way; of several the first. */
  function least(): Seat {
    const [first, ...others] = seats.filter(({ isLost }) => !isLost);
    if (first === undefined) throw fault ?? new DeviceError("device-lost", "No process is left.");
    return others.reduce((best, one) => (one.tasks.size < best.tasks.size ? one : best), first);
  }

  function kill(): void {
    for (const { child } of seats) child?.kill("SIGKILL");
  }

  return {
    ready: ready.promise,
    get members() {
      return seats.map((seat) => ({ ...seat, underWay: seat.tasks.size }));
    },
    async run(task, { at, onProgress = () => {} } = {}) {
      if (fault !== null) throw fault;
      const seat = at === undefined ? least() : seats[at];
      if (seat === undefined || seat.isLost)
        throw new DeviceError("device-lost", `The process on ${seat?.device ?? `device ${at}`} was given up.`);
      const id = ids++;
      return new Promise((resolve, reject) =>
        give(seat, { id, task, isPinned: at !== undefined, onProgress, resolve, reject }),
      );
    },
    async close(patience = 10_000) {
      isClosing = true;
      const left = seats.flatMap(({ child }) => (child === null ? [] : [child]));
      const over = left.map(
        (child) =>
          new Promise<void>((done) =>
            child.exitCode === null && child.signalCode === null ? child.once("exit", () => done()) : done(),
          ),
      );
      for (const seat of seats) tell(seat, { kind: "end" });
      const timer = setTimeout(kill, patience);
      await Promise.all(over);
      clearTimeout(timer);
    },
    kill() {
      isClosing = true;
      kill();
    },
  };
}

/** Tasks that each process has at most in `runAll`: one that it is at, and the next. */
const ahead = 2;

/**
 * Gives many tasks to a crew, each when a process has room for it: fast ones are given more. The results are in the
 * order of the tasks. `onDone` hears of each.
 */
export async function runAll(
  crew: Crew,
  tasks: readonly unknown[],
  onDone: (at: number) => void = () => {},
): Promise<readonly unknown[]> {
  const results = new Array<unknown>(tasks.length);
  let next = 0;
  const take = async (): Promise<void> => {
    for (let at = next++; at < tasks.length; at = next++) {
      results[at] = await crew.run(tasks[at]);
      onDone(at);
    }
  };
  await Promise.all(Array.from({ length: ahead * crew.members.length }, take));
  return results;
}

function deferred(): { readonly promise: Promise<void>; resolve(): void; reject(error: Error): void } {
  let resolve = (): void => {};
  let reject = (_error: Error): void => {};
  const promise = new Promise<void>((done, failed) => ([resolve, reject] = [done, failed]));
  return { promise, resolve: () => resolve(), reject: (error) => reject(error) };
}
