/** A file in its one layout, of which only what was edited is laid out anew. */
import { parse } from "../syntax/parse.js";
import { print } from "../syntax/print.js";

/** What was laid out before: a part's layout by its text. */
export type LaidOut = Map<string, string>;

/**
 * The layout of a file, part by part; null where it has errors. After the brace that closes a function or a recipe what
 * follows always stands apart, so that parts that are cut there can be laid out each by itself. Where a part is no
 * file by itself, a brace that closes something else stood there, or what it holds depends on others, the file is laid
 * out whole.
 */
export function layOut(
  file: string,
  source: string,
  before: LaidOut,
): { readonly text: string | null; readonly known: LaidOut } {
  const known: LaidOut = new Map();
  const laid: string[] = [];
  for (const [at, part] of partsOf(source).entries()) {
    const text = known.get(part) ?? before.get(part) ?? layOutPart(file, part, at === 0);
    if (text === null) {
      const whole = parse(source, file).value;
      return { text: whole === null ? null : print(whole), known };
    }
    known.set(part, text);
    laid.push(text);
  }
  return { text: laid.join("\n"), known };
}

/** Cuts after each brace that stands at the beginning of a line; comments at the end stay with what is before them. */
function partsOf(source: string): readonly string[] {
  const parts: string[] = [];
  let start = 0;
  for (const { 0: line, index } of source.matchAll(/^\}[^\r\n]*(?:\r\n|\r|\n)/gm)) {
    const end = index + line.length;
    parts.push(source.slice(start, end));
    start = end;
  }
  const rest = source.slice(start);
  if (rest.split(/[\r\n]/).every((line) => /^\s*(?:\/\/.*)?$/.test(line))) parts.push(`${parts.pop() ?? ""}${rest}`);
  else parts.push(rest);
  return parts;
}

function layOutPart(file: string, part: string, first: boolean): string | null {
  const { value } = parse(part, file);
  if (value === null || (!first && (value.uses.length > 0 || value.declarations.length === 0))) return null;
  return print(value);
}
