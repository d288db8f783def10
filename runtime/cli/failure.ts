import { CompileError } from "../../compiler/compile.js";
import type { Diagnostic } from "../../compiler/diagnostic.js";
import { render } from "../../compiler/render.js";
import { DeviceError } from "../device/device.js";
import { LlamaError } from "../llama/error.js";
import { ModelError } from "../model/error.js";
import type { Output } from "./output.js";

/** Diagnostics that end a command, with the sources they point into. */
export class DiagnosticsError extends Error {
  constructor(readonly diagnostics: readonly Diagnostic[], readonly sources: ReadonlyMap<string, string>) {
    super("the program has errors");
    this.name = "DiagnosticsError";
  }
}

/** A wrong use of the command line; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Says what went wrong, on stderr (with `--json` also as the one document on stdout), and returns the exit code. */
export function reportFailure(output: Output, error: unknown, sources: ReadonlyMap<string, string> = new Map()): number {
  if (error instanceof DiagnosticsError || error instanceof CompileError) {
    const from = error instanceof DiagnosticsError ? error.sources : sources;
    output.note(render(error.diagnostics, from, { color: process.stderr.isTTY === true }));
    if (output.json) output.result({ diagnostics: error.diagnostics }, () => "");
    return 1;
  }
  const code = error instanceof ModelError || error instanceof LlamaError || error instanceof DeviceError ? error.code : null;
  const message = error instanceof Error ? (code === null && !(error instanceof UsageError) ? (error.stack ?? error.message) : error.message) : String(error);
  const help = error instanceof ModelError ? error.help : null;
  output.note(`error${code === null ? "" : `[${code}]`}: ${message}${help === null ? "" : `\n  = help: ${help}`}`);
  if (output.json) output.result({ error: { code, message, help } }, () => "");
  return error instanceof UsageError ? 2 : 1;
}
