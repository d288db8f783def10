/**
 * What an editor asks of the language, of files as they are while they are written: answers are in offsets into the
 * text, UTF-16. Pure but for what it keeps of texts that it has read; files come from the host. It runs in a page.
 */
import type { Host } from "../check/modules.js";
import { isBuiltin } from "../check/operation.js";
import type { Diagnostic, Span } from "../diagnostic.js";
import { reservedWords } from "../syntax/tokens.js";
import { createAnalyses, type Analyses } from "./analysis.js";
import { builtins } from "./builtins.js";
import { callAt, complete, nameAt, type Completion } from "./complete.js";
import { comment, describeSymbol, printHead, type Description } from "./describe.js";
import { fixesFor, type Edit, type Fix } from "./edits.js";
import { layOut, type LaidOut } from "./layout.js";
import { symbolOf } from "./resolve.js";
import { sameSymbol, touches, type Reference, type Symbol } from "./symbols.js";

export type { Completion } from "./complete.js";
export type { Description } from "./describe.js";
export type { Edit, Fix } from "./edits.js";
export type { Symbol, SymbolKind } from "./symbols.js";

/** Where files come from. */
export interface LanguageHost extends Host {
  /** Files in which a name may be used, beside the one that is asked about. */
  files?(): readonly string[];
}

/** A function that is called, and the argument at a place. */
export interface SignatureHelp {
  readonly label: string;
  readonly documentation: string;
  /** The parts of the label that are its parameters. */
  readonly parameters: readonly { readonly start: number; readonly end: number }[];
  readonly active: number;
}

export interface Hover extends Description {
  readonly span: Span;
}

/** A renaming, or why it cannot be. */
export type Renaming = { readonly edits: readonly Edit[] } | { readonly problem: string };

/** Every answer is of the text that the host gives now. */
export interface LanguageService {
  /** Of the file itself, those of its syntax first; what parsed is checked. */
  diagnostics(file: string): readonly Diagnostic[];
  hover(file: string, offset: number): Hover | null;
  /** Where the name at a place is declared. */
  definition(file: string, offset: number): Span | null;
  /** Every place that names the same. */
  references(file: string, offset: number, declaration?: boolean): readonly Span[];
  /** The name at a place that can be renamed, or why it cannot be; null where there is no name. */
  renamable(file: string, offset: number): { readonly span: Span } | { readonly problem: string } | null;
  rename(file: string, offset: number, name: string): Renaming;
  completions(file: string, offset: number): readonly Completion[];
  signature(file: string, offset: number): SignatureHelp | null;
  /** The file in its one layout; null where it has errors, or is laid out so. */
  format(file: string): string | null;
  /** What diagnostics that touch a range propose. */
  fixes(file: string, start: number, end: number): readonly Fix[];
  /** The declarations of a file. */
  outline(file: string): readonly Symbol[];
  /** Drops what is kept of a file. */
  forget(file: string): void;
}

/** Makes a service over the files of a host. */
export function createLanguageService(host: LanguageHost): LanguageService {
  const analyses = createAnalyses(host);
  const laidOut = new Map<string, LaidOut>();

  const symbolAt = (file: string, offset: number): Reference | null => {
    const found = analyses.names(file).references.filter(({ span }) => touches(span, offset));
    // between two names that touch, the one that begins here
    return found.toSorted((a, b) => b.span.start - a.span.start)[0] ?? null;
  };

  /** Files that may name a symbol: its own, and for what modules declare all that the host has. */
  const filesNaming = (symbol: Symbol, file: string): readonly string[] => {
    const local = !["function", "constant", "module"].includes(symbol.kind) && !isLabelled(symbol);
    const home = symbol.span.file;
    return [...new Set(local ? [home] : [home, file, ...(host.files?.() ?? [])])];
  };

  const placesOf = (symbol: Symbol, file: string): readonly Span[] =>
    filesNaming(symbol, file).flatMap((each) =>
      analyses
        .names(each)
        .references.filter((reference) => sameSymbol(reference.symbol, symbol))
        .map(({ span }) => span),
    );

  const service: LanguageService = {
    diagnostics: (file) =>
      analyses
        .meaning(file)
        .diagnostics.filter(({ labels }) => labels[0] === undefined || labels[0].span.file === file),

    hover(file, offset) {
      const found = symbolAt(file, offset);
      if (found !== null) {
        const home = found.symbol.span.file;
        const known = found.symbol.kind === "variable" || found.symbol.kind === "index";
        return { ...describeSymbol(found.symbol, known ? analyses.meaning(home) : null), span: found.span };
      }
      const document = analyses.document(file);
      const name = document === null ? null : nameAt(document.source, offset);
      if (document === null || name === null || inComment(document.source, offset)) return null;
      const said = builtins.filter((each) => each.name === name.name);
      const [first] = said;
      if (first === undefined) return null;
      const reduces = document.source[name.start + name.name.length] === "[";
      const { form, what } = said.find(({ kind }) => (kind === "reduction") === reduces) ?? first;
      return { code: form, text: what, span: { file, start: name.start, end: name.start + name.name.length } };
    },

    definition: (file, offset) => symbolAt(file, offset)?.symbol.span ?? null,

    references(file, offset, declaration = true) {
      const found = symbolAt(file, offset);
      if (found === null) return [];
      const places = placesOf(found.symbol, file);
      return declaration ? places : places.filter((span) => !sameSpan(span, found.symbol.span));
    },

    renamable(file, offset) {
      const found = symbolAt(file, offset);
      if (found === null) return null;
      const problem = fixedName(found.symbol, host);
      return problem === null ? { span: found.span } : { problem };
    },

    rename(file, offset, name) {
      const found = symbolAt(file, offset);
      if (found === null) return { problem: "there is no name here" };
      const { symbol } = found;
      const problem = fixedName(symbol, host) ?? wrongName(name);
      if (problem !== null) return { problem };
      const places = placesOf(symbol, file);
      // an axis may be named by its size in small letters
      const edits = places.map((span): Edit => {
        const written = analyses.document(span.file)?.source.slice(span.start, span.end);
        return { ...span, text: written === symbol.name ? name : name.toLowerCase() };
      });
      return changesMeaning(analyses, host, symbol, name, edits)
        ? { problem: `\`${name}\` stands for something else where \`${symbol.name}\` is seen` }
        : { edits };
    },

    completions: (file, offset) =>
      complete(file, offset, {
        analyses,
        standardModules: host.standardModules ?? [],
        standard: (module) => {
          const path = `stdlib/${module}.esp`;
          const ast = host.known?.(path)?.ast ?? analyses.document(path)?.ast;
          return (ast?.declarations ?? []).map((each) => symbolOf(each));
        },
      }),

    signature(file, offset) {
      const document = analyses.document(file);
      const call = document === null ? null : callAt(document.source, offset);
      if (document === null || call === null) return null;
      const own = document.ast.declarations.find((each) => each.name.name === call.name);
      const declaration = own ?? analyses.used(file).declaration(call.name)?.declaration;
      if (declaration?.kind === "function") {
        const label = printHead(declaration)
          .replaceAll(/\s*\n\s*/g, " ")
          .replace("( ", "(")
          .replace(/ \)/, ")");
        return { ...withParameters(label, call.argument), documentation: comment(declaration) };
      }
      const builtin = builtins.find(({ name, kind }) => name === call.name && kind === "operation");
      return builtin === undefined
        ? null
        : { ...withParameters(builtin.form, call.argument), documentation: builtin.what };
    },

    format(file) {
      const source = host.read(file);
      if (source === null) return null;
      const { text, known } = layOut(file, source, laidOut.get(file) ?? new Map());
      laidOut.set(file, known);
      return text === source ? null : text;
    },

    fixes(file, start, end) {
      const document = analyses.document(file);
      if (document === null) return [];
      return service
        .diagnostics(file)
        .filter(({ labels }) => labels.some(({ span }) => span.file === file && span.start <= end && start <= span.end))
        .flatMap((each) => fixesFor(document, each));
    },

    outline: (file) => (analyses.document(file)?.ast.declarations ?? []).map((each) => symbolOf(each)),

    forget(file) {
      analyses.forget(file);
      laidOut.delete(file);
    },
  };
  return service;
}

/** Whether other files may name it, too: a parameter of a function that is called by its label. */
function isLabelled({ kind, declaration, span }: Symbol): boolean {
  return (
    (kind === "parameter" || kind === "size") &&
    declaration?.kind === "function" &&
    declaration.params.some(({ name }) => name.span.start === span.start)
  );
}

function sameSpan(a: Span, b: Span): boolean {
  return a.file === b.file && a.start === b.start && a.end === b.end;
}

/** Why a symbol keeps its name, or null. */
function fixedName({ kind, span, name }: Symbol, host: Host): string | null {
  if (kind === "module") return "a module has the name of its file";
  const library = (host.standardModules ?? []).some((module) => span.file === `stdlib/${module}.esp`);
  return library ? `\`${name}\` is of the standard library` : null;
}

function wrongName(name: string): string | null {
  if (!/^[A-Za-z_]\w*$/.test(name)) return `\`${name}\` is no name: letters, digits and _ make one`;
  if (reservedWords.has(name)) return `\`${name}\` is a word of the language`;
  return isBuiltin(name) ? `\`${name}\` is the name of a built-in operation` : null;
}

/** Whether, renamed, other places name the symbol, or places of it something else. */
function changesMeaning(analyses: Analyses, host: Host, symbol: Symbol, name: string, edits: readonly Edit[]): boolean {
  const files = [...new Set(edits.map(({ file }) => file))];
  const texts = new Map(
    files.map((file) => {
      const own = edits.filter((edit) => edit.file === file).toSorted((a, b) => b.start - a.start);
      const source = analyses.document(file)?.source ?? "";
      return [file, own.reduce((text, edit) => text.slice(0, edit.start) + edit.text + text.slice(edit.end), source)];
    }),
  );
  const after = createAnalyses({ ...host, read: (file) => texts.get(file) ?? host.read(file) }, analyses.parts);
  return files.some((file) => {
    const own = edits.filter((edit) => edit.file === file).map(({ start }) => start);
    const shift = (at: number): number =>
      at +
      edits
        .filter((edit) => edit.file === file && edit.start < at)
        .reduce((sum, edit) => sum + edit.text.length - (edit.end - edit.start), 0);
    const home = symbol.span.file === file ? shift(symbol.span.start) : symbol.span.start;
    const declared = texts.has(symbol.span.file) && symbol.span.file !== file ? movedStart(edits, symbol.span) : home;
    const found = after
      .names(file)
      .references.filter((each) => each.symbol.span.file === symbol.span.file && each.symbol.span.start === declared)
      .map(({ span }) => span.start);
    const wanted = own.map(shift);
    // everything else must stand for what it stood for
    const before = analyses.names(file).references.length;
    return (
      wanted.toSorted().join() !== found.toSorted().join() ||
      after.names(file).references.length !== before ||
      name === ""
    );
  });
}

function movedStart(edits: readonly Edit[], { file, start }: Span): number {
  return edits
    .filter((edit) => edit.file === file && edit.start < start)
    .reduce((at, edit) => at + edit.text.length - (edit.end - edit.start), start);
}

/** The places of parameters in a head: what commas part between its parentheses. */
function withParameters(label: string, active: number): Omit<SignatureHelp, "documentation"> {
  const parameters: { start: number; end: number }[] = [];
  const open = label.indexOf("(");
  let depth = 0;
  let start = open + 1;
  for (let at = open; at < label.length; at += 1) {
    const character = label[at] ?? "";
    if ("([".includes(character)) depth += 1;
    if ((character === "," && depth === 1) || (")]".includes(character) && depth === 1)) {
      if (at > start) parameters.push({ start: start + (label[start] === " " ? 1 : 0), end: at });
      start = at + 1;
    }
    if (")]".includes(character)) {
      depth -= 1;
      if (depth === 0) break;
    }
  }
  return { label, parameters, active };
}

function inComment(source: string, offset: number): boolean {
  return /\/\//.test(source.slice(source.lastIndexOf("\n", offset - 1) + 1, offset));
}
