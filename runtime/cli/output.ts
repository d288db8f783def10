import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import { Presets, SingleBar } from "cli-progress";
import colors from "picocolors";

/** Where a command's words go. Results on stdout; progress, notes and errors on stderr. With `--json`, stdout is one document. */
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
}

export interface Progress {
  update(done: number, total: number, note?: string): void;
  end(): void;
}

/** The output of one command; results go to the descriptor given. */
export function createOutput(json: boolean, descriptor: number = 1): Output {
  const colored = !json && hasColors(descriptor);
  const alert = colors.createColors(hasColors(2));
  const write = (text: string): void => writeAll(descriptor, text);
  return {
    json, colored,
    paint: colors.createColors(colored),
    alarm: (text) => alert.bold(alert.red(text)),
    result(value, text) {
      write(json ? `${JSON.stringify(value, null, 1)}\n` : `${text()}\n`);
    },
    stream(text) {
      if (!json) write(text);
    },
    note: (line) => writeAll(2, `${line}\n`),
    progress: (label) => (isatty(2) ? bar(label) : lines(label)),
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

function bar(label: string): Progress {
  const single = new SingleBar({ format: `${label} {bar} {value}/{total} {eta_formatted} {note}`, stream: process.stderr, clearOnComplete: true, linewrap: true, barsize: 30 }, Presets.shades_classic);
  let started = false;
  return {
    update(done, total, note = "") {
      if (!started) single.start(total, done, { note });
      else single.update(done, { note });
      started = true;
      single.setTotal(total);
    },
    end() {
      if (started) single.stop();
    },
  };
}

/** Milliseconds between two lines of progress at least. */
const linesApart = 2000;

function lines(label: string): Progress {
  let last = -Infinity;
  let pending: string | null = null;
  const print = (line: string): void => {
    last = performance.now();
    pending = null;
    writeAll(2, line);
  };
  return {
    update(done, total, note = "") {
      const line = `${label.trimEnd()} ${done}/${total}${note === "" ? "" : ` ${note}`}\n`;
      if (performance.now() - last < linesApart) pending = line;
      else print(line);
    },
    end() {
      if (pending !== null) print(pending);
    },
  };
}
