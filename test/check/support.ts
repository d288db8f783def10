import { check, type CheckedModule, type CheckOptions } from "../../compiler/check/check.js";
import type { Diagnostic } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import { render } from "../../compiler/render.js";

/** Files that exist only in a test; `main.esp` is the one that is checked. */
export interface Files {
  readonly [path: string]: string;
}

/** Checks a program, or several files of which the first is `main.esp`. */
export function checkText(source: string | Files, options: CheckOptions = {}): ReturnType<typeof check> {
  const files: Files = typeof source === "string" ? { "main.esp": source } : source;
  return check("main.esp", { read: (path) => files[path] ?? null }, options);
}

/** The diagnostics as people see them. */
export function rendered(diagnostics: readonly Diagnostic[], files: Files): string {
  return render(diagnostics, new Map(Object.entries(files)), { color: false });
}

/** What a program without errors means; its graphs are in order. */
export function checked(source: string | Files, options: CheckOptions = {}): CheckedModule {
  const { value, diagnostics } = checkText(source, options);
  if (value === null)
    throw new Error(rendered(diagnostics, typeof source === "string" ? { "main.esp": source } : source));
  for (const [name, graph] of value.functions) {
    const faults = verify(graph);
    if (faults.length > 0) throw new Error(`${name}: ${faults.join("\n")}`);
  }
  return value;
}

/** The graph of a function of a program without errors. */
export function graphOf(source: string | Files, name: string): SymbolicGraph {
  const graph = checked(source).functions.get(name);
  if (graph === undefined) throw new Error(`there is no function ${name}`);
  return graph;
}

/** The lines of a function's graph, without the indentation. */
export function linesOf(source: string | Files, name: string): readonly string[] {
  return printGraph(graphOf(source, name))
    .trim()
    .split("\n")
    .map((line) => line.trim());
}

/** The codes of the findings, in order. */
export function codes(source: string | Files, options: CheckOptions = {}): readonly string[] {
  return checkText(source, options).diagnostics.map((found) => found.code);
}

/** The messages of the findings, in order. */
export function messages(source: string | Files, options: CheckOptions = {}): readonly string[] {
  return checkText(source, options).diagnostics.map((found) => found.message);
}
