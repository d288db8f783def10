/** A place in a source file: UTF-16 offsets, end exclusive. */
export interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

/** A span with what is to be said at it. The first label of a diagnostic is the primary one. */
export interface Label {
  readonly span: Span;
  readonly message: string;
}

/** One finding about a program, as data. `render.ts` words it for people; `--json` prints it as it is. */
export interface Diagnostic {
  /** `E` and three digits; each has a section in `spec/errors.md`. */
  readonly code: string;
  readonly severity: "error" | "warning" | "note";
  /** A full sentence with what was expected and what was found. */
  readonly message: string;
  readonly labels: readonly Label[];
  readonly notes: readonly string[];
  /** What to do, when there is something to suggest. */
  readonly help: string | null;
}

/** A result that carries what was found out on the way. `value` is null exactly when a diagnostic is an error. */
export interface Checked<T> {
  readonly value: T | null;
  readonly diagnostics: readonly Diagnostic[];
}

/** Makes an error; `at` is its primary label. */
export function error(
  code: string,
  message: string,
  at: Label | null,
  extra: { labels?: readonly Label[]; notes?: readonly string[]; help?: string } = {},
): Diagnostic {
  return {
    code,
    severity: "error",
    message,
    labels: [...(at ? [at] : []), ...(extra.labels ?? [])],
    notes: extra.notes ?? [],
    help: extra.help ?? null,
  };
}

/** Whether any of the diagnostics is an error. */
export function hasErrors(diagnostics: readonly Diagnostic[]): boolean {
  return diagnostics.some((diagnostic) => diagnostic.severity === "error");
}

/** A fault of the compiler itself, never of the program: thrown, and asks for a report. */
export class InternalError extends Error {
  constructor(message: string) {
    super(
      `internal compiler error: ${message}\nThis is a fault of espalier, not of your program: please report it with the program that caused it.`,
    );
    this.name = "InternalError";
  }
}

/** A program that cannot be compiled with these bindings, as diagnostics. */
export class CompileError extends Error {
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map((diagnostic) => `${diagnostic.code}: ${diagnostic.message}`).join("\n"));
    this.name = "CompileError";
    this.diagnostics = diagnostics;
  }
}
