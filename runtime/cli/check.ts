import { counted } from "../../compiler/words.js";
import { check } from "../../compiler/check/check.js";
import { CompileError, hasErrors, type Diagnostic } from "../../compiler/diagnostic.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { render } from "../../compiler/render.js";
import { createHost } from "../library.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";

interface CheckCommandOptions extends JsonOptions {
  readonly model?: string;
}

/** `espalier check`: diagnostics of files; exit code 0 when there are none, else 1. */
export async function run(output: Output, files: string[], options: CheckCommandOptions): Promise<number | void> {
  // what several files use is told once
  const found = new Map<string, Diagnostic>();
  const sources = new Map<string, string>();
  for (const file of files) {
    const host = createHost();
    const { value, diagnostics } = check(file, host);
    const unfit =
      options.model === undefined || value === null || hasErrors(diagnostics)
        ? []
        : await findUnfit([...value.recipes.values()], options.model);
    for (const diagnostic of [...diagnostics, ...unfit]) found.set(JSON.stringify(diagnostic), diagnostic);
    for (const [path, text] of host.sources) sources.set(path, text);
  }
  const diagnostics = [...found.values()];
  output.result({ diagnostics }, () =>
    [render(diagnostics, sources, { color: output.colored }), summary(files.length, diagnostics)]
      .filter((text) => text !== "")
      .join("\n"),
  );
  return diagnostics.length === 0 ? 0 : 1;
}

/** What `compress` would say of the recipes and the model before it computes; no weight is read. */
async function findUnfit(recipes: readonly Recipe[], path: string): Promise<readonly Diagnostic[]> {
  const { openModel } = await import("../model/model.js");
  const { checkAgainst } = await import("../llama/treat.js");
  const model = await openModel(path);
  try {
    return recipes.flatMap((recipe) => {
      try {
        checkAgainst(model, recipe);
        return [];
      } catch (error) {
        if (error instanceof CompileError) return error.diagnostics;
        throw error;
      }
    });
  } finally {
    await model.close();
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
