import { CompileError, InternalError, type Diagnostic } from "../../compiler/diagnostic.js";
import { render } from "../../compiler/render.js";
import { DeviceError } from "../device/error.js";
import { LlamaError } from "../llama/error.js";
import { ModelError } from "../model/error.js";
import { hasColors, type Output } from "./output.js";

/** Diagnostics that end a command, with the sources they point into. */
export class DiagnosticsError extends Error {
  override readonly name = "DiagnosticsError";
  constructor(
    readonly diagnostics: readonly Diagnostic[],
    readonly sources: ReadonlyMap<string, string>,
  ) {
    super("the program has errors");
  }
}

/** A wrong use of the command line; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** An error as `--json` prints it. */
export interface Failure {
  /**
   * The model's, the device's or the recipe's error code; `usage`; `system` for an error of the operating system;
   * `internal` for a fault of Espalier.
   */
  readonly code: string;
  readonly message: string;
  readonly help: string | null;
}

/** Says what went wrong on stderr, with `--json` also as the one document on stdout, and gives the exit code. */
export function reportFailure(output: Output, error: unknown): number {
  if (error instanceof DiagnosticsError || error instanceof CompileError) {
    noteDiagnostics(output, error.diagnostics, error instanceof DiagnosticsError ? error.sources : new Map());
    printFailure(output, { diagnostics: error.diagnostics });
    return 1;
  }
  const exitCode = noteFailure(output, error);
  printFailure(output, { error: failureOf(error) });
  return exitCode;
}

/** Says on stderr what went wrong, where that is no diagnostics, and gives the exit code. */
export function noteFailure(output: Output, error: unknown): number {
  const failure = failureOf(error);
  const code =
    failure.code === "usage" || failure.code === "system" || failure.code === "internal" ? "" : `[${failure.code}]`;
  output.note(
    `${output.alarm(`error${code}`)}: ${failure.message}${failure.help === null ? "" : `\n  = help: ${failure.help}`}`,
  );
  return failure.code === "usage" ? 2 : 1;
}

/** With `--json`, the document for a failure. */
function printFailure(
  output: Output,
  document: { readonly diagnostics: readonly Diagnostic[] } | { readonly error: Failure },
): void {
  if (!output.json) return;
  try {
    output.result(document, () => "");
  } catch {
    // stdout cannot be written, which is perhaps what failed: stderr has said so
  }
}

/** Diagnostics in words, on stderr. */
export function noteDiagnostics(
  output: Pick<Output, "note">,
  diagnostics: readonly Diagnostic[],
  sources: ReadonlyMap<string, string>,
): void {
  output.note(render(diagnostics, sources, { color: hasColors(2) }).trimEnd());
}

/** An error as it is reported. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ModelError) return { code: error.code, message: error.message, help: error.help };
  if (error instanceof LlamaError || error instanceof DeviceError)
    return { code: error.code, message: error.message, help: null };
  if (error instanceof UsageError) return { code: "usage", message: error.message, help: null };
  if (error instanceof InternalError) return { code: "internal", message: error.message, help: null };
  if (!(error instanceof Error)) return { code: "internal", message: String(error), help: null };
  if ("syscall" in error) return { code: "system", message: error.message, help: null };
  return {
    code: "internal",
    message: error.stack ?? error.message,
    help: "this is a fault of espalier: please report it with what you ran",
  };
}
