import { check } from "../../compiler/check/check.js";
import type { Diagnostic } from "../../compiler/diagnostic.js";
import { render } from "../../compiler/render.js";
import { createHost } from "../library.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";

/** `espalier check`: diagnostics of files; exit code 0 when there are none, else 1. */
export async function run(output: Output, files: string[], _options: JsonOptions): Promise<number | void> {
  // what several files use is told once
  const found = new Map<string, Diagnostic>();
  const sources = new Map<string, string>();
  for (const file of files) {
    const host = createHost();
    for (const diagnostic of check(file, host).diagnostics) found.set(JSON.stringify(diagnostic), diagnostic);
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

function summary(files: number, diagnostics: readonly Diagnostic[]): string {
  const of = files === 1 ? "1 file" : `${files} files`;
  if (diagnostics.length === 0) return `${of}: nothing to report`;
  const counts = (["error", "warning", "note"] as const).map(
    (severity) => [diagnostics.filter((each) => each.severity === severity).length, severity] as const,
  );
  return `${of}: ${counts
    .filter(([count]) => count > 0)
    .map(([count, severity]) => `${count} ${severity}${count === 1 ? "" : "s"}`)
    .join(", ")}`;
}
