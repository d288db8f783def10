/** The codes of model errors; `spec/errors.md`, section "Model errors", says when each arises and what to do. */
export type ModelErrorCode =
  | "M100"
  | "M101"
  | "M102"
  | "M103"
  | "M104"
  | "M110"
  | "M111"
  | "M112"
  | "M114"
  | "M115"
  | "M120"
  | "M121"
  | "M122"
  | "M130"
  | "M131"
  | "M132"
  | "M133"
  | "M134"
  | "M135"
  | "M136"
  | "M140"
  | "M141"
  | "M142"
  | "M143"
  | "M144"
  | "M145"
  | "M146"
  | "M147"
  | "M150"
  | "M151"
  | "M152"
  | "M153"
  | "M154"
  | "M155"
  | "M160"
  | "M161"
  | "M162"
  | "M163"
  | "M164"
  | "M170"
  | "M171"
  | "M172"
  | "M173"
  | "M174"
  | "M180"
  | "M181"
  | "M182"
  | "M183";

/**
 * Something is wrong with a model's files or with the place to write one: a mistake of the user or a fault of the
 * files, never of Espalier. `message` consists of full sentences with what was expected and found, one line a problem;
 * `help` says what to do, where there is something to say.
 */
export class ModelError extends Error {
  override readonly name = "ModelError";
  constructor(
    readonly code: ModelErrorCode,
    message: string,
    readonly help: string | null = null,
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }
}

/** One error for several problems: a heading with up to 20 of them, a line each. A single problem stands alone. */
export function problemsError(
  code: ModelErrorCode,
  heading: string,
  problems: readonly string[],
  help: string | null = null,
): ModelError {
  const [first] = problems;
  if (problems.length === 1 && first !== undefined) return new ModelError(code, `${heading}: ${first}`, help);
  const shown = problems.slice(0, 20).map((problem) => `\n  - ${problem}`);
  const more = problems.length > 20 ? `\n  - and ${problems.length - 20} more` : "";
  return new ModelError(code, `${heading}:${shown.join("")}${more}`, help);
}

/** The `code` of a Node system error (`ENOENT`), or null for anything else. */
export function systemCode(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}

/** A name found in a file, quoted for a message: control characters escaped, cut after 120 characters. */
export function quoted(name: string): string {
  const text = JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name).slice(1, -1);
  return `\`${text}\``;
}
