/** From what the language service says to what the protocol has. */
import {
  CompletionItemKind,
  DiagnosticSeverity,
  SymbolKind as OutlineKind,
  type CompletionItem,
  type Diagnostic as EditorDiagnostic,
  type Location,
  type Range,
  type TextEdit,
  type WorkspaceEdit,
} from "vscode-languageserver/node";
import type { Diagnostic, Span } from "../../../compiler/diagnostic.js";
import type { Completion, Edit, SymbolKind } from "../../../compiler/language-service/service.js";
import type { EditorFiles } from "./files.js";

/** Places as lines and characters. */
export interface Places {
  range(span: Span): Range;
  location(span: Span): Location;
}

/** Converts by the texts as they are now. */
export function placesIn(files: EditorFiles): Places {
  const lines = new Map<string, readonly number[]>();
  const startsOf = (file: string): readonly number[] => {
    let starts = lines.get(file);
    if (starts === undefined) {
      const text = files.read(file) ?? "";
      starts = [0, ...[...text.matchAll(/\r\n|\r|\n/g)].map(({ 0: end, index }) => index + end.length)];
      lines.set(file, starts);
    }
    return starts;
  };
  const position = (file: string, offset: number): { line: number; character: number } => {
    const starts = startsOf(file);
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low, character: offset - (starts[low] ?? 0) };
  };
  const range = ({ file, start, end }: Span): Range => ({ start: position(file, start), end: position(file, end) });
  return { range, location: (span) => ({ uri: files.uriOf(span.file), range: range(span) }) };
}

const severities = {
  error: DiagnosticSeverity.Error,
  warning: DiagnosticSeverity.Warning,
  note: DiagnosticSeverity.Information,
} as const;

/** A finding with what is said at its place, and what helps. */
export function editorDiagnostic(found: Diagnostic, places: Places): EditorDiagnostic {
  const [first, ...others] = found.labels;
  const said = first === undefined || first.message === "" ? "" : ` (${first.message})`;
  const notes = found.notes.map((note) => `\n${note}`).join("");
  const none = { line: 0, character: 0 };
  return {
    range: first === undefined ? { start: none, end: none } : places.range(first.span),
    severity: severities[found.severity],
    code: found.code,
    source: "espalier",
    message: `${found.message}${said}${notes}${found.help === null ? "" : `\nhelp: ${found.help}`}`,
    relatedInformation: others.map(({ span, message }) => ({ location: places.location(span), message })),
  };
}

const completionKinds: { readonly [K in Completion["kind"]]: CompletionItemKind } = {
  module: CompletionItemKind.Module,
  constant: CompletionItemKind.Constant,
  function: CompletionItemKind.Function,
  recipe: CompletionItemKind.Function,
  parameter: CompletionItemKind.Variable,
  size: CompletionItemKind.TypeParameter,
  dtype: CompletionItemKind.TypeParameter,
  format: CompletionItemKind.Struct,
  variable: CompletionItemKind.Variable,
  index: CompletionItemKind.Variable,
  operation: CompletionItemKind.Function,
  reduction: CompletionItemKind.Operator,
  type: CompletionItemKind.Struct,
  keyword: CompletionItemKind.Keyword,
  member: CompletionItemKind.Field,
};

/** A proposal. */
export function completionItem(found: Completion, places: Places): CompletionItem {
  return {
    label: found.label,
    kind: completionKinds[found.kind],
    detail: found.detail,
    ...(found.documentation === "" ? {} : { documentation: { kind: "markdown", value: found.documentation } }),
    sortText: `${found.rank}${found.label}`,
    ...(found.edits.length === 0 ? {} : { additionalTextEdits: found.edits.map((edit) => textEdit(edit, places)) }),
  };
}

/** Kinds in an outline. */
export const outlineKinds: { readonly [K in SymbolKind]: OutlineKind } = {
  module: OutlineKind.Module,
  constant: OutlineKind.Constant,
  function: OutlineKind.Function,
  recipe: OutlineKind.Class,
  parameter: OutlineKind.Variable,
  size: OutlineKind.TypeParameter,
  dtype: OutlineKind.TypeParameter,
  format: OutlineKind.TypeParameter,
  variable: OutlineKind.Variable,
  index: OutlineKind.Variable,
};

/** A change of one text. */
export function textEdit(edit: Edit, places: Places): TextEdit {
  return { range: places.range(edit), newText: edit.text };
}

/** The lines of a text that another has otherwise, so that an editor keeps its place in the rest. */
export function changedPart(
  before: string,
  after: string,
): { readonly start: number; readonly end: number; readonly text: string } {
  const most = Math.min(before.length, after.length);
  let same = 0;
  while (same < most && before[same] === after[same]) same += 1;
  const start = before.lastIndexOf("\n", same - 1) + 1;
  let alike = 0;
  while (alike < most - start && before.at(-1 - alike) === after.at(-1 - alike)) alike += 1;
  // whole lines, not within the pair that may end one
  const tail = before.slice(before.length - alike);
  const kept = tail.length - (tail.indexOf("\n") + 1 || tail.length);
  return { start, end: before.length - kept, text: after.slice(start, after.length - kept) };
}

/** Changes by file. */
export function workspaceEdit(edits: readonly Edit[], files: EditorFiles, places: Places): WorkspaceEdit {
  const changes: Record<string, TextEdit[]> = {};
  for (const edit of edits) (changes[files.uriOf(edit.file)] ??= []).push(textEdit(edit, places));
  return { changes };
}
