/** Changes of a text: those that diagnostics propose, and what they are made of. */
import type { Diagnostic } from "../diagnostic.js";
import type { Document } from "./document.js";

/** A part of a file's text that is replaced. */
export interface Edit {
  readonly file: string;
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A change that puts something right. */
export interface Fix {
  readonly title: string;
  readonly edits: readonly Edit[];
  readonly diagnostic: Diagnostic;
}

/** What a diagnostic proposes in its help, as changes. */
export function fixesFor(document: Document, diagnostic: Diagnostic): readonly Fix[] {
  const { help, labels } = diagnostic;
  const [label] = labels;
  if (help === null || label === undefined || label.span.file !== document.file) return [];
  const { file, start, end } = label.span;
  const made = (title: string, edit: Edit | null): readonly Fix[] =>
    edit === null ? [] : [{ title, edits: [edit], diagnostic }];
  const replace = (text: string): Edit => ({ file, start, end, text });
  const use = /\buse ((?:\w+)(?:, \w+)*)` at the top of the file/.exec(help);
  const meant = /did you mean `([^`]+)`/.exec(help);
  const masked = /^keep the mask: `\.\.\. where (\w+)`/.exec(help);
  const written = document.source.slice(start, end);
  const fixes: Fix[] = [];
  if (meant !== null) fixes.push(...made(`Write \`${meant[1]}\``, replace(meant[1] ?? "")));
  if (use !== null) {
    const added = addUse(document, (use[1] ?? "").split(", "));
    const [first] = fixes;
    // a name that is misspelt, and of another module: both are needed
    if (first !== undefined && added !== null)
      fixes[0] = { ...first, title: `${first.title} and \`use ${use[1]}\``, edits: [...first.edits, added] };
    else fixes.push(...made(`Add \`use ${use[1]}\``, added));
  }
  if (masked !== null && diagnostic.code === "E502") {
    const plain = /^[\w.[\], ]+$/.test(written) ? written : `(${written})`;
    fixes.push(...made(`Keep the mask: \`where ${masked[1]}\``, replace(`${plain} where ${masked[1]}`)));
  }
  const other = /^choose another name, such as `(\w+)`/.exec(help);
  if (other !== null) fixes.push(...made(`Call it \`${other[1]}\``, replace(other[1] ?? "")));
  return fixes;
}

/** Uses modules as well, in the line that there is, or in a new one at the top; null where all are used. */
export function addUse({ file, source, ast, parts }: Document, modules: readonly string[]): Edit | null {
  const used = new Set(ast.uses.flatMap((use) => use.modules.map(({ path }) => path)));
  const missing = modules.filter((module) => !used.has(module));
  if (missing.length === 0) return null;
  const line = ast.uses.find((use) => use.modules.every(({ relative }) => !relative));
  if (line !== undefined) {
    const at = line.modules.at(-1)?.span.end ?? line.span.end;
    return { file, start: at, end: at, text: `, ${missing.join(", ")}` };
  }
  const [first] = parts;
  const comments = /^(?:\/\/(?!\/).*\n)*\n?/.exec(source)?.[0].length ?? 0;
  const at = first === undefined || ast.uses.length > 0 ? 0 : comments;
  return { file, start: at, end: at, text: `use ${missing.join(", ")}\n${ast.uses.length > 0 ? "" : "\n"}` };
}
