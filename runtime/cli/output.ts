import { left, type Progress, type ShareProgress } from "./progress.js";
import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import colors from "picocolors";

/**
 * Where a command's words go. Results on stdout; progress, notes and errors on stderr. With `--json`, stdout is one
 * document.
 */
export interface Output {
  readonly json: boolean;
  /** Whether results are coloured: on a terminal only. */
  readonly colored: boolean;
  /** Colours for results; none where `colored` is false. */
  readonly paint: ReturnType<typeof colors.createColors>;
  /** The result: printed as JSON with `--json`, else by `text`. */
  result(value: unknown, text: () => string): void;
  /** Text of the result as it comes about; nothing with `--json`. */
  stream(text: string): void;
  /** A line on stderr. */
  note(line: string): void;
  /** Red and bold for a line on stderr; no change where that is no terminal. */
  alarm(text: string): string;
  /** A bar on stderr; where that is no terminal, a line every other second, the first and the last in any case. */
  progress(label: string): Progress;
  /** The same for work of which only the share that is over is known, and the time that is left. */
  share(label: string): ShareProgress;
}

/** The output of one command; results go to the descriptor given. */
export function createOutput(json: boolean, descriptor: number = 1): Output {
  const colored = !json && hasColors(descriptor);
  const alert = colors.createColors(hasColors(2));
  const write = (text: string): void => writeAll(descriptor, text);
  /** Bars that are drawn now. */
  const bars = new Set<object>();
  const drawn = <Arguments extends readonly unknown[]>(load: Parameters<typeof deferred<Arguments>>[0]) => {
    const made = deferred(load);
    bars.add(made);
    return {
      ...made,
      end() {
        made.end();
        bars.delete(made);
      },
    };
  };
  return {
    json,
    colored,
    paint: colors.createColors(colored),
    alarm: (text) => alert.bold(alert.red(text)),
    result(value, text) {
      write(json ? `${JSON.stringify(value, null, 1)}\n` : `${text()}\n`);
    },
    stream(text) {
      if (!json) write(text);
    },
    // over a bar, which is drawn again below
    note: (line) => writeAll(2, `${bars.size > 0 ? "\r\u001b[2K" : ""}${line}\n`),
    progress: (label) => (isatty(2) ? drawn(async () => (await import("./bar.js")).bar(label)) : lines(label)),
    share: (label) => (isatty(2) ? drawn(async () => (await import("./bar.js")).shareBar(label)) : shareLines(label)),
  };
}

/** Whether colours may be printed there: on a terminal, unless the user wants none (https://no-color.org). */
export function hasColors(descriptor: number): boolean {
  return isatty(descriptor) && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
}

/** Writes it all, also to a pipe that is full for a moment. */
function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : null;
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2); // ms: the reader is slow
    }
  }
}

/** A bar that is loaded while the work begins; what it is given before is shown when it is there. */
function deferred<Arguments extends readonly unknown[]>(
  load: () => Promise<{ update(...args: Arguments): void; end(): void }>,
): { update(...args: Arguments): void; end(): void } {
  let bar: { update(...args: Arguments): void; end(): void } | null = null;
  let last: Arguments | null = null;
  let over = false;
  void load().then((loaded) => {
    if (over) return;
    bar = loaded;
    if (last !== null) bar.update(...last);
  });
  return {
    update(...args) {
      last = args;
      bar?.update(...args);
    },
    end() {
      over = true;
      bar?.end();
    },
  };
}

/** Milliseconds between two lines of progress at least. */
const linesApart = 2000;

function lines(label: string): Progress {
  const { line, end } = sparse();
  return {
    end,
    update: (done, total, note = "") => line(`${label.trimEnd()} ${done}/${total}${note === "" ? "" : ` ${note}`}\n`),
  };
}

function shareLines(label: string): ShareProgress {
  const { line, end } = sparse();
  return {
    end,
    update: (share, secondsLeft, note = "") =>
      line(
        `${[label.trimEnd(), `${Math.floor(share * 100)}%`, left(secondsLeft), note].filter((word) => word !== "").join(" ")}\n`,
      ),
  };
}

/** Prints lines, but no more than one every other second, the first and the last in any case. */
function sparse(): { line(text: string): void; end(): void } {
  let last = -Infinity;
  let pending: string | null = null;
  const print = (text: string): void => {
    last = performance.now();
    pending = null;
    writeAll(2, text);
  };
  return {
    line(text) {
      if (performance.now() - last < linesApart) pending = text;
      else print(text);
    },
    end() {
      if (pending !== null) print(pending);
    },
  };
}
