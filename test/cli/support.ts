import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { projectFile } from "../support/project.js";
import { writeToyModel } from "../support/toy-model.js";

/** What came of a process. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The small model of the project. */
export const classics = projectFile("examples/classics-3.7m");

/** The model of support/toy-model.ts, in a folder of its own; one of half the width computes what takes it in half. */
export async function toyModel(suite: { after(work: () => void): void }, width?: number): Promise<string> {
  const folder = temporaryFolder();
  suite.after(() => folder.remove());
  return writeToyModel(join(folder.path, "toy"), width);
}

/** The command that is shipped. */
export const command = "bundle/main.js";

/**
 * Starts a built script of the project, given from the folder it was built to; `stdin` is all that it reads there, or
 * `open` for what the test writes.
 */
export function start(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  stdin: string | Buffer | { readonly open: true } | null = null,
): ChildProcess {
  const path = fileURLToPath(new URL(`../../${script}`, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], {
    stdio: [stdin === null ? "ignore" : "pipe", "pipe", "pipe"],
    cwd: projectFile("."),
    env: { ...process.env, ...env },
  });
  // one that has ended already reads nothing
  child.stdin?.on("error", () => {});
  if (typeof stdin === "string" || stdin instanceof Uint8Array) child.stdin?.end(stdin);
  return child;
}

/** What a process prints until it ends, and how it ends. */
export function ended(child: ChildProcess): Promise<Ended> {
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) =>
      resolve({
        code,
        signal,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8"),
      }),
    );
  });
}

/** Resolves when one of the streams of a process has printed the text. */
export function printed(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = "";
    const listen = (chunk: Buffer): void => {
      seen += chunk.toString("utf8");
      if (seen.includes(text)) resolve();
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    child.once("close", () => reject(new Error(`ended before it printed "${text}":\n${seen}`)));
  });
}

/** Runs the command line to its end. */
export function espalier(...args: readonly string[]): Promise<Ended> {
  return ended(start(command, args));
}

/** A folder for a test, with a helper that writes files into it; `remove` takes it away. */
export function temporaryFolder(): {
  readonly path: string;
  write(name: string, text: string | Uint8Array): string;
  remove(): void;
} {
  const path = mkdtempSync(join(tmpdir(), "espalier-cli-"));
  return {
    path,
    write(name, text) {
      const file = join(path, name);
      writeFileSync(file, text);
      return file;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
