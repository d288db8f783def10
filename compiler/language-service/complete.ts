/** What may stand at a place: names, members, formats, modules, and the words of the language. */
import { isTensorKind } from "../check/tensors.js";
import type { Analyses } from "./analysis.js";
import { builtins, members } from "./builtins.js";
import { comment, describeSymbol, printHead } from "./describe.js";
import { addUse, type Edit } from "./edits.js";
import type { Statement } from "../syntax/ast.js";
import { touches, type Symbol, type SymbolKind } from "./symbols.js";

/** A proposal. */
export interface Completion {
  readonly label: string;
  readonly kind: SymbolKind | "operation" | "reduction" | "type" | "keyword" | "member";
  /** A line: a type, a head. */
  readonly detail: string;
  readonly documentation: string;
  /** What else is to be changed: a `use`. */
  readonly edits: readonly Edit[];
  /** Proposals of a lower number come first. */
  readonly rank: number;
}

/** What is asked of the host. */
export interface CompletionHost {
  readonly analyses: Analyses;
  readonly standardModules: readonly string[];
  /** The declarations of a module of the standard library. */
  readonly standard: (module: string) => readonly Symbol[];
}

/** The proposals at a place; whoever asks filters them by what is typed. */
export function complete(file: string, offset: number, host: CompletionHost): readonly Completion[] {
  const document = host.analyses.document(file);
  if (document === null) return [];
  const { source } = document;
  const line = source.slice(source.lastIndexOf("\n", offset - 1) + 1, offset);
  if (/\/\//.test(line)) return [];
  if (/^\s*use\b[^"]*$/.test(line))
    return host.standardModules.map((name) => plain(name, "module", `stdlib/${name}.esp`));
  if ((line.match(/"/g) ?? []).length % 2 === 1) return [];
  const { symbols } = host.analyses.names(file);
  const seen = visible(symbols, offset);
  const member = /([A-Za-z_]\w*)\s*\.\s*\w*$/.exec(line);
  if (member !== null) return membersOf(seen.find(({ name }) => name === member[1]) ?? null);
  if (/\bas\s+\w*$|\bof\s+\w*$/.test(line) && !/\btop\s+\S+\s+of\s+\w*$|\bgradient\s+of\s+\w*$/.test(line)) {
    const parameters = seen.filter(({ kind }) => kind === "format");
    return [
      ...parameters.map((symbol) => named(symbol, 0)),
      ...builtins
        .filter(({ kind }) => kind === "format")
        .map(({ name, form, what }) => plain(name, "format", form, what)),
    ];
  }
  const inType = /(?:[(,]\s*(?:var\s+)?\w+\s*:|->|->.*,)\s*\w*$/.test(line);
  const types = builtins.filter(({ kind }) => kind === "dtype" || kind === "type");
  if (inType)
    return [
      ...seen.filter(({ kind }) => kind === "dtype").map((symbol) => named(symbol, 0)),
      ...types.map(({ name, form, what }) => plain(name, "type", form, what)),
    ];
  if (/\bby\s+\w*$/.test(line)) return functions(file, host);
  const own = seen.filter(({ kind }) => kind !== "function" && kind !== "recipe");
  return [
    ...own.map((symbol) => named(symbol, symbol.kind === "constant" ? 2 : 0)),
    ...functions(file, host),
    ...builtins
      .filter(({ kind }) => kind === "operation" || kind === "reduction" || kind === "keyword" || kind === "dtype")
      .map(
        ({ name, kind, form, what }): Completion => ({
          ...plain(name, kind === "dtype" ? "type" : kind === "format" ? "type" : kind, form, what),
          rank: kind === "keyword" ? 4 : 3,
        }),
      ),
  ];
}

/** The symbols that are seen at a place, the nearest of each name. */
function visible(symbols: readonly Symbol[], offset: number): readonly Symbol[] {
  const found = new Map<string, Symbol>();
  for (const symbol of symbols) {
    if (offset < symbol.from || offset > symbol.to) continue;
    const before = found.get(symbol.name);
    if (before === undefined || symbol.from >= before.from) found.set(symbol.name, symbol);
  }
  return [...found.values()];
}

function named(symbol: Symbol, rank: number): Completion {
  const { code, text } = describeSymbol(symbol, null);
  return { label: symbol.name, kind: symbol.kind, detail: code, documentation: text, edits: [], rank };
}

function plain(label: string, kind: Completion["kind"], detail: string, documentation = ""): Completion {
  return { label, kind, detail, documentation, edits: [], rank: 1 };
}

/** Functions and constants of the file, of the modules it uses, and of those it could use. */
function functions(file: string, { analyses, standardModules, standard }: CompletionHost): readonly Completion[] {
  const document = analyses.document(file);
  if (document === null) return [];
  const used = analyses.usedModules(file);
  const here = [...document.ast.declarations, ...used.flatMap(({ ast }) => ast.declarations)].filter(
    ({ kind }) => kind === "function",
  );
  const taken = new Set(here.map(({ name }) => name.name));
  const files = new Set(used.map((each) => each.file));
  const others = standardModules
    .filter((module) => !files.has(`stdlib/${module}.esp`) && file !== `stdlib/${module}.esp`)
    .flatMap((module) => {
      const edit = addUse(document, [module]);
      const edits = edit === null ? [] : [edit];
      return standard(module)
        .filter(({ name, kind }) => kind === "function" && !taken.has(name))
        .map((symbol): Completion => ({ ...named(symbol, 5), edits, detail: `${head(symbol)}  (use ${module})` }));
    });
  return [
    ...here.map(
      (declaration): Completion => ({
        label: declaration.name.name,
        kind: "function",
        detail: declaration.kind === "constant" ? "" : oneLine(printHead(declaration)),
        documentation: comment(declaration),
        edits: [],
        rank: 1,
      }),
    ),
    ...others,
  ];
}

function head({ declaration, name }: Symbol): string {
  return declaration === null || declaration.kind === "constant" ? name : oneLine(printHead(declaration));
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}

function membersOf(symbol: Symbol | null): readonly Completion[] {
  const of = symbol === null ? null : memberKind(symbol);
  return (of === null ? [] : (members[of] ?? [])).map(([name, what]) => plain(name, "member", what));
}

function memberKind({ kind, statement, declaration, name }: Symbol): string | null {
  if (declaration?.kind !== "recipe") return null;
  if (kind === "parameter")
    return declaration.params.some((each) => each.name.name === name && each.type?.dtype.name === "llama")
      ? "model"
      : null;
  return statement?.kind === "for" ? elementOf(statement) : null;
}

function elementOf({ over }: Extract<Statement, { kind: "for" }>): string | null {
  if (over.kind !== "member") return null;
  return over.field.name === "blocks"
    ? "block"
    : over.field.name === "linears" || isTensorKind(over.field.name)
      ? "layer"
      : null;
}

/** The call around a place: the function, and which argument stands there. */
export function callAt(
  source: string,
  offset: number,
): { readonly name: string; readonly at: number; readonly argument: number } | null {
  let depth = 0;
  let argument = 0;
  for (let at = offset - 1; at >= 0; at -= 1) {
    const character = source[at] ?? "";
    if (character === "\n" && /^(?:fn|recipe|const|use)\b/.test(source.slice(at + 1, at + 8))) return null;
    if (")]}".includes(character)) depth += 1;
    else if (character === "," && depth === 0) argument += 1;
    else if (character === "(" && depth === 0) {
      const before = /([A-Za-z_]\w*)\s*$/.exec(source.slice(Math.max(0, at - 200), at));
      // a parenthesis that groups is part of an argument
      if (before !== null) return { name: before[1] ?? "", at: at - before[0].length, argument };
      argument = 0;
    } else if ("([{".includes(character)) {
      if (character === "{") return null;
      depth -= depth > 0 ? 1 : 0;
      if (depth === 0 && character === "[") argument = 0;
    }
  }
  return null;
}

/** Whether a place is in a name. */
export function nameAt(source: string, offset: number): { readonly name: string; readonly start: number } | null {
  for (const { 0: name, index } of source.slice(Math.max(0, offset - 200), offset + 200).matchAll(/[A-Za-z_]\w*/g)) {
    const start = index + Math.max(0, offset - 200);
    if (touches({ file: "", start, end: start + name.length }, offset)) return { name, start };
  }
  return null;
}
