import pc from "picocolors";
import type { Diagnostic, Label, Span } from "./diagnostic.js";

/** Columns of a source line that are shown; of a longer line the part around the label. */
const widest = 160;

type Colors = ReturnType<typeof pc.createColors>;

/**
 * Diagnostics for people, a blank line between them and a newline at the end; "" for none. `sources` gives the text of
 * each file by the name that spans carry; of a file that is not there only the name is shown.
 */
export function render(
  diagnostics: readonly Diagnostic[],
  sources: ReadonlyMap<string, string>,
  options: { readonly color: boolean },
): string {
  const colors = pc.createColors(options.color);
  const lines = lineTables(sources);
  return diagnostics.map((each) => `${renderOne(each, lines, colors)}\n`).join("\n");
}

/** Line and column (from 1; columns count characters) of an offset. */
export function position(source: string, offset: number): { readonly line: number; readonly column: number } {
  const at = lineTable(source).position(offset);
  return { line: at.line, column: at.column };
}

/** A source cut into lines. */
interface Lines {
  readonly text: (line: number) => string;
  readonly position: (offset: number) => { readonly line: number; readonly column: number; readonly within: number };
}

function lineTables(sources: ReadonlyMap<string, string>): (file: string) => Lines | null {
  const tables = new Map<string, Lines>();
  return (file) => {
    const source = sources.get(file);
    if (source === undefined) return null;
    const table = tables.get(file) ?? lineTable(source);
    tables.set(file, table);
    return table;
  };
}

function lineTable(source: string): Lines {
  const starts = [0];
  for (let at = source.indexOf("\n"); at >= 0; at = source.indexOf("\n", at + 1)) starts.push(at + 1);
  const text = (line: number): string =>
    source.slice(starts[line - 1] ?? source.length, (starts[line] ?? source.length + 1) - 1).replace(/\r$/, "");
  return {
    text,
    position(offset) {
      const bounded = Math.min(Math.max(offset, 0), source.length);
      let [low, high] = [0, starts.length - 1];
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if ((starts[middle] ?? 0) <= bounded) low = middle;
        else high = middle - 1;
      }
      const within = Math.min(bounded - (starts[low] ?? 0), text(low + 1).length);
      return { line: low + 1, column: [...text(low + 1).slice(0, within)].length + 1, within };
    },
  };
}

function renderOne(diagnostic: Diagnostic, lines: (file: string) => Lines | null, colors: Colors): string {
  const tint =
    diagnostic.severity === "error" ? colors.red : diagnostic.severity === "warning" ? colors.yellow : colors.cyan;
  const head = `${tint(colors.bold(`${diagnostic.severity}[${diagnostic.code}]`))}${colors.bold(`: ${visible(diagnostic.message)}`)}`;
  const margin = " ".repeat(
    Math.max(
      1,
      ...diagnostic.labels.map(({ span }) => String(lines(span.file)?.position(span.start).line ?? "").length),
    ),
  );
  const remarks = [
    ...diagnostic.notes.map((note) => ["note", note] as const),
    ...(diagnostic.help === null ? [] : [["help", diagnostic.help] as const]),
  ];
  return [
    head,
    ...files(diagnostic.labels).flatMap((labels, at) =>
      excerpt(labels, at === 0, margin, lines, diagnostic.labels[0], tint, colors),
    ),
    ...remarks.map(
      ([kind, text]) =>
        `${margin} ${colors.blue("=")} ${colors.bold(kind)}: ${visible(text).replaceAll("\n", `\n${margin}         `)}`,
    ),
  ].join("\n");
}

/** Labels by file, that of the primary label first. */
function files(labels: readonly Label[]): readonly (readonly Label[])[] {
  return [...grouped(labels, (label) => label.span.file).values()];
}

function grouped<T, K>(items: readonly T[], keyOf: (item: T) => K): ReadonlyMap<K, readonly T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** The labelled lines of one file, in order, with what is said at them. */
function excerpt(
  labels: readonly Label[],
  first: boolean,
  margin: string,
  lines: (file: string) => Lines | null,
  primary: Label | undefined,
  tint: (text: string) => string,
  colors: Colors,
): readonly string[] {
  const [main] = labels;
  if (!main) return [];
  const file = lines(main.span.file);
  const arrow = colors.blue(first ? "-->" : ":::");
  if (!file)
    return [
      `${margin}${arrow} ${visible(main.span.file)}`,
      ...labels
        .filter((label) => label.message !== "")
        .map((label) => `${margin} ${colors.blue("=")} ${visible(label.message)}`),
    ];
  const at = file.position(main.span.start);
  const rows = [`${margin}${arrow} ${visible(main.span.file)}:${at.line}:${at.column}`];
  const byLine = [...grouped(labels, (label) => file.position(label.span.start).line)].sort(([a], [b]) => a - b);
  let before: number | null = null;
  for (const [number, here] of byLine) {
    if (before !== null && number === before + 2)
      rows.push(sourceRow(before + 1, window(file.text(before + 1), 0).text, margin, colors));
    else if (before !== null && number > before + 2) rows.push(colors.blue(`${margin}...`));
    const shown = window(file.text(number), Math.min(...here.map((label) => file.position(label.span.start).within)));
    rows.push(sourceRow(number, shown.text, margin, colors));
    // from right to left, so that no line of carets is cut off from its words
    for (const label of here.toSorted((a, b) => b.span.start - a.span.start || a.span.end - b.span.end)) {
      const start = shown.column(file.position(label.span.start).within);
      const end = Math.max(start + 1, shown.column(endOnLine(label.span, file, number)));
      const mark = (label === primary ? "^" : "-").repeat(end - start);
      const words = label.message === "" ? "" : ` ${visible(label.message)}`;
      rows.push(
        `${margin} ${colors.blue("|")} ${" ".repeat(start)}${(label === primary ? tint : colors.blue)(mark + words)}`,
      );
    }
    before = number;
  }
  return rows;
}

function sourceRow(number: number, text: string, margin: string, colors: Colors): string {
  return `${colors.blue(`${String(number).padStart(margin.length)} |`)}${text === "" ? "" : ` ${text}`}`;
}

/** Where on the line the span ends, in UTF-16 units: the line's end where the span goes on. */
function endOnLine(span: Span, file: Lines, line: number): number {
  const end = file.position(span.end);
  return end.line === line ? end.within : file.text(line).length;
}

/**
 * The part of a line that is shown, and the column there of an offset in the line: tabs and wide characters take more
 * than one.
 */
function window(line: string, focus: number): { readonly text: string; readonly column: (within: number) => number } {
  const from = line.length > widest && focus > widest / 2 ? Math.floor(focus - widest / 4) : 0;
  const to = Math.min(line.length, from + widest);
  const before = from > 0 ? "..." : "";
  const part = (until: number): string => shownText(line.slice(from, Math.min(until, to)));
  return {
    text: `${before}${part(to)}${to < line.length ? "..." : ""}`,
    column: (within) => before.length + columns(part(Math.max(within, from))),
  };
}

/** Tabs as spaces, control characters (which a terminal would obey) as a replacement character. */
function shownText(text: string): string {
  return visible(text.replaceAll("\t", "    "));
}

function visible(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "\ufffd",
  );
}

/** Columns that a text takes on a terminal: 0 for combining marks, 2 for East Asian wide characters and emoji. */
function columns(text: string): number {
  let sum = 0;
  for (const character of text) {
    if (/^\p{M}$/u.test(character)) continue;
    sum +=
      /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return sum;
}
