/** What the names of a file stand for: symbols, where each is seen, and every place that names one. */
import type { Span } from "../diagnostic.js";
import type { Declaration, FormatExpr, Ident, Statement } from "../syntax/ast.js";
import { formatOf } from "../formats/registry.js";

export type SymbolKind =
  | "module"
  | "constant"
  | "function"
  | "recipe"
  | "parameter"
  | "size"
  | "dtype"
  | "format"
  | "variable"
  | "index";

/** Something that has a name. Two symbols are one where file and start of `span` agree. */
export interface Symbol {
  readonly kind: SymbolKind;
  readonly name: string;
  /** The name where it is declared. */
  readonly span: Span;
  /** Where it is seen. */
  readonly from: number;
  readonly to: number;
  /** The declaration that it is, or stands in; null for a module. */
  readonly declaration: Declaration | null;
  /** The statement that declares it. */
  readonly statement: Statement | null;
}

/** A place that names a symbol. */
export interface Reference {
  readonly symbol: Symbol;
  readonly span: Span;
}

/** All of a file's names. */
export interface Names {
  readonly symbols: readonly Symbol[];
  /** With the places where they are declared. */
  readonly references: readonly Reference[];
}

/** Names by nesting. */
export interface Env {
  readonly parent: Env | null;
  readonly names: Map<string, Symbol>;
}

/** A scope inside another. */
export function inner(parent: Env | null): Env {
  return { parent, names: new Map() };
}

/** What a name stands for, or null. */
export function find(env: Env | null, name: string): Symbol | null {
  for (let at = env; at !== null; at = at.parent) {
    const found = at.names.get(name);
    if (found !== undefined) return found;
  }
  return null;
}

/** The names of formats in a type that are none of the language: parameters of the function, with their places. */
export function formatParameters(format: FormatExpr | null): readonly Ident[] {
  if (format === null) return [];
  const own = formatOf(format.name.name) === null ? [format.name] : [];
  return [...own, ...formatParameters(format.of)];
}

/** Whether a place is in a span, its end included: a cursor behind a name is at the name. */
export function touches({ start, end }: Span, offset: number): boolean {
  return start <= offset && offset <= end;
}

/** Whether two symbols are one. */
export function sameSymbol(a: Symbol, b: Symbol): boolean {
  return a.span.file === b.span.file && a.span.start === b.span.start && a.kind === b.kind;
}
