/**
 * A file while it is written: read a declaration at a time, so that an error in one leaves the others, and only what
 * was edited is read again.
 */
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import type { Declaration, Module, Use } from "../syntax/ast.js";
import { largestFile, parse } from "../syntax/parse.js";

/** A declaration with the comments before it, and what else stands up to the next one. */
export interface Part {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** What could be read of it, at its place in the file; null where nothing could. */
  readonly ast: Module | null;
  /** Errors and warnings of its syntax. */
  readonly diagnostics: readonly Diagnostic[];
  /** Whether it has an error of syntax: then what a check says of it follows from that. */
  readonly broken: boolean;
  /** The names that it declares, as far as they can be told. */
  readonly names: readonly string[];
  /** The words in it. */
  readonly words: ReadonlySet<string>;
}

/** A file in parts, and as a whole: what could not be read is left out. */
export interface Document {
  readonly file: string;
  readonly source: string;
  readonly parts: readonly Part[];
  readonly ast: Module;
  readonly diagnostics: readonly Diagnostic[];
}

/** What was read before, by text. */
export type ReadParts = Map<string, ReadPart>;

/** A part that was read: at offset 0, and where it stood last. */
interface ReadPart {
  readonly read: Omit<Part, "start" | "end">;
  placed: Part | null;
}

/** Lines that are blanked out until the rest of a declaration can be read. */
const mostTries = 3;

/** Reads a file; parts with a text of `before` are not read again. `known` is what is to be kept for the next time. */
export function readDocument(
  file: string,
  source: string,
  before: ReadParts,
): { readonly document: Document; readonly known: ReadParts } {
  const known: ReadParts = new Map();
  if (source.length > largestFile) {
    const { diagnostics } = parse(source, file);
    return { document: { file, source, parts: [], ast: emptyModule(file, source.length), diagnostics }, known };
  }
  const starts = partStarts(source);
  const parts = starts.map((start, at): Part => {
    const end = starts[at + 1] ?? source.length;
    const text = source.slice(start, end);
    const part = known.get(text) ?? before.get(text) ?? { read: readPart(file, text), placed: null };
    known.set(text, part);
    // what stands before an edit stays where it is
    if (part.placed?.start !== start) part.placed = { ...shifted(part.read, start), start, end, text };
    return part.placed;
  });
  const uses = parts.flatMap(({ ast }) => ast?.uses ?? []);
  const declarations = parts.flatMap(({ ast }) => ast?.declarations ?? []);
  const ast: Module = { ...emptyModule(file, source.length), uses, declarations };
  const diagnostics = [...parts.flatMap((part) => part.diagnostics), ...lateUses(uses, declarations)];
  return { document: { file, source, parts, ast, diagnostics }, known };
}

function emptyModule(file: string, length: number): Module {
  return { kind: "module", uses: [], declarations: [], closing: [], span: { file, start: 0, end: length } };
}

/** Where parts begin: at the comments right before a word that begins a declaration and a line. */
function partStarts(source: string): readonly number[] {
  const starts = [0];
  for (const { index } of source.matchAll(/^(?:fn|recipe|const|use)\b/gm)) {
    let start = index;
    for (;;) {
      const line = source.lastIndexOf("\n", start - 2) + 1;
      if (start === 0 || !source.startsWith("//", line)) break;
      start = line;
    }
    if (start > (starts.at(-1) ?? 0)) starts.push(start);
  }
  return starts;
}

function readPart(file: string, text: string): Omit<Part, "start" | "end"> {
  const { value, diagnostics } = parse(text, file);
  const names = [...text.matchAll(/^(?:fn|recipe|const)\s+(\w+)/gm)].map(([, name = ""]) => name);
  const words = new Set(text.match(/[A-Za-z_]\w*/g));
  if (value !== null) return { text, ast: value, diagnostics, broken: false, names, words };
  return { text, ast: mended(file, text, diagnostics), diagnostics, broken: true, names, words };
}

/** What can be read once the lines with errors are blanked out, or all that stands between the outermost braces. */
function mended(file: string, text: string, found: readonly Diagnostic[]): Module | null {
  let left = text;
  let wrong = found;
  for (let tries = 0; tries < mostTries; tries += 1) {
    const lines = wrong.flatMap(({ labels }) => labels.slice(0, 1).map(({ span }) => lineOf(left, span)));
    const next = lines.reduce((blank, { start, end }) => blanked(blank, start, end), left);
    if (next === left) break;
    left = next;
    const { value, diagnostics } = parse(left, file);
    if (value !== null) return value;
    wrong = diagnostics;
  }
  const open = text.search(/\{[ \t]*(?:\/\/.*)?$/m);
  if (open < 0) return null;
  const close = text.lastIndexOf("}");
  const body = blanked(text, open + 1, close > open ? close : text.length);
  return parse(close > open ? body : `${body.slice(0, -1)}}`, file).value;
}

/** The line of a span without the braces at its ends, so that they still match. */
function lineOf(text: string, { start }: Span): { readonly start: number; readonly end: number } {
  const from = text.lastIndexOf("\n", Math.max(0, Math.min(start, text.length) - 1)) + 1;
  const to = text.indexOf("\n", start);
  return { start: from, end: to < 0 ? text.length : to };
}

/** The text with spaces for all but line ends between two places. */
function blanked(text: string, start: number, end: number): string {
  return text.slice(0, start) + text.slice(start, end).replaceAll(/[^\r\n]/g, " ") + text.slice(end);
}

function shifted(part: Omit<Part, "start" | "end">, by: number): Omit<Part, "start" | "end"> {
  if (by === 0) return part;
  return { ...part, ast: shift(part.ast, by), diagnostics: shift(part.diagnostics, by) };
}

/** Plain data with every span in it moved. */
function shift<T>(value: T, by: number): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((each: unknown) => shift(each, by)) as T;
  const from = value as Readonly<Record<string, unknown>>;
  const { start, end, file } = from;
  if (typeof start === "number" && typeof end === "number") return { file, start: start + by, end: end + by } as T;
  const moved: Record<string, unknown> = {};
  for (const key in from) {
    const inner = from[key];
    moved[key] = typeof inner === "object" && inner !== null ? shift(inner, by) : inner;
  }
  return moved as T;
}

/** E118, which is about two parts. */
function lateUses(uses: readonly Use[], declarations: readonly Declaration[]): readonly Diagnostic[] {
  const first = Math.min(...declarations.map(({ span }) => span.start));
  return uses
    .filter(({ span }) => span.start > first)
    .map(({ span }) =>
      error(
        "E118",
        "`use` must stand before all declarations",
        { span, message: "comes after a declaration" },
        { help: "move it to the top of the file" },
      ),
    );
}
