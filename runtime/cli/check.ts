import { counted } from "../../compiler/words.js";
import { check } from "../../compiler/check/check.js";
import { CompileError, hasErrors, type Diagnostic } from "../../compiler/diagnostic.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { render } from "../../compiler/render.js";
import { createHost, standardLibrary } from "../library.js";
import { ModelError } from "../model/error.js";
import { sourcePath } from "../package.js";
import { failureOf, noteFailure } from "./failure.js";
import { settings, type JsonOptions } from "./options.js";
import type { Output } from "./output.js";

interface CheckCommandOptions extends JsonOptions {
  readonly model?: string;
  readonly set: readonly string[];
}

/** `espalier check`: diagnostics of files; exit code 0 when there are none, else 1. */
export async function run(output: Output, files: string[], options: CheckCommandOptions): Promise<number | void> {
  // what several files use is reported once
  const found = new Map<string, Diagnostic>();
  const sources = new Map<string, string>();
  const recipes: Recipe[] = [];
  const set = settings(options.set);
  for (const file of files) {
    const host = createHost();
    const { value, diagnostics } = check(sourcePath(file), host, { set });
    if (value !== null && !hasErrors(diagnostics)) recipes.push(...value.recipes.values());
    for (const diagnostic of diagnostics) found.set(JSON.stringify(diagnostic), diagnostic);
    for (const [path, text] of host.sources) sources.set(path, text);
  }
  // what is wrong with the model hides nothing of the files
  const { unfit, notes, failure } =
    options.model === undefined
      ? { unfit: [], notes: [], failure: null }
      : await findUnfit(recipes, options.model, output);
  for (const diagnostic of unfit) found.set(JSON.stringify(diagnostic), diagnostic);
  const diagnostics = [...found.values()];
  output.result({ diagnostics, ...(failure === null ? {} : { error: failureOf(failure) }) }, () =>
    [render(diagnostics, sources, { color: output.colored }), summary(files.length, diagnostics)]
      .filter((text) => text !== "")
      .join("\n"),
  );
  for (const line of new Set(notes)) output.note(`note: ${line}`);
  if (failure !== null) noteFailure(output, failure);
  return diagnostics.length === 0 && failure === null ? 0 : 1;
}

/** What `compress` would say of the recipes and the model before it computes; no weight is read. */
async function findUnfit(
  recipes: readonly Recipe[],
  given: string,
  output: Output,
): Promise<{
  readonly unfit: readonly Diagnostic[];
  readonly notes: readonly string[];
  readonly failure: ModelError | null;
}> {
  const { openGiven } = await import("./given.js");
  const { checkAgainst } = await import("../llama/compression/fit.js");
  try {
    const model = await openGiven(given, output);
    try {
      const notes: string[] = [];
      const unfit = recipes.flatMap((recipe) =>
        unfitIn(() => notes.push(...checkAgainst(model, recipe, standardLibrary()))),
      );
      return { unfit, notes, failure: null };
    } finally {
      await model.close();
    }
  } catch (error) {
    if (error instanceof ModelError) return { unfit: [], notes: [], failure: error };
    throw error;
  }
}

function unfitIn(hold: () => void): readonly Diagnostic[] {
  try {
    hold();
    return [];
  } catch (error) {
    if (error instanceof CompileError) return error.diagnostics;
    throw error;
  }
}

function summary(files: number, diagnostics: readonly Diagnostic[]): string {
  const of = counted(files, "file");
  if (diagnostics.length === 0) return `${of}: nothing to report`;
  const counts = (["error", "warning", "note"] as const).map(
    (severity) => [diagnostics.filter((each) => each.severity === severity).length, severity] as const,
  );
  return `${of}: ${counts
    .filter(([count]) => count > 0)
    .map(([count, severity]) => counted(count, severity))
    .join(", ")}`;
}
