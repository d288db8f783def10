import { writeSync } from "node:fs";
import { Presets, SingleBar } from "cli-progress";
import colors from "picocolors";

/** Where a command's words go. Results on stdout; progress, notes and errors on stderr. With `--json`, stdout is one document. */
export interface Output {
  readonly json: boolean;
  /** Colours, on a terminal only. */
  readonly paint: ReturnType<typeof colors.createColors>;
  /** The result: printed as JSON with `--json`, else by `text`. */
  result(value: unknown, text: () => string): void;
  /** Text of the result as it comes about; nothing with `--json`. */
  stream(text: string): void;
  note(line: string): void;
  /** A bar on stderr; on no terminal, a line at the start and at each tenth. */
  progress(label: string): Progress;
}

export interface Progress {
  update(done: number, total: number, note?: string): void;
  end(): void;
}

/** The output of one command. */
export function createOutput(json: boolean): Output {
  const paint = colors.createColors(process.stdout.isTTY === true && !json);
  const write = (text: string): void => writeAll(1, text);
  return {
    json, paint,
    result(value, text) {
      write(json ? `${JSON.stringify(value, null, 1)}\n` : `${text()}\n`);
    },
    stream(text) {
      if (!json) write(text);
    },
    note: (line) => writeAll(2, `${line}\n`),
    progress: (label) => (process.stderr.isTTY === true ? bar(label) : lines(label)),
  };
}

/** Writes it all, also to a pipe that is full for a moment. */
function writeAll(descriptor: 1 | 2, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : null;
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
    }
  }
}

function bar(label: string): Progress {
  const single = new SingleBar({ format: `${label} {bar} {value}/{total} {note} {eta_formatted}`, stream: process.stderr, hideCursor: true, clearOnComplete: true }, Presets.shades_classic);
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

function lines(label: string): Progress {
  let shown = -1;
  return {
    update(done, total, note = "") {
      const tenth = Math.floor((10 * done) / Math.max(1, total));
      if (tenth === shown) return;
      shown = tenth;
      writeAll(2, `${label} ${done}/${total}${note === "" ? "" : ` ${note}`}\n`);
    },
    end() {
      shown = -1;
    },
  };
}

/** A table with columns as wide as their widest cell; numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const all = [header, ...rows.map((row) => row.map(String))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all.map((row, line) => row.map((cell, column) => {
    const numeric = line > 0 ? typeof rows[line - 1]?.[column] === "number" : typeof rows[0]?.[column] === "number";
    return numeric ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
  }).join("  ").trimEnd()).join("\n");
}

/** Bytes for people: 1536 -> "1.5 KiB". */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
